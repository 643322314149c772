//! Points in time as text: Go's reference-time layouts, and RFC 3339.
//!
//! Go describes a layout by how it would print one certain moment, `Mon Jan 2 15:04:05 MST 2006`.
//! A layout is split once into literal text and parts; see <https://pkg.go.dev/time#pkg-constants>.

use std::fmt::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Go's spellings. Of those that fit at one place the first one counts, so longer ones come before
/// their own beginnings.
const SPELLINGS: [(&str, Part); 34] = [
    ("January", Part::Month),
    ("Jan", Part::ShortMonth),
    ("Monday", Part::Weekday),
    ("Mon", Part::ShortWeekday),
    ("MST", Part::Zone("UTC")),
    ("01", Part::MonthNumber(Pad::Zero(2))),
    ("002", Part::YearDay(Pad::Zero(3))),
    ("02", Part::Day(Pad::Zero(2))),
    ("03", Part::Hour12(Pad::Zero(2))),
    ("04", Part::Minute(Pad::Zero(2))),
    ("05", Part::Second(Pad::Zero(2))),
    ("06", Part::ShortYear),
    ("15", Part::Hour),
    ("1", Part::MonthNumber(Pad::None)),
    ("2006", Part::Year),
    ("2", Part::Day(Pad::None)),
    ("__2", Part::YearDay(Pad::Blank(3))),
    ("_2006", Part::BlankYear),
    ("_2", Part::Day(Pad::Blank(2))),
    ("3", Part::Hour12(Pad::None)),
    ("4", Part::Minute(Pad::None)),
    ("5", Part::Second(Pad::None)),
    ("PM", Part::Noon("AM", "PM")),
    ("pm", Part::Noon("am", "pm")),
    ("-07:00:00", Part::Zone("+00:00:00")),
    ("-070000", Part::Zone("+000000")),
    ("-07:00", Part::Zone("+00:00")),
    ("-0700", Part::Zone("+0000")),
    ("-07", Part::Zone("+00")),
    ("Z07:00:00", Part::Zone("Z")),
    ("Z070000", Part::Zone("Z")),
    ("Z07:00", Part::Zone("Z")),
    ("Z0700", Part::Zone("Z")),
    ("Z07", Part::Zone("Z")),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Literal(char),
    Year,
    /// Go reads `_2006` as a literal `_` and a year.
    BlankYear,
    ShortYear,
    Month,
    ShortMonth,
    MonthNumber(Pad),
    Weekday,
    ShortWeekday,
    Day(Pad),
    YearDay(Pad),
    Hour,
    Hour12(Pad),
    Minute(Pad),
    Second(Pad),
    Noon(&'static str, &'static str),
    /// What UTC looks like in that spelling.
    Zone(&'static str),
    /// Separator, digits, and whether trailing zeros are left out.
    Fraction(char, usize, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pad {
    None,
    Zero(usize),
    Blank(usize),
}

/// A layout, ready to print times in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout(Vec<Part>);

impl Layout {
    /// Reads Go's layout. Every text is one: what is no part stands for itself.
    pub fn parse(layout: &str) -> Self {
        let mut parts = Vec::new();
        let mut rest = layout;
        while let Some(first) = rest.chars().next() {
            let (part, length) = fraction(rest)
                .or_else(|| spelled(rest))
                .unwrap_or((Part::Literal(first), first.len_utf8()));
            parts.push(part);
            rest = &rest[length..];
        }
        Self(parts)
    }

    /// Prints a time.
    ///
    /// # Errors
    ///
    /// If `out` refuses it.
    pub fn write(&self, out: &mut impl Write, time: SystemTime) -> fmt::Result {
        let time = Civil::from(time);
        self.0.iter().try_for_each(|part| part.write(out, &time))
    }
}

fn spelled(text: &str) -> Option<(Part, usize)> {
    let (spelling, part) = SPELLINGS.iter().find(|(spelling, part)| {
        // "Jan" in "Janet" is no month for Go.
        let word = *part == Part::ShortMonth || *part == Part::ShortWeekday;
        text.strip_prefix(spelling)
            .is_some_and(|rest| !word || !rest.starts_with(|c: char| c.is_ascii_lowercase()))
    })?;
    Some((*part, spelling.len()))
}

/// A separator and then only noughts or only nines, with no digit after them.
fn fraction(text: &str) -> Option<(Part, usize)> {
    let separator = text.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let digits = &text[1..];
    let digit = digits.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let after = digits.trim_start_matches(digit);
    if after.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let count = digits.len() - after.len();
    Some((Part::Fraction(separator, count, digit == '9'), 1 + count))
}

impl Part {
    fn write(self, out: &mut impl Write, time: &Civil) -> fmt::Result {
        match self {
            Self::Literal(c) => out.write_char(c),
            Self::Year => write!(out, "{:04}", time.year),
            Self::BlankYear => write!(out, "_{:04}", time.year),
            Self::ShortYear => write!(out, "{:02}", time.year.rem_euclid(100)),
            Self::Month => out.write_str(time.month_name()),
            Self::ShortMonth => out.write_str(&time.month_name()[..3]),
            Self::MonthNumber(pad) => pad.write(out, time.month),
            Self::Weekday => out.write_str(time.weekday_name()),
            Self::ShortWeekday => out.write_str(&time.weekday_name()[..3]),
            Self::Day(pad) => pad.write(out, time.day),
            Self::YearDay(pad) => pad.write(out, time.year_day),
            Self::Hour => write!(out, "{:02}", time.hour),
            Self::Hour12(pad) => pad.write(out, (time.hour + 11) % 12 + 1),
            Self::Minute(pad) => pad.write(out, time.minute),
            Self::Second(pad) => pad.write(out, time.second),
            Self::Noon(before, after) => out.write_str(if time.hour < 12 { before } else { after }),
            Self::Zone(utc) => out.write_str(utc),
            Self::Fraction(separator, digits, trim) => {
                let text = format!("{:09}", time.nanos);
                let mut text = text.get(..digits).unwrap_or(&text);
                if trim {
                    text = text.trim_end_matches('0');
                    if text.is_empty() {
                        return Ok(());
                    }
                }
                write!(out, "{separator}{text}")
            }
        }
    }
}

impl Pad {
    fn write(self, out: &mut impl Write, value: u32) -> fmt::Result {
        match self {
            Self::None => write!(out, "{value}"),
            Self::Zero(width) => write!(out, "{value:0width$}"),
            Self::Blank(width) => write!(out, "{value:width$}"),
        }
    }
}

/// A time by the Gregorian calendar, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: i64,
    /// From 1.
    month: u32,
    /// From 1.
    day: u32,
    /// From 1.
    year_day: u32,
    /// From Sunday, 0.
    weekday: usize,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
}

impl From<SystemTime> for Civil {
    /// A time before 1970 is shown as 1970: no clock of a log says so on purpose.
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = date(days);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let lengths = [
            31,
            if leap { 29 } else { 28 },
            31,
            30,
            31,
            30,
            31,
            31,
            30,
            31,
            30,
        ];
        let before: u32 = lengths.iter().take(month as usize - 1).sum();
        Self {
            year,
            month,
            day,
            year_day: before + day,
            // 1970-01-01 was a Thursday.
            weekday: ((days + 4) % 7) as usize,
            hour: (seconds / 3600) as u32,
            minute: (seconds / 60 % 60) as u32,
            second: (seconds % 60) as u32,
            nanos: since.subsec_nanos(),
        }
    }
}

impl Civil {
    fn month_name(&self) -> &'static str {
        MONTHS[self.month as usize - 1]
    }

    fn weekday_name(&self) -> &'static str {
        WEEKDAYS[self.weekday]
    }
}

