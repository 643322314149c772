//! What this crate counts: each metric once, with the values of its labels and what they mean.
//!
//! A [`Metric`] can be made here only and is recorded through here only, so that the page, its HELP texts
//! and the table in the documentation cannot say different things.

use ::metrics::{
    Counter, Gauge, Key, KeyName, Label as Pair, Level, Metadata, SharedString, with_recorder,
};

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// Processes that are reported or shall be.
pub static ENTITIES: Metric = gauge(
    "perigee_capture_entities",
    &[],
    "Processes that are reported or shall be.",
);
/// Calls about processes.
pub static REPORTS: Metric = counter(
    "perigee_capture_reports_total",
    &[
        Label {
            name: "method",
            values: &[
                ("reportProcesses", "what runs here"),
                ("keepAlive", "that it still does"),
            ],
        },
        OUTCOME,
    ],
    "Calls that report processes or say that they live.",
);
/// Captures of tasks that run now.
pub static TASKS_RUNNING: Metric = gauge(
    "perigee_capture_tasks_running",
    &[],
    "What tasks have captured now, one for each process of each task.",
);
/// What tasks asked for and did not get.
pub static TASKS_REFUSED: Metric = counter(
    "perigee_capture_tasks_refused_total",
    &[Label {
        name: "reason",
        values: &[
            ("command", "it is no profiling task"),
            ("malformed", "an argument is missing or wrong"),
            ("network", "it is network profiling"),
            ("full", "there are too many"),
            (
                "over",
                "its time was over before its process, or the task itself, was known",
            ),
            (
                "capture",
                "the machine or the configuration forbade it until its time was over",
            ),
        ],
    }],
    "What tasks asked for and did not get.",
);
/// Streams of profiling data.
pub static UPLOADS: Metric = counter(
    "perigee_capture_uploads_total",
    &[OUTCOME],
    "Streams of profiling data; what a failed one held is sent again.",
);
/// What no OAP will see of a task.
pub static SAMPLES_DROPPED: Metric = counter(
    "perigee_capture_task_samples_dropped_total",
    &[Label {
        name: "reason",
        values: &[
            ("stacks", "more different stacks than are remembered"),
            ("late", "not taken by anybody for too long"),
            ("stopped", "`perigee capture` ended first"),
        ],
    }],
    "Samples and waits of tasks that no OAP will see.",
);
/// How captures are made.
pub static TIER: Metric = gauge(
    "perigee_capture_tier",
    &[Label {
        name: "kind",
        values: &[
            ("on_cpu", "where CPU time goes"),
            ("off_cpu", "where threads wait"),
        ],
    }],
    "How captures are made: 4 BPF with unwind tables, 3 BPF with frame pointers, 2 perf rings, 1 perf rings of \
     own processes, 0 off.",
);
/// Samples and waits that could not be kept.
pub static SAMPLES_LOST: Metric = counter(
    "perigee_capture_samples_lost_total",
    &[Label {
        name: "reason",
        values: &[
            ("ring", "they were read too slowly"),
            ("counts", "the map of samples was full"),
            ("waits", "the map of waits was full"),
            (
                "unknown",
                "too many of a process that had not been looked at yet",
            ),
        ],
    }],
    "Samples and waits that could not be kept.",
);
/// Walks in the kernel that ended too early.
pub static STACKS_INCOMPLETE: Metric = counter(
    "perigee_capture_stacks_incomplete_total",
    &[Label {
        name: "reason",
        values: &[
            ("unreadable", "memory could not be read"),
            ("rule", "the compiler's unwind rule is one we do not have"),
            ("frame_pointer", "the frame pointer led nowhere"),
        ],
    }],
    "Walks that ended before the thread's start.",
);
/// Unwind rules that found no room.
pub static RULES_LOST: Metric = gauge(
    "perigee_capture_unwind_rules_lost",
    &[],
    "Unwind rules that found no room: the code is walked by frame pointers.",
);

const OUTCOME: Label = Label {
    name: "outcome",
    values: &[("ok", "taken"), ("failed", "not taken")],
};

/// All of them.
pub static ALL: [&Metric; 10] = [
    &TIER,
    &ENTITIES,
    &REPORTS,
    &TASKS_RUNNING,
    &TASKS_REFUSED,
    &UPLOADS,
    &SAMPLES_DROPPED,
    &SAMPLES_LOST,
    &STACKS_INCOMPLETE,
    &RULES_LOST,
];

