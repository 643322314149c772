//! What clients have produced, and what of it the sinks have.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use perigee_loadtest::process;
use perigee_loadtest::scenario::{Arrived, Scenario};

use crate::ARRIVES_WITHIN;

/// A kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    /// SkyWalking's.
    Segment,
    Log,
    Meter,
    /// Envoy's.
    AccessLog,
    EnvoyMetric,
    /// OpenTelemetry's.
    Span,
    Point,
    OtlpLog,
}

use Signal::{AccessLog, EnvoyMetric, Log, Meter, OtlpLog, Point, Segment, Span};

/// Where each comes in: what the gateway makes of meters and access logs, and what clients send.
const PATHS: [(&str, Signal); 10] = [
    ("/skywalking.v3.TraceSegmentReportService/collect", Segment),
    ("/skywalking.v3.LogReportService/collect", Log),
    ("/skywalking.v3.MeterReportService/collectBatch", Meter),
    ("/skywalking.v3.MeterReportService/collect", Meter),
    (
        "/satellite.envoy.accesslog.v3.SatelliteAccessLogService/StreamAccessLogs",
        AccessLog,
    ),
    (
        "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
        AccessLog,
    ),
    (
        "/envoy.service.metrics.v3.MetricsService/StreamMetrics",
        EnvoyMetric,
    ),
    (
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Span,
    ),
    (
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Point,
    ),
    (
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        OtlpLog,
    ),
];

/// One thing that a client has produced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) signal: Signal,
    pub(crate) id: String,
    pub(crate) service: String,
    pub(crate) instance: String,
}

/// Service and instance.
pub(crate) type Names<'a> = (&'a str, &'a str);

/// Things, and how many of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Books {
    counts: BTreeMap<Entry, u32>,
    /// Lines of each sink's record that are in here.
    read: Vec<usize>,
}

impl Entry {
    pub(crate) fn new(signal: Signal, (service, instance): Names<'_>, id: &str) -> Self {
        let id = match signal {
            Meter | EnvoyMetric | Point => {
                Value::parse(id).map_or_else(|| id.to_owned(), Value::id)
            }
            _ => id.to_owned(),
        };
        Self {
            signal,
            id,
            service: service.to_owned(),
            instance: instance.to_owned(),
        }
    }

    fn arrived(one: &Arrived) -> Option<Self> {
        let (_, signal) = PATHS.iter().find(|(path, _)| *path == one.method)?;
        Some(Self::new(*signal, (&one.service, &one.instance), &one.id))
    }
}

/// A value as sinks and clients write it: `name{label=value,..}=VALUE@TIME`, the time left out where
/// there is none.
#[derive(Clone, Debug)]
pub(crate) struct Value<'a> {
    pub(crate) name: &'a str,
    /// As Rust writes numbers: `7` for Python's `7.0`.
    pub(crate) text: String,
    pub(crate) time: Option<u64>,
}

impl<'a> Value<'a> {
    pub(crate) fn parse(id: &'a str) -> Option<Self> {
        let (rest, time) = match id.rsplit_once('@') {
            Some((rest, time)) => (rest, Some(time.parse().ok()?)),
            None => (id, None),
        };
        let (name, text) = rest.rsplit_once('=')?;
        let number = text.parse::<f64>();
        Some(Self {
            name,
            text: number.map_or_else(|_| text.to_owned(), |number| number.to_string()),
            time,
        })
    }

    fn id(self) -> String {
        let Self { name, text, time } = self;
        let time = time.map_or_else(String::new, |time| format!("@{time}"));
        format!("{name}={text}{time}")
    }
}

impl Books {
    /// Adds things that a client says it has produced.
    pub(crate) fn add<I: AsRef<str>>(
        &mut self,
        signal: Signal,
        names: Names<'_>,
        ids: impl IntoIterator<Item = I>,
    ) {
        for id in ids {
            let entry = Entry::new(signal, names, id.as_ref());
            *self.counts.entry(entry).or_default() += 1;
        }
    }

