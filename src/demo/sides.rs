//! Collects what the three sides have counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use perigee_plugin_api::protocol::{Method, Mode, Protocol};
use xxhash_rust::xxh3::xxh3_64;

use super::agents::{Counts, RowCounts, UNKNOWN};
use super::payload;
use super::reconcile::{Line, Live, NODES, Outcome, Probe, Queued, Row};
use crate::sink::SinkHandle;
use crate::sink::state::{State, UploadStatus};
use crate::telemetry::books::{Books, PipeSnapshot};

/// Keyed by service and instance, so that each instance stays with one node.
const KEYED_METERS: &str = "/skywalking.v3.MeterReportService/collectBatch";

/// The gateway's side: its pipes, in the order of its books.
pub(super) struct Gateway {
    pub(super) pipes: Vec<&'static Protocol>,
    pub(super) books: Arc<Books>,
}

/// The sinks' side at one time.
type Sinks = [State; NODES];

pub(super) fn snapshots(sinks: &[SinkHandle; NODES]) -> Sinks {
    sinks.each_ref().map(SinkHandle::snapshot)
}

/// Everything, for the end.
pub(super) fn outcome(counts: &Counts, gateway: &Gateway, sinks: &Sinks) -> Outcome {
    Outcome {
        lines: lines(counts, gateway, sinks),
        rows: counts
            .rows
            .iter()
            .filter_map(|(path, row)| row_of(path, row, gateway, sinks))
            .collect(),
        probes: vec![
            probe("unknown method", &counts.unknown, sinks, true),
            probe("health check", &counts.health, sinks, false),
        ],
        unkeyed: sinks.each_ref().map(unkeyed),
        instances: instances(sinks),
        files: (counts.uploads.len(), whole_files(counts, sinks)),
    }
}

/// One line a pipe.
pub(super) fn lines(counts: &Counts, gateway: &Gateway, sinks: &Sinks) -> Vec<Line> {
    let books = gateway.books.pipes().iter();
    books
        .zip(&gateway.pipes)
        .map(|(books, protocol)| {
            let of_mode = |live: bool| {
                let rows = counts.rows.iter();
                rows.filter(move |(path, _)| {
                    let mut methods = protocol.methods.iter();
                    methods.any(|method| method.path == *path && is_live(method) == live)
                })
                .map(|(_, counts)| &**counts)
                .collect::<Vec<_>>()
            };
            Line {
                pipe: books.name().to_owned(),
                queued: queued(&of_mode(false), books.snapshot(), protocol, sinks),
                live: live(&of_mode(true), &books.snapshot(), protocol, sinks),
            }
        })
        .collect()
}

fn is_live(method: &Method) -> bool {
    method.mode == Mode::Passthrough
}

fn queued(
    rows: &[&RowCounts],
    books: PipeSnapshot,
    protocol: &Protocol,
    sinks: &Sinks,
) -> Option<Queued> {
    let paths: BTreeSet<&str> = protocol
        .methods
        .iter()
        .filter(|method| !is_live(method))
        .map(Method::upstream_path)
        .collect();
    let arrived = |sink: &State| {
        paths
            .iter()
            .map(|path| messages(sink, protocol, path))
            .sum()
    };
    (!paths.is_empty()).then(|| Queued {
        sent: rows.iter().map(|row| row.sent.value()).sum(),
        acknowledged: rows.iter().map(|row| row.acknowledged.value()).sum(),
        books,
        nodes: sinks.each_ref().map(arrived),
    })
}

