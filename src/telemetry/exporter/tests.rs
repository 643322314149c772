//! The page after some activity.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::*;

struct Fixed;

impl Levels for Fixed {
    fn queues(&self) -> Vec<QueueLevel> {
        let level = Level {
            queued: 3,
            queued_bytes: 300,
            in_flight: 2,
            oldest: Some(Instant::now()),
        };
        vec![QueueLevel {
            pipe: 0,
            capacity: 10_000,
            partitions: vec![level, Level::default()],
        }]
    }

    fn budget(&self) -> BudgetLevel {
        BudgetLevel {
            used: 500,
            limit: 1000,
        }
    }
}

fn exporter() -> Exporter {
    let labels = Labels {
        cluster: "c".to_owned(),
        service: "s \"quoted\"".to_owned(),
        instance: "i".to_owned(),
    };
    let books = Books::new([("tracepipe", "TracingType"), ("logpipe", "Logging")]);
    Exporter::new(labels, Arc::new(books), Arc::new(Fixed))
}

fn node() -> SocketAddr {
    "127.0.0.1:11800".parse().unwrap()
}

fn busy() -> Exporter {
    let exporter = exporter();
    let pipe = exporter.books.pipe(0);
    pipe.received(10, 1000);
    pipe.taken_from_queue(7);
    pipe.delivered(4);
    pipe.dropped(DropReason::QueueFull, 1);
    pipe.dropped(DropReason::Expired, 2);
    exporter.books.front.connection_opened();
    exporter.books.front.refused(Refusal::Oversized);
    exporter.books.front.connection_failed(ConnectionError::Cpu);
    exporter.books.front.cpu.percent.set(31.5);
    exporter.books.front.cpu.limit.set(75.0);
    exporter.books.front.cpu.cores.set(0.5);
    let node = exporter.books.node(node());
    node.delivered.add(4);
    node.ready_connections.inc();
    let histograms = exporter.histograms(0);
    histograms.batch_messages.record(4.0);
    histograms.delivery_seconds.record(0.02);
    exporter
}

/// Value of a sample without its constant labels.
fn sample(page: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: BTreeMap<&str, &str> = labels.iter().copied().collect();
    let parsed = page.lines().filter_map(parse).find(|(found, have, _)| {
        let own = have
            .iter()
            .filter(|(label, _)| !catalogue::CONSTANT_LABELS.contains(label));
        *found == name && own.map(|(k, v)| (*k, *v)).collect::<BTreeMap<_, _>>() == wanted
    });
    parsed
        .unwrap_or_else(|| panic!("{name}{labels:?} in:\n{page}"))
        .2
}

type Sample<'a> = (&'a str, BTreeMap<&'a str, &'a str>, f64);

/// A sample line. Splits at commas: no label value in these tests has one.
fn parse(line: &str) -> Option<Sample<'_>> {
    if line.starts_with('#') || line.is_empty() {
        return None;
    }
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap();
    let labels = labels.strip_suffix('}').unwrap().split(',');
    let labels = labels.map(|label| label.split_once('=').unwrap());
    let labels = labels.map(|(name, value)| (name, &value[1..value.len() - 1]));
    Some((name, labels.collect(), value.parse().unwrap()))
}

/// The page of a process that captures.
fn capturing() -> String {
    let (exporter, _recorder) = CaptureExporter::new(busy().labels);
    exporter.render(CaptureState {
        paused: true,
        possible: false,
    })
}

#[test]
fn the_pages_and_the_catalogue_name_the_same_metrics() {
    let busy = busy();
    busy.books.capture.want();
    let page = busy.render() + &capturing();
    let declared: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .filter(|(name, _)| !name.starts_with("process_"))
        .collect();
    let catalogued: BTreeMap<&str, &str> = catalogue::ALL
        .iter()
        .map(|metric| (metric.name, metric.kind.word()))
        .collect();
    assert_eq!(declared, catalogued);
    let of = |begin: &str| {
        let lines = page.lines().filter(|line| line.starts_with(begin));
        lines.collect::<BTreeSet<_>>().len()
    };
    assert_eq!(of("# HELP "), catalogued.len() + of("# TYPE process_"));
    assert!(page.contains("\nprocess_resident_memory_bytes{"));
}

#[test]
fn a_child_that_nobody_wants_is_not_shown() {
    let busy = busy();
    assert!(!busy.render().contains("perigee_capture"));
    busy.books.capture.want();
    let up = |page: &str| sample(page, catalogue::CAPTURE_CHILD_UP.name, &[]);
    assert_eq!(up(&busy.render()), 0.0);
    busy.books.capture.set_up(true);
    busy.books.capture.restarts.add(2);
    let page = busy.render();
    assert_eq!(up(&page), 1.0);
    assert_eq!(
        sample(&page, catalogue::CAPTURE_CHILD_RESTARTS.name, &[]),
        2.0
    );
}

#[test]
fn a_process_that_captures_says_whether_it_can_and_may() {
    let page = capturing();
    assert_eq!(sample(&page, catalogue::CAPTURE_PAUSED.name, &[]), 1.0);
    assert_eq!(sample(&page, catalogue::CAPTURE_POSSIBLE.name, &[]), 0.0);
    assert!(page.contains("\nprocess_resident_memory_bytes{"));
}

