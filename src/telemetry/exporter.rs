//! The Prometheus page.
//!
//! Counters and gauges are copied from the books onto a fresh recorder at every scrape, so a node
//! that left discovery is gone from the next page. Histograms alone live in a recorder of their own
//! between scrapes: the data path records into handles that were made once.
//!
//! No recorder is installed globally: several gateways can live in one process.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Instant;

use metrics::{Histogram, Key, KeyName, Label, Level as Verbosity, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusRecorder};
use perigee_plugin_api::queue::Level;

use super::books::{
    Books, ConnectionError, DropReason, NodeBooks, PipeBooks, Refusal, Reload, TlsSide,
};
use super::catalogue::{self, Kind, Metric};
use super::log;

mod capture;

pub use capture::{CaptureExporter, CaptureState};

static METADATA: Metadata<'static> = Metadata::new(module_path!(), Verbosity::INFO, None);

/// Values of the constant labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// `cluster`.
    pub cluster: String,
    /// `service`.
    pub service: String,
    /// `instance`.
    pub instance: String,
}

/// What the exporter reads besides the books. Called at scrapes.
pub trait Levels: Send + Sync {
    /// The queues; a pipe without one is absent.
    fn queues(&self) -> Vec<QueueLevel>;

    /// The byte budget.
    fn budget(&self) -> BudgetLevel;
}

/// What a queue holds.
#[derive(Clone, Debug)]
pub struct QueueLevel {
    /// Index of the pipe in the books.
    pub pipe: usize,
    /// Messages that the whole queue may hold.
    pub capacity: u64,
    /// By partition.
    pub partitions: Vec<Level>,
}

/// Bytes held for clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetLevel {
    /// Bytes held now.
    pub used: u64,
    /// Bytes that may be held.
    pub limit: u64,
}

/// Handles of one pipe's histograms. Cheap to clone; recording takes no lock.
#[derive(Clone, Debug)]
pub struct PipeHistograms {
    /// Messages in a batch.
    pub batch_messages: Histogram,
    /// Bytes in a batch.
    pub batch_bytes: Histogram,
    /// Seconds from the oldest message's arrival to the OAP's confirmation.
    pub delivery_seconds: Histogram,
    /// Seconds of one upstream call.
    pub call_seconds: Histogram,
}

impl PipeHistograms {
    /// Handles that record nothing, for a gateway without a Prometheus page.
    pub fn disabled() -> Self {
        Self {
            batch_messages: Histogram::noop(),
            batch_bytes: Histogram::noop(),
            delivery_seconds: Histogram::noop(),
            call_seconds: Histogram::noop(),
        }
    }
}

/// Renders the page.
pub struct Exporter {
    labels: Labels,
    books: Arc<Books>,
    levels: Arc<dyn Levels>,
    held: PrometheusRecorder,
    histograms: Vec<PipeHistograms>,
    process: metrics_process::Collector,
}

impl Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