    /// How many different things of this kind there are.
    pub(crate) fn distinct(&self, signal: Signal) -> usize {
        self.of(&[signal]).count()
    }

    /// Things of these kinds, and how many of each.
    pub(crate) fn of(&self, signals: &[Signal]) -> impl Iterator<Item = (&Entry, u32)> {
        let all = self.counts.iter().map(|(entry, count)| (entry, *count));
        all.filter(|(entry, _)| signals.contains(&entry.signal))
    }

    /// Adds what the sinks have got since the last look, and says whether there was anything.
    fn read_on(&mut self, scenario: &Scenario) -> Result<bool> {
        self.read.resize(scenario.sinks.len(), 0);
        let before = self.read.clone();
        for (sink, read) in scenario.sinks.iter().zip(&mut self.read) {
            let record = sink.record()?;
            for entry in record.all()[*read..].iter().filter_map(Entry::arrived) {
                *self.counts.entry(entry).or_default() += 1;
            }
            *read = record.all().len();
        }
        Ok(before != self.read)
    }

    /// Reads on until there is all that is expected.
    pub(crate) fn await_all(&mut self, scenario: &Scenario, expected: &Self) -> Result<()> {
        let awaited = self.await_until(scenario, "all that was produced", |here| {
            here.lacks(expected).next().is_none()
        });
        awaited.with_context(|| self.lack(expected))
    }

    /// Reads on until `enough` says so.
    pub(crate) fn await_until(
        &mut self,
        scenario: &Scenario,
        what: &str,
        mut enough: impl FnMut(&Self) -> bool,
    ) -> Result<()> {
        let mut looked = false;
        let found = process::poll_for(what, ARRIVES_WITHIN, || {
            let news = self.read_on(scenario)? || !std::mem::replace(&mut looked, true);
            Ok((news && enough(self)).then_some(()))
        });
        found.with_context(|| scenario.gateway.log())
    }

    fn lacks<'a>(&'a self, expected: &'a Self) -> impl Iterator<Item = &'a Entry> {
        let lacking = expected.counts.iter().filter(|(entry, wanted)| {
            let here = self.counts.get(*entry).copied();
            here.unwrap_or_default() < **wanted
        });
        lacking.map(|(entry, _)| entry)
    }

    /// What is missing, and whether it is there under other names.
    fn lack(&self, expected: &Self) -> String {
        let missing: Vec<_> = self.lacks(expected).collect();
        let mut text = format!("{} of {}", missing.len(), expected.counts.len());
        for one in missing.iter().take(5) {
            let elsewhere: Vec<_> = self
                .of(&[one.signal])
                .filter(|(other, _)| other.id == one.id)
                .map(|(other, _)| (&other.service, &other.instance))
                .collect();
            text.push_str(&format!("\nmissing {one:?}, found under {elsewhere:?}"));
        }
        text
    }

    /// Things of the expected kinds are here as often as they are there, and no others.
    pub(crate) fn assert_exactly(&self, expected: &Self, signals: &[Signal]) {
        let here: BTreeMap<_, _> = self.of(signals).collect();
        let there: BTreeMap<_, _> = expected.of(signals).collect();
        let wrong: Vec<_> = here
            .keys()
            .chain(there.keys())
            .filter(|entry| here.get(*entry) != there.get(*entry))
            .map(|entry| (entry, here.get(entry), there.get(entry)))
            .collect();
        let some: Vec<_> = wrong.iter().take(5).collect();
        assert!(
            wrong.is_empty(),
            "{} are not as often at the sinks as produced, as {some:#?}",
            wrong.len()
        );
    }
}

/// Ends the gateway, so that whatever it would still send again has been sent, and returns all that
/// the sinks have got.
pub(crate) fn close(mut scenario: Scenario, mut arrived: Books) -> Books {
    scenario.gateway.stop(ARRIVES_WITHIN).unwrap();
    arrived.read_on(&scenario).unwrap();
    arrived
}