/// One metric.
#[derive(Debug)]
pub struct Metric {
    name: &'static str,
    kind: Kind,
    labels: &'static [Label],
    meaning: &'static str,
}

/// A label with all values that it may have.
#[derive(Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values and what they mean.
    pub values: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

const fn counter(name: &'static str, labels: &'static [Label], meaning: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Counter,
        labels,
        meaning,
    }
}

const fn gauge(name: &'static str, labels: &'static [Label], meaning: &'static str) -> Metric {
    Metric {
        name,
        kind: Kind::Gauge,
        labels,
        meaning,
    }
}

impl Metric {
    /// As Prometheus sees it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Prometheus' word for what kind of number it is.
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        }
    }

    /// Its labels.
    pub fn labels(&self) -> &'static [Label] {
        self.labels
    }

    /// What it says, without its labels.
    pub fn meaning(&self) -> &'static str {
        self.meaning
    }

    /// For those who see the page only: what it says, and what the values of its labels mean.
    pub fn help(&self) -> String {
        let labels = self.labels.iter().map(|label| {
            let value = |(value, means): &(&str, &str)| format!("{value} ({means})");
            let values: Vec<_> = label.values.iter().map(value).collect();
            format!(" By {}: {}.", label.name, values.join(", "))
        });
        labels.fold(self.meaning.to_owned(), |help, label| help + &label)
    }

    /// The counter with these values of its labels, in their order.
    pub fn counter(&'static self, values: &[&'static str]) -> Counter {
        let key = self.key(Kind::Counter, values);
        with_recorder(|recorder| recorder.register_counter(&key, &METADATA))
    }

    /// The gauge with these values of its labels, in their order.
    pub fn gauge(&'static self, values: &[&'static str]) -> Gauge {
        let key = self.key(Kind::Gauge, values);
        with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    fn key(&'static self, kind: Kind, values: &[&'static str]) -> Key {
        let name = self.name;
        debug_assert!(
            ALL.iter().any(|metric| metric.name == name),
            "{name} is not in the table"
        );
        debug_assert_eq!(self.kind, kind, "{name}");
        debug_assert_eq!(self.labels.len(), values.len(), "{name}");
        let pairs = self.labels.iter().zip(values).map(|(label, value)| {
            debug_assert!(
                label.values.iter().any(|(known, _)| known == value),
                "{name}: {}={value} is not in the table",
                label.name
            );
            Pair::from_static_parts(label.name, value)
        });
        Key::from_parts(name, pairs.collect::<Vec<_>>())
    }
}

/// Tells the recorder what they mean; again does no harm.
pub fn describe() {
    with_recorder(|recorder| {
        for metric in ALL {
            let (name, help) = (
                KeyName::from(metric.name),
                SharedString::from(metric.help()),
            );
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, None, help),
                Kind::Gauge => recorder.describe_gauge(name, None, help),
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_metric_stands_in_the_table_once_and_says_its_kind() {
        let names: BTreeSet<&str> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len());
        let code = include_str!("metrics.rs").split("#[cfg(test)]").next();
        let made = code.map(|code| code.matches(": Metric = ").count());
        assert_eq!(made, Some(ALL.len()));
        for metric in ALL {
            let total = metric.name.ends_with("_total");
            assert_eq!(total, metric.kind == Kind::Counter, "{}", metric.name);
        }
    }

    #[test]
    fn a_help_text_explains_the_values_of_labels() {
        assert_eq!(
            UPLOADS.help(),
            "Streams of profiling data; what a failed one held is sent again. By outcome: ok (taken), failed (not taken)."
        );
        assert_eq!(ENTITIES.help(), ENTITIES.meaning());
    }

    #[test]
    #[should_panic(expected = "perigee_capture_uploads_total: outcome=lost is not in the table")]
    fn a_value_that_the_table_does_not_have_is_not_recorded() {
        UPLOADS.counter(&["lost"]).increment(1);
    }

    #[test]
    #[should_panic(expected = "perigee_capture_new is not in the table")]
    fn a_name_that_the_table_does_not_have_is_not_recorded() {
        static NEW: Metric = gauge("perigee_capture_new", &[], "New.");
        NEW.gauge(&[]).set(1.0);
    }
}