impl Exporter {
    /// An exporter of these books and levels.
    pub fn new(labels: Labels, books: Arc<Books>, levels: Arc<dyn Levels>) -> Self {
        let held = recorder(&labels);
        let handle = |metric: &'static Metric, pipe: &PipeBooks| {
            held.register_histogram(&key(metric, &[pipe.name()]), &METADATA)
        };
        let histograms = books
            .pipes()
            .iter()
            .map(|pipe| PipeHistograms {
                batch_messages: handle(&catalogue::BATCH_MESSAGES, pipe),
                batch_bytes: handle(&catalogue::BATCH_BYTES, pipe),
                delivery_seconds: handle(&catalogue::DELIVERY_SECONDS, pipe),
                call_seconds: handle(&catalogue::CALL_SECONDS, pipe),
            })
            .collect();
        Self {
            labels,
            books,
            levels,
            held,
            histograms,
            process: metrics_process::Collector::default(),
        }
    }

    /// The books behind the page.
    pub fn books(&self) -> &Arc<Books> {
        &self.books
    }

    /// The histograms of a pipe.
    ///
    /// # Panics
    ///
    /// If there is no pipe of that index.
    pub fn histograms(&self, pipe: usize) -> PipeHistograms {
        self.histograms[pipe].clone()
    }

    /// The page. Takes in the order of a millisecond: it reads `/proc` and walks every series.
    pub fn render(&self) -> String {
        let page = Page(recorder(&self.labels));
        self.books
            .pipes()
            .iter()
            .for_each(|pipe| write_pipe(&page, pipe));
        self.write_queues(&page);
        self.write_front(&page);
        capture::write_child(&page, &self.books.capture);
        for (address, node) in self.books.nodes() {
            write_node(&page, &address.to_string(), &node);
        }
        metrics::with_local_recorder(&page.0, || {
            self.process.describe();
            self.process.collect();
        });
        let mut text = page.0.handle().render();
        text.push_str(&self.held.handle().render());
        text
    }

    /// Sorts recorded values into their buckets. Must run every few seconds: between two of these
    /// (or scrapes) every recorded value is kept.
    pub fn upkeep(&self) {
        self.held.handle().run_upkeep();
    }

    fn write_queues(&self, page: &Page) {
        let now = Instant::now();
        for queue in self.levels.queues() {
            let pipe = self.books.pipe(queue.pipe).name();
            page.set(&catalogue::QUEUE_CAPACITY, &[pipe], queue.capacity as f64);
            for (partition, level) in queue.partitions.iter().enumerate() {
                let labels = [pipe, &partition.to_string()];
                page.set(
                    &catalogue::QUEUE_PARTITION_SIZE,
                    &labels,
                    level.queued as f64,
                );
            }
            let sum = |part: fn(&Level) -> u64| queue.partitions.iter().map(part).sum::<u64>();
            let oldest = queue.partitions.iter().filter_map(|level| level.oldest);
            let age = oldest
                .min()
                .map_or(0.0, |oldest| (now - oldest).as_secs_f64());
            let pipe = &[pipe];
            page.set(&catalogue::QUEUED, pipe, sum(|level| level.queued) as f64);
            page.set(
                &catalogue::QUEUED_BYTES,
                pipe,
                sum(|level| level.queued_bytes) as f64,
            );
            page.set(
                &catalogue::IN_FLIGHT,
                pipe,
                sum(|level| level.in_flight) as f64,
            );
            page.set(&catalogue::OLDEST_AGE, pipe, age);
        }
    }

    fn write_front(&self, page: &Page) {
        let front = &self.books.front;
        let budget = self.levels.budget();
        let gauges = [
            (
                &catalogue::SERVER_CONNECTIONS,
                front.connections_open.value(),
            ),
            (&catalogue::STREAMS_OPEN, front.streams_open.value()),
            (&catalogue::PAUSED_STREAMS, front.paused_streams.value()),
            (&catalogue::BUDGET_USED, budget.used),
            (&catalogue::BUDGET_LIMIT, budget.limit),
        ];
        for (metric, value) in gauges {
            page.set(metric, &[], value as f64);
        }
        for (metric, measure) in [
            (&catalogue::SERVER_CPU, &front.cpu.percent),
            (&catalogue::CPU_LIMIT, &front.cpu.limit),
            (&catalogue::CPU_CORES, &front.cpu.cores),
        ] {
            page.set(metric, &[], measure.value());
        }
        page.set(&catalogue::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        let counters = [
            (&catalogue::CONNECTIONS, front.connections.value()),
            (&catalogue::STREAMS, front.streams.value()),
            (&catalogue::FRONT_BYTES, front.received_bytes.value()),
            (&catalogue::LOG_LINES_DROPPED, log::dropped_lines()),
        ];
        for (metric, value) in counters {
            page.count(metric, &[], value);
        }
        for error in ConnectionError::ALL {
            let value = front.connection_errors(error);
            page.count(&catalogue::CONNECTION_ERRORS, &[error.label()], value);
        }
        for refusal in Refusal::ALL {
            let value = front.refusals(refusal);
            page.count(&catalogue::REFUSALS, &[refusal.label()], value);
        }
        for side in TlsSide::ALL {
            for result in Reload::ALL {
                let labels = [side.label(), result.label()];
                let value = self.books.certificates.reloads(side, result);
                page.count(&catalogue::CERTIFICATE_RELOADS, &labels, value);
            }
        }
    }
}

