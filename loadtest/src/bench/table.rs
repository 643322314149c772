//! The table: a row for each payload and subject.

use std::fmt;

use super::stage::Measured;
use crate::payload::Payload;

/// What stands above the rows.
pub(super) const HEAD: &str = concat!(
    "payload  shape subject cpu s/1M msgs  / relay  / segments      msg/s   lost  errors",
    "  RSS MB   cpu s/1M of each round",
);

/// What the messages pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Relay,
    Perigee,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Relay => "relay",
            Self::Perigee => "perigee",
        })
    }
}

/// The timed rounds of one payload through one subject.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) payload: Payload,
    pub(super) subject: Subject,
    pub(super) rounds: Vec<Measured>,
}

impl Series {
    pub(super) fn new(payload: Payload, subject: Subject) -> Self {
        Self {
            payload,
            subject,
            rounds: Vec::new(),
        }
    }

    /// Whether nothing was lost and no call failed.
    pub(super) fn is_sound(&self) -> bool {
        self.lost() <= 0 && self.errors() == 0
    }

    /// Its row among the rows of `all`, which are of the same shape.
    pub(super) fn row(&self, shape: &str, all: &[Self]) -> String {
        let cpu = self.cpu();
        let times = |payload, subject| {
            let mut all = all.iter();
            let base = all.find(|one| (one.payload, one.subject) == (payload, subject));
            format!("{:.2}x", cpu / base.map_or(f64::NAN, Self::cpu))
        };
        let rounds = self.rounds.iter();
        let each: Vec<_> = rounds
            .map(|round| format!("{:.3}", round.cpu_per_million))
            .collect();
        format!(
            "{:<8} {shape:<5} {:<7} {cpu:>13.3} {:>8} {:>11} {:>10.0} {:>6} {:>7} {:>7.1}   {}",
            self.payload.name(),
            self.subject,
            times(self.payload, Subject::Relay),
            times(Payload::Segments, self.subject),
            self.median(|round| round.per_second),
            self.lost(),
            self.errors(),
            self.median(|round| round.resident_bytes as f64) / 1e6,
            each.join(" "),
        )
    }

    fn cpu(&self) -> f64 {
        self.median(|round| round.cpu_per_million)
    }

    fn lost(&self) -> i64 {
        self.rounds.iter().map(|round| round.lost).sum()
    }

    fn errors(&self) -> u64 {
        self.rounds.iter().map(|round| round.errors).sum()
    }

    fn median(&self, value: impl Fn(&Measured) -> f64) -> f64 {
        let mut values: Vec<f64> = self.rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(payload: Payload, subject: Subject, cpu: &[f64]) -> Series {
        let mut series = Series::new(payload, subject);
        series.rounds.extend(cpu.iter().map(|cpu| Measured {
            cpu_per_million: *cpu,
            per_second: 1e6,
            resident_bytes: 10_000_000,
            lost: 0,
            errors: 0,
        }));
        series
    }

    #[test]
    fn a_row_compares_medians_with_the_relay_and_with_the_subjects_own_segments() {
        let all = [
            series(Payload::Segments, Subject::Relay, &[0.3, 0.2, 9.0]),
            series(Payload::Segments, Subject::Perigee, &[0.8, 0.8, 0.8]),
            series(Payload::Logs, Subject::Relay, &[0.4]),
            series(Payload::Logs, Subject::Perigee, &[1.2, 0.1, 1.3]),
        ];
        let columns = |row: usize| {
            let row = all[row].row("long", &all);
            let columns: Vec<_> = row.split_whitespace().map(str::to_owned).collect();
            columns[..6].join(" ")
        };
        assert_eq!(columns(0), "segments long relay 0.300 1.00x 1.00x");
        assert_eq!(columns(3), "logs long perigee 1.200 3.00x 1.50x");
    }

    #[test]
    fn one_lost_message_or_failed_call_makes_a_series_unsound() {
        let sound = series(Payload::Als, Subject::Perigee, &[1.0, 1.0]);
        assert!(sound.is_sound());
        let (mut lossy, mut failed) = (sound.clone(), sound);
        lossy.rounds[1].lost = 1;
        failed.rounds[0].errors = 1;
        assert!(!lossy.is_sound() && !failed.is_sound());
    }
}