/// Year, month and day of a number of days since 1970. Years are taken to begin in March, so that
/// the leap day is their last; `civil_from_days` of
/// <https://howardhinnant.github.io/date_algorithms.html>, for days from 1970 on.
fn date(days: u64) -> (i64, u32, u32) {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let since_year_0 = days + 719_468;
    let era = since_year_0 / DAYS_OF_400_YEARS;
    let day_of_era = since_year_0 % DAYS_OF_400_YEARS;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, carry) = match month_from_march {
        0..10 => (month_from_march + 3, 0),
        _ => (month_from_march - 9, 1),
    };
    let year = (400 * era + year_of_era + carry) as i64;
    (year, month as u32, day as u32)
}

/// The present by RFC 3339, in microseconds: what JSON lines carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        write_rfc3339(out, SystemTime::now())
    }
}

/// Prints a time by RFC 3339.
pub(super) fn write_rfc3339(out: &mut impl Write, time: SystemTime) -> fmt::Result {
    let t = Civil::from(time);
    let micros = t.nanos / 1000;
    write!(out, "{:04}-{:02}-{:02}", t.year, t.month, t.day)?;
    write!(
        out,
        "T{:02}:{:02}:{:02}.{micros:06}Z",
        t.hour, t.minute, t.second
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64, nanos: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    fn print(layout: &str, time: SystemTime) -> String {
        let mut text = String::new();
        Layout::parse(layout).write(&mut text, time).unwrap();
        text
    }

    #[test]
    fn satellites_default_layout_is_printed() {
        // date -u -d @1709210096
        assert_eq!(
            print("2006-01-02 15:04:05.000", at(1_709_210_096, 7_999_999)),
            "2024-02-29 12:34:56.007"
        );
    }

    #[test]
    fn gos_named_layouts_are_printed() {
        let time = at(1_709_175_845, 120_000_000);
        for (layout, expected) in [
            ("Mon Jan _2 15:04:05 2006", "Thu Feb 29 03:04:05 2024"),
            (
                "Monday, 02-Jan-06 15:04:05 MST",
                "Thursday, 29-Feb-24 03:04:05 UTC",
            ),
            (
                "Mon, 02 Jan 2006 15:04:05 -0700",
                "Thu, 29 Feb 2024 03:04:05 +0000",
            ),
            (
                "2006-01-02T15:04:05.999999999Z07:00",
                "2024-02-29T03:04:05.12Z",
            ),
            ("3:04PM", "3:04AM"),
            ("1/2/06 03:4:5,000", "2/29/24 03:4:5,120"),
            ("002 __2 _2006", "060  60 _2024"),
        ] {
            assert_eq!(print(layout, time), expected, "{layout}");
        }
    }

    #[test]
    fn what_is_no_part_stands_for_itself() {
        for text in ["Janet, day .007 [x]", "%time", "7 8 9 0", ""] {
            assert_eq!(print(text, at(0, 0)), text);
        }
    }

    #[test]
    fn dates_follow_each_other_through_leap_years() {
        let mut previous = (1969, 12, 31);
        for days in 0..50_000 {
            let (year, month, day) = date(days);
            let next = [
                (previous.0, previous.1, previous.2 + 1),
                (previous.0, previous.1 + 1, 1),
                (previous.0 + 1, 1, 1),
            ];
            assert!(next.contains(&(year, month, day)), "{previous:?} {days}");
            assert!(day <= 31 && month <= 12);
            previous = (year, month, day);
        }
        assert_eq!(date(11_016), (2000, 2, 29));
        assert_eq!(date(11_017), (2000, 3, 1));
        assert_eq!(date(47_540), (2100, 2, 28));
        assert_eq!(date(47_541), (2100, 3, 1));
    }

    #[test]
    fn midnight_and_noon_are_twelve() {
        assert_eq!(print("03 pm", at(0, 0)), "12 am");
        assert_eq!(print("03 PM", at(43_200, 0)), "12 PM");
    }
}
