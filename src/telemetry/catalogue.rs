//! Every metric, once: name, kind, unit, labels, meaning.
//!
//! Nothing else spells a metric's name. Satellite's names and labels are kept exactly, so that its
//! dashboards and alerts go on working; ours begin with `perigee_`. What capturing itself counts stands in
//! `perigee_ebpf_profiler::metrics`. The tables in `METRICS.md` are made from both.

mod capture;
mod entries;

use std::fmt::Write;

use perigee_ebpf_profiler::metrics::{self as captured, Label};

use capture::OF_CAPTURE;
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

/// The tables for the documentation.
pub fn markdown() -> String {
    let mut text = String::from(
        "# Metrics\n\nMade by `telemetry/catalogue.rs`; a test keeps it up to date. Every metric also carries \
         `cluster`, `service` and\n`instance`. `process_*` follow Prometheus' conventions.\n\n\
         ## Gateway\n\nOn the page of `telemetry.prometheus`.\n\n\
         | Name | Kind | Unit | Labels | Meaning |\n|---|---|---|---|---|\n",
    );
    let is_of_capture = |metric: &Metric| OF_CAPTURE.iter().any(|it| it.name == metric.name);
    for metric in ALL.into_iter().filter(|metric| !is_of_capture(metric)) {
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
    text.push_str(&capture_markdown());
    text
}

/// What `perigee capture` shows.
fn capture_markdown() -> String {
    let mut text = format!(
        "\n## Capture\n\nOn the page of `perigee capture` (`capture.metrics.listen`), beside `{}`, `{}`\n\
         and `process_*` of that process. A row for each value of a label stands where it has been counted or \
         measured at least once.\n\n\
         | Name | Kind | Labels and their values | Meaning |\n|---|---|---|---|\n",
        BUILD_INFO.name, LOG_LINES_DROPPED.name
    );
    let mut row = |name: &str, kind: &str, labels: &[Label], meaning: &str| {
        let labels: Vec<String> = labels.iter().map(with_values).collect();
        let labels = labels.join("; ");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {meaning} |");
    };
    for metric in OF_CAPTURE {
        row(metric.name, metric.kind.word(), &[], metric.help);
    }
    for metric in captured::ALL {
        let (labels, meaning) = (metric.labels(), metric.meaning());
        row(metric.name(), metric.kind(), labels, meaning);
    }
    text
}

/// `` `label`: `value` meaning, .. ``
fn with_values(label: &Label) -> String {
    let values = label.values.iter();
    let values: Vec<String> = values
        .map(|(value, means)| format!("`{value}` {means}"))
        .collect();
    format!("`{}`: {}", label.name, values.join(", "))
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
    fn what_capturing_counts_stands_in_the_documentation_with_the_values_of_its_labels() {
        let text = capture_markdown();
        let row = "| `perigee_capture_uploads_total` | counter | `outcome`: `ok` taken, `failed` not taken | \
                   Streams of profiling data; what a failed one held is sent again. |\n";
        assert!(text.contains(row), "{text}");
        let known: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        for metric in captured::ALL {
            assert!(!known.contains(metric.name()), "{}", metric.name());
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
