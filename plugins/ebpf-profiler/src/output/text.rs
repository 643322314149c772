//! Text of other processes made fit for people, XML and JSON; numbers with units.

use std::fmt::Write as _;

/// Longest name that is shown, in characters: C++ has names of several KiB.
const LONGEST: usize = 400;

/// A name as it can be shown: not empty, not endless, without characters that XML 1.0 forbids or that
/// turn the direction of what follows.
pub(super) fn clean(name: &str) -> String {
    let mut shown = String::with_capacity(name.len().min(LONGEST));
    for (index, character) in name.chars().enumerate() {
        if index == LONGEST {
            shown.push_str("...");
            break;
        }
        shown.push(if harmless(character) {
            character
        } else {
            '\u{fffd}'
        });
    }
    if shown.trim().is_empty() {
        shown = "[unnamed]".to_owned();
    }
    shown
}

fn harmless(character: char) -> bool {
    !matches!(character,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Text for elements and quoted attributes of XML and HTML.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// JSON that neither XML nor HTML takes for markup: `<`, `>` and `&` occur in its strings only.
pub(super) fn inert(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' => drop(write!(escaped, "\\u{:04x}", u32::from(character))),
            other => escaped.push(other),
        }
    }
    escaped
}

/// `1234567` as `1,234,567`.
pub(super) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `12 waits`, `1 wait`.
pub(super) fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

/// A time in the unit that suits it, to three digits.
pub(super) fn time(nanos: u128) -> String {
    let (unit, size) = match nanos {
        1_000_000_000.. => ("s", 1e9),
        1_000_000.. => ("ms", 1e6),
        1_000.. => ("\u{b5}s", 1e3),
        _ => return format!("{nanos} ns"),
    };
    format!("{} {unit}", three_digits(nanos as f64 / size))
}

/// Three digits at least, and no zeros behind the point that say nothing.
pub(super) fn three_digits(value: f64) -> String {
    let places = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// A part of a whole as `12.3%`; nothing of nothing is `0%`.
pub(super) fn share(part: u64, whole: u64) -> String {
    let percent = 100.0 * part as f64 / whole.max(1) as f64;
    match percent {
        0.0 => "0%".to_owned(),
        0.1.. => format!("{percent:.1}%"),
        0.01.. => format!("{percent:.2}%"),
        _ => "<0.01%".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_forbids_and_what_turns_text_around_is_replaced() {
        let name = "a\0b\x1b[31m\u{202e}c\u{fffe}\u{ffff}\n\u{85}d";
        let expected = "a\u{fffd}b\u{fffd}[31m\u{fffd}c\u{fffd}\u{fffd}\u{fffd}\u{fffd}d";
        assert_eq!(clean(name), expected);
        assert_eq!(
            clean("operator<< \u{4e2d}\u{1f600}"),
            "operator<< \u{4e2d}\u{1f600}"
        );
    }

    #[test]
    fn a_name_is_neither_empty_nor_endless() {
        assert_eq!(clean(""), "[unnamed]");
        assert_eq!(clean("  "), "[unnamed]");
        let long = clean(&"\u{4e2d}".repeat(100_000));
        assert_eq!(long.chars().count(), LONGEST + 3);
        assert!(long.ends_with("\u{4e2d}..."));
    }

    #[test]
    fn escaped_json_is_the_same_json_without_markup() {
        let value = serde_json::json!(["</script><!--", "]]>", "a\"b&c"]);
        let text = inert(&value.to_string());
        assert!(!text.contains(['<', '>', '&']), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(1_234_567), "1,234,567");
        assert_eq!(plural(1, "wait", "waits"), "1 wait");
        assert_eq!(plural(2000, "wait", "waits"), "2,000 waits");
        assert_eq!(time(0), "0 ns");
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(1_500), "1.5 \u{b5}s");
        assert_eq!(time(10_101_010), "10.1 ms");
        assert_eq!(time(60_000_000_000), "60 s");
        assert_eq!(time(600_000_000_000), "600 s");
        assert_eq!(share(0, 0), "0%");
        assert_eq!(share(7, 10), "70.0%");
        assert_eq!(share(1, 100_000), "<0.01%");
        assert_eq!(share(3, 10_000), "0.03%");
    }
}
