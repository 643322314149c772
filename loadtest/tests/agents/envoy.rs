//! Envoy: access logs and metrics over its own services, SkyWalking's tracer, OpenTelemetry's of all.

mod process;

use std::collections::BTreeMap;

use perigee_loadtest::scenario::Scenario;

use crate::books::{self, Books, Signal, Value};
use crate::{collector, gateway, prepared};
use process::{Envoy, Tunnels, trace_headers};

/// Instances of one deployment, so that only the node tells them apart.
const CLUSTER: &str = "edge";
const NODES: [&str; 3] = ["edge-1", "edge-2", "edge-3"];

/// Times that a test makes traffic and waits for what it leads to: identities come with a stream's
/// first message only, so later rounds are the ones that can go astray.
const ROUNDS: usize = 3;
/// HTTP requests of a round for each Envoy, and TCP connections.
const REQUESTS: usize = 8;
const CONNECTIONS: usize = 4;

/// A gateway, and Envoys that report to it; `None` where there is no Envoy.
fn start() -> Option<(Scenario, Vec<Envoy>)> {
    let program = prepared("envoy")?.join("envoy");
    let scenario = gateway();
    let collector = collector(&scenario);
    let envoys = NODES.map(|node| Envoy::start(&program, collector, (node, CLUSTER)).unwrap());
    Some((scenario, envoys.into()))
}

/// The requests of a round, each for one Envoy and with a path of its own; the Envoys take turns.
fn requests(envoys: &[Envoy], round: usize) -> impl Iterator<Item = (&Envoy, String)> {
    let numbers =
        (0..REQUESTS).flat_map(move |number| envoys.iter().map(move |envoy| (number, envoy)));
    numbers.map(move |(number, envoy)| (envoy, format!("/{}/{round}/{number}", envoy.node)))
}

#[test]
fn access_logs_of_three_envoys_arrive_once_under_their_own_nodes() {
    let Some((scenario, envoys)) = start() else {
        return;
    };
    let (mut expected, mut arrived) = (Books::default(), Books::default());
    for round in 0..ROUNDS {
        for (envoy, path) in requests(&envoys, round) {
            trace_headers(envoy.front, &path).unwrap();
            let names = (&*envoy.node, &*envoy.cluster);
            expected.add(Signal::AccessLog, names, [path]);
        }
        for Envoy {
            node,
            cluster,
            tunnel,
            ..
        } in &envoys
        {
            let tunnels = Tunnels::open(CONNECTIONS, *tunnel).unwrap();
            let ports = tunnels.use_and_close().unwrap();
            let ids = ports.iter().map(|port| format!("tcp:{port}"));
            expected.add(Signal::AccessLog, (node, cluster), ids);
        }
        arrived.await_all(&scenario, &expected).unwrap();
    }
    drop(envoys);
    let arrived = books::close(scenario, arrived);
    arrived.assert_exactly(&expected, &[Signal::AccessLog]);
}

/// Segments from the SkyWalking listener; spans and logs from the OpenTelemetry one.
#[test]
fn segments_spans_and_otlp_logs_of_three_envoys_arrive_once() {
    let Some((scenario, envoys)) = start() else {
        return;
    };
    let (mut expected, mut arrived) = (Books::default(), Books::default());
    for round in 0..ROUNDS {
        for (envoy, path) in requests(&envoys, round) {
            let names = (&*envoy.cluster, &*envoy.node);
            let (skywalking, _) = trace_headers(envoy.front, &path).unwrap();
            expected.add(Signal::Segment, names, [segment_of(&skywalking)]);
            let (_, w3c) = trace_headers(envoy.otel, &path).unwrap();
            expected.add(Signal::Span, names, [span_of(&w3c)]);
            expected.add(Signal::OtlpLog, names, [path]);
        }
        arrived.await_all(&scenario, &expected).unwrap();
    }
    drop(envoys);
    let arrived = books::close(scenario, arrived);
    let signals = [Signal::Segment, Signal::Span, Signal::OtlpLog];
    arrived.assert_exactly(&expected, &signals);
}

