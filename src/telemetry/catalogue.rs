//! Every metric, once: name, kind, unit, labels, meaning.
//!
//! Nothing else spells a metric's name. Satellite's names and labels are kept exactly, so that its
//! dashboards and alerts go on working; ours begin with `perigee_`. The table in `METRICS.md` is
//! made from here.

mod capture;
mod entries;

use std::fmt::Write;

pub use capture::*;
pub use entries::*;

/// One metric.
#[derive(Debug)]
pub struct Metric {
    /// As Prometheus sees it.
    pub name: &'static str,
    /// What kind of number.
    pub kind: Kind,
    /// What one is: `messages`, `bytes`, `seconds`.
    pub unit: &'static str,
    /// Names of its labels, besides the constant ones.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution over buckets with these upper bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Prometheus' word for it.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

const fn counter(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        unit,
        labels,
        help,
    }
}

const fn gauge(
    name: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        unit,
        labels,
        help,
    }
}

const fn histogram(
    name: &'static str,
    unit: &'static str,
    buckets: &'static [f64],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind: Kind::Histogram(buckets),
        unit,
        labels: &["pipe"],
        help,
    }
}

/// Labels that every metric carries, from `telemetry` in the file.
pub const CONSTANT_LABELS: [&str; 3] = ["cluster", "service", "instance"];

/// The table for the documentation.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\nMade by `telemetry/catalogue.rs`; a test keeps it up to date. Every metric also carries \
         `cluster`, `service` and\n`instance`. `process_*` follow Prometheus' conventions.\n\n\
         | Name | Kind | Unit | Labels | Meaning |\n|---|---|---|---|---|\n",
    );
    for metric in ALL {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (kind, labels) = (metric.kind.word(), labels.join(", "));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {kind} | {} | {labels} | {} |",
            metric.name, metric.unit, metric.help
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_documentation_is_up_to_date() {
        const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/telemetry/METRICS.md");
        if std::env::var_os("PERIGEE_WRITE_DOCS").is_some() {
            std::fs::write(PATH, markdown()).unwrap();
        }
        let written = std::fs::read_to_string(PATH).unwrap_or_default();
        assert!(
            written == markdown(),
            "{PATH} is old: run this test with PERIGEE_WRITE_DOCS=1"
        );
    }

    #[test]
    fn names_are_unique_and_say_kind_and_unit() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL
            .iter()
            .filter(|metric| metric.name.starts_with("perigee_"))
        {
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{}", metric.name);
            if matches!(metric.unit, "bytes" | "seconds") {
                assert!(metric.name.contains(metric.unit), "{}", metric.name);
            }
        }
    }

    #[test]
    fn buckets_grow() {
        for metric in ALL {
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(buckets.is_sorted_by(|a, b| a < b), "{}", metric.name);
            }
        }
    }
}