fn live(
    rows: &[&RowCounts],
    books: &PipeSnapshot,
    protocol: &Protocol,
    sinks: &Sinks,
) -> Option<Live> {
    let paths = || protocol.methods.iter().filter(|method| is_live(method));
    let calls = |sink: &State| paths().map(|method| calls(sink, method.path)).sum();
    let arrived = |sink: &State| paths().map(|method| sink.messages(method.path)).sum();
    (paths().count() > 0).then(|| Live {
        calls: rows.iter().map(|row| row.calls.value()).sum(),
        answered: rows.iter().map(|row| row.answered.value()).sum(),
        sent: rows.iter().map(|row| row.sent.value()).sum(),
        booked: books.passthrough_calls,
        failures: books.passthrough_failures,
        nodes: sinks.each_ref().map(calls),
        arrived: sinks.each_ref().map(arrived),
    })
}

fn calls(sink: &State, path: &str) -> u64 {
    sink.methods.get(path).map_or(0, |method| method.calls)
}

/// Messages of a protocol that a sink accepted on a path. Two protocols may leave by the same
/// path; then the services tell whose a message was.
fn messages(sink: &State, protocol: &Protocol, path: &str) -> u64 {
    let leave_by = |protocol: &&&Protocol| {
        let mut methods = protocol.methods.iter();
        methods.any(|method| method.upstream_path() == path)
    };
    if perigee_protocols::PROTOCOLS.iter().filter(leave_by).count() == 1 {
        return sink.messages(path);
    }
    let service = payload::service(protocol.pipe);
    let of_service = sink.services.iter().filter(|(name, _)| {
        let named = name.split_once('/').map(|(service, _)| service);
        named == Some(&service)
    });
    of_service.filter_map(|(_, paths)| paths.get(path)).sum()
}

fn row_of(path: &'static str, row: &RowCounts, gateway: &Gateway, sinks: &Sinks) -> Option<Row> {
    let found = perigee_protocols::find(path)?;
    // Off in the file, off in the demo.
    let mut pipes = gateway.pipes.iter();
    pipes.find(|protocol| std::ptr::eq(**protocol, found.protocol))?;
    let upstream = found.method.upstream_path();
    let arrived = sinks
        .iter()
        .map(|sink| messages(sink, found.protocol, upstream));
    Some(Row {
        path,
        sent: row.sent.value(),
        arrived: arrived.sum(),
        failure: row.last_failure(),
    })
}

fn probe(what: &'static str, row: &RowCounts, sinks: &Sinks, reaches_sinks: bool) -> Probe {
    let at_sinks = sinks.iter().map(|sink| calls(sink, UNKNOWN)).sum();
    let calls = row.calls.value();
    Probe {
        what,
        calls,
        as_expected: row.answered.value(),
        at_sinks: if reaches_sinks {
            (at_sinks, calls)
        } else {
            (0, 0)
        },
        failure: row.last_failure(),
    }
}

/// Messages of a sink that might have gone to any.
fn unkeyed(sink: &State) -> u64 {
    let paths: BTreeSet<&str> = perigee_protocols::rows()
        .filter(|row| match row.method.mode {
            Mode::Queued(queued) => !queued.adapter.is_sticky(),
            Mode::Passthrough => false,
        })
        .map(|row| row.method.upstream_path())
        .collect();
    paths.into_iter().map(|path| sink.messages(path)).sum()
}

/// Instances that sent keyed meters, and those of them that more than one sink has seen.
fn instances(sinks: &Sinks) -> (usize, usize) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for sink in sinks {
        for (name, paths) in &sink.services {
            if paths.contains_key(KEYED_METERS) {
                *seen.entry(name).or_default() += 1;
            }
        }
    }
    (
        seen.len(),
        seen.values().filter(|sinks| **sinks > 1).count(),
    )
}

fn whole_files(counts: &Counts, sinks: &Sinks) -> usize {
    let whole = |sent: &&super::agents::Sent| {
        let hash = format!("{:016x}", xxh3_64(&sent.content));
        let mut uploads = sinks.iter().flat_map(|sink| &sink.uploads);
        uploads.any(|upload| {
            upload.path == sent.path && upload.status == UploadStatus::Ok && upload.xxh3 == hash
        })
    };
    counts.uploads.iter().filter(whole).count()
}