/// Counters are reported as differences, so that their sum tells what is missing or came twice.
#[test]
fn metrics_of_three_envoys_add_up_under_their_own_nodes() {
    let Some((scenario, envoys)) = start() else {
        return;
    };
    let mut arrived = Books::default();
    let mut expected = Sums::default();
    for round in 0..ROUNDS {
        for (more, envoy) in envoys.iter().enumerate() {
            // Different numbers, so that a wrong name is a wrong sum.
            let [front, otel, tunnel] = [2, 3, 1].map(|base| base + more);
            for number in 0..front {
                trace_headers(envoy.front, &format!("/front/{round}/{number}")).unwrap();
            }
            for number in 0..otel {
                trace_headers(envoy.otel, &format!("/otel/{round}/{number}")).unwrap();
            }
            let tunnels = Tunnels::open(tunnel, envoy.tunnel).unwrap();
            tunnels.use_and_close().unwrap();
            expected.add_traffic(envoy, [front, otel, tunnel]);
        }
        let what = "the sums of this round";
        let awaited = arrived.await_until(&scenario, what, |arrived| {
            Sums::of(arrived, &expected) == expected
        });
        awaited.unwrap_or_else(|error| {
            let found = Sums::of(&arrived, &expected);
            panic!("{error:#}\n{}", expected.differences(&found))
        });
    }
    drop(envoys);
    let arrived = books::close(scenario, arrived);
    assert_eq!(Sums::of(&arrived, &expected), expected);
}

/// The sums of counters by how they were reported, service, instance and name.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sums(BTreeMap<(Signal, String, String, String), f64>);

impl Sums {
    /// Those of `wanted` that there are.
    fn of(books: &Books, wanted: &Self) -> Self {
        let mut sums = Self::default();
        for (entry, count) in books.of(&[Signal::EnvoyMetric, Signal::Point]) {
            let Some(Value { name, text, .. }) = Value::parse(&entry.id) else {
                continue;
            };
            let (service, instance) = (entry.service.clone(), entry.instance.clone());
            let key = (entry.signal, service, instance, name.to_owned());
            if wanted.0.contains_key(&key) {
                let value: f64 = text.parse().unwrap();
                *sums.0.entry(key).or_default() += value * f64::from(count);
            }
        }
        sums
    }

    /// What this much HTTP and TCP traffic adds to an Envoy's counters.
    fn add_traffic(&mut self, envoy: &Envoy, [front, otel, tunnel]: [usize; 3]) {
        let Envoy { node, cluster, .. } = envoy;
        for (name, count) in [
            ("http.front.downstream_rq_total", front),
            ("http.front.downstream_rq_2xx", front),
            ("http.front.downstream_cx_total", front),
            ("http.otel.downstream_rq_total", otel),
            ("http.otel.downstream_rq_2xx", otel),
            ("tcp.tunnel.downstream_cx_total", tunnel),
            ("http.back.rq_direct_response", front + otel + tunnel),
            ("cluster.back.upstream_rq_200", front + otel),
        ] {
            let by_service = [
                (Signal::EnvoyMetric, node, cluster),
                (Signal::Point, cluster, node),
            ];
            for (signal, service, instance) in by_service {
                let key = (signal, service.clone(), instance.clone(), name.to_owned());
                *self.0.entry(key).or_default() += count as f64;
            }
        }
    }

    fn differences(&self, found: &Self) -> String {
        let differing = self.0.iter().filter_map(|(key, expected)| {
            let found = found.0.get(key).copied().unwrap_or_default();
            (found != *expected).then(|| format!("{key:?} is {found}, should be {expected}\n"))
        });
        differing.collect()
    }
}

/// The segment's id in an `sw8` header: `1-TRACE-SEGMENT-..`, texts in Base64.
fn segment_of(sw8: &str) -> String {
    decode_base64(sw8.split('-').nth(2).unwrap())
}

/// The span's id in a `traceparent` header: `00-TRACE-SPAN-01`.
fn span_of(traceparent: &str) -> String {
    traceparent.split('-').nth(2).unwrap().to_owned()
}

fn decode_base64(text: &str) -> String {
    let alphabet: Vec<_> = (b'A'..=b'Z')
        .chain(b'a'..=b'z')
        .chain(b'0'..=b'9')
        .chain([b'+', b'/'])
        .collect();
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = alphabet.iter().position(|one| *one == digit).unwrap();
        bits = (bits << 6 | value as u32) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    String::from_utf8(bytes).unwrap()
}