#[test]
fn every_sample_has_its_documented_labels_and_the_constant_ones() {
    let page = busy().render();
    for (name, labels, _) in page.lines().filter_map(parse) {
        let mut expected = BTreeSet::from(catalogue::CONSTANT_LABELS);
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        let metric = catalogue::ALL.iter().find(|metric| {
            metric.name == name
                || matches!(metric.kind, Kind::Histogram(_)) && Some(metric.name) == base
        });
        if let Some(metric) = metric {
            expected.extend(metric.labels);
        } else {
            assert!(name.starts_with("process_"), "{name}");
        }
        if name.ends_with("_bucket") {
            expected.insert("le");
        }
        let found: BTreeSet<&str> = labels.keys().copied().collect();
        assert_eq!(found, expected, "{name}");
        assert_eq!(labels["cluster"], "c");
        assert_eq!(labels["service"], "s \\\"quoted\\\"");
    }
}

#[test]
fn satellites_metrics_say_what_they_said() {
    let page = busy().render();
    let pipe = ("pipe", "tracepipe");
    let kind = ("type", "TracingType");
    for (name, labels, value) in [
        (
            "gatherer_receive_count",
            vec![pipe, ("status", "all")],
            10.0,
        ),
        (
            "gatherer_receive_count",
            vec![pipe, ("status", "abandoned")],
            1.0,
        ),
        ("queue_output_count", vec![pipe, ("status", "success")], 7.0),
        (
            "sender_output_count",
            vec![pipe, kind, ("status", "success")],
            4.0,
        ),
        (
            "sender_output_count",
            vec![pipe, kind, ("status", "failure")],
            2.0,
        ),
        (
            "pipeline_queue_total_capacity",
            vec![("pipeline", "tracepipe")],
            10_000.0,
        ),
        (
            "pipeline_queue_partition_size",
            vec![("pipeline", "tracepipe"), ("partition", "0")],
            3.0,
        ),
        ("grpc_server_connection_count", vec![], 1.0),
        ("grpc_server_cpu_gauge", vec![], 31.5),
    ] {
        assert_eq!(sample(&page, name, &labels), value, "{name}{labels:?}");
    }
}

#[test]
fn our_metrics_show_the_books() {
    let page = busy().render();
    let pipe = ("pipe", "tracepipe");
    for (metric, labels, value) in [
        (&catalogue::RECEIVED_BYTES, vec![pipe], 1000.0),
        (&catalogue::DROPPED, vec![pipe, ("reason", "expired")], 2.0),
        (&catalogue::QUEUED_BYTES, vec![pipe], 300.0),
        (&catalogue::IN_FLIGHT, vec![pipe], 2.0),
        (&catalogue::REFUSALS, vec![("reason", "oversized")], 1.0),
        (
            &catalogue::NODE_DELIVERED,
            vec![("node", "127.0.0.1:11800")],
            4.0,
        ),
        (
            &catalogue::NODE_READY,
            vec![("node", "127.0.0.1:11800")],
            1.0,
        ),
        (&catalogue::BUDGET_USED, vec![], 500.0),
        (&catalogue::CPU_LIMIT, vec![], 75.0),
        (&catalogue::CPU_CORES, vec![], 0.5),
        (
            &catalogue::CONNECTION_ERRORS,
            vec![("reason", "cpu_limit")],
            1.0,
        ),
    ] {
        assert_eq!(sample(&page, metric.name, &labels), value, "{metric:?}");
    }
}

#[test]
fn histograms_have_the_catalogues_buckets_and_keep_what_upkeep_sorted() {
    let exporter = busy();
    exporter.upkeep();
    exporter.histograms(0).batch_messages.record(30.0);
    let page = exporter.render();
    let bucket = |le| {
        let labels = [("pipe", "tracepipe"), ("le", le)];
        sample(&page, "perigee_batch_messages_bucket", &labels)
    };
    assert_eq!((bucket("2"), bucket("5"), bucket("50")), (0.0, 1.0, 2.0));
    assert_eq!(bucket("+Inf"), 2.0);
    for metric in catalogue::ALL {
        let Kind::Histogram(buckets) = metric.kind else {
            continue;
        };
        let lines = page
            .lines()
            .filter(|line| line.starts_with(&format!("{}_bucket{{", metric.name)));
        assert_eq!(lines.count(), 2 * (buckets.len() + 1), "{}", metric.name);
    }
}

#[test]
fn a_forgotten_node_is_gone_from_the_next_page() {
    let exporter = busy();
    assert!(exporter.render().contains("127.0.0.1:11800"));
    exporter.books.forget_node(node());
    assert!(!exporter.render().contains("127.0.0.1:11800"));
}

#[test]
fn two_exporters_in_one_process_do_not_mix() {
    let (first, second) = (busy(), exporter());
    let pipe = [("pipe", "tracepipe")];
    assert_eq!(
        sample(&first.render(), catalogue::RECEIVED.name, &pipe),
        10.0
    );
    assert_eq!(
        sample(&second.render(), catalogue::RECEIVED.name, &pipe),
        0.0
    );
}