fn write_pipe(page: &Page, books: &PipeBooks) {
    let (pipe, kind) = (books.name(), books.sniff_type());
    let now = books.snapshot();
    let by_status = [
        (
            &catalogue::GATHERER_RECEIVE_COUNT,
            vec![pipe, "all"],
            now.received,
        ),
        (
            &catalogue::GATHERER_RECEIVE_COUNT,
            vec![pipe, "abandoned"],
            now.dropped_for_room(),
        ),
        (
            &catalogue::QUEUE_OUTPUT_COUNT,
            vec![pipe, "success"],
            now.taken,
        ),
        (&catalogue::QUEUE_OUTPUT_COUNT, vec![pipe, "error"], 0),
        (
            &catalogue::SENDER_OUTPUT_COUNT,
            vec![pipe, "success", kind],
            now.delivered,
        ),
        (
            &catalogue::SENDER_OUTPUT_COUNT,
            vec![pipe, "failure", kind],
            now.given_up(),
        ),
    ];
    for (metric, labels, value) in by_status {
        page.count(metric, &labels, value);
    }
    for reason in DropReason::ALL {
        let labels = [pipe, reason.label()];
        page.count(&catalogue::DROPPED, &labels, now.dropped_for(reason));
    }
    let counters = [
        (&catalogue::RECEIVED, now.received),
        (&catalogue::RECEIVED_BYTES, now.received_bytes),
        (&catalogue::ACKNOWLEDGED, now.acknowledged),
        (&catalogue::DELIVERED, now.delivered),
        (&catalogue::MERGED, now.merged),
        (&catalogue::RESENT, now.resent),
        (&catalogue::PASSTHROUGH_CALLS, now.passthrough_calls),
        (&catalogue::PASSTHROUGH_FAILURES, now.passthrough_failures),
    ];
    for (metric, value) in counters {
        page.count(metric, &[pipe], value);
    }
}

fn write_node(page: &Page, address: &str, node: &NodeBooks) {
    let counters = [
        (&catalogue::NODE_DELIVERED, &node.delivered),
        (&catalogue::NODE_BATCHES, &node.batches),
        (&catalogue::NODE_FAILED_BATCHES, &node.failed_batches),
        (&catalogue::NODE_RESENT, &node.resent),
        (&catalogue::NODE_EJECTIONS, &node.ejections),
        (&catalogue::NODE_CONNECTS, &node.connects),
        (&catalogue::NODE_FAILED_CONNECTS, &node.failed_connects),
    ];
    for (metric, count) in counters {
        page.count(metric, &[address], count.value());
    }
    let gauges = [
        (&catalogue::NODE_IN_FLIGHT, &node.in_flight),
        (&catalogue::NODE_READY, &node.ready_connections),
    ];
    for (metric, gauge) in gauges {
        page.set(metric, &[address], gauge.value() as f64);
    }
}

/// One page in the making.
struct Page(PrometheusRecorder);

impl Page {
    fn count(&self, metric: &'static Metric, labels: &[&str], value: u64) {
        let counter = self.0.register_counter(&key(metric, labels), &METADATA);
        counter.absolute(value);
    }

    fn set(&self, metric: &'static Metric, labels: &[&str], value: f64) {
        let gauge = self.0.register_gauge(&key(metric, labels), &METADATA);
        gauge.set(value);
    }
}

/// A metric with the values of its labels, in the catalogue's order.
fn key(metric: &'static Metric, values: &[&str]) -> Key {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    let labels: Vec<Label> = metric
        .labels
        .iter()
        .zip(values)
        .map(|(name, value)| Label::new(*name, (*value).to_owned()))
        .collect();
    Key::from_parts(metric.name, labels)
}

#[expect(
    clippy::expect_used,
    reason = "buckets are refused only when there are none, and the catalogue's are constant"
)]
fn recorder(labels: &Labels) -> PrometheusRecorder {
    let values = [&labels.cluster, &labels.service, &labels.instance];
    let mut builder = PrometheusBuilder::new();
    for (label, value) in catalogue::CONSTANT_LABELS.into_iter().zip(values) {
        builder = builder.add_global_label(label, value);
    }
    for metric in catalogue::ALL {
        if let Kind::Histogram(buckets) = metric.kind {
            builder = builder
                .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                .expect("a catalogued histogram has buckets");
        }
    }
    let recorder = builder.build_recorder();
    for metric in catalogue::ALL {
        let (name, help) = (KeyName::from(metric.name), metric.help.into());
        match metric.kind {
            Kind::Counter => recorder.describe_counter(name, None, help),
            Kind::Gauge => recorder.describe_gauge(name, None, help),
            Kind::Histogram(_) => recorder.describe_histogram(name, None, help),
        }
    }
    recorder
}

#[cfg(test)]
mod tests;
