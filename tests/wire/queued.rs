//! Reports, which the gateway answers itself and delivers later.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use perigee::engine::Code;
use perigee::sink::fault::Fault;
use perigee::telemetry::books::Refusal;

use crate::client::soon;
use crate::gateway::{Gateway, TRACING, pipe};
use crate::messages::*;

#[tokio::test]
async fn t01_a_stream_is_forwarded_at_once_and_answered_at_its_half_close() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(SEGMENTS).await;
    for id in ["a", "b", "c"] {
        call.send(framed(&segment(id, "shop"))).await.unwrap();
    }
    gateway.arrived(SEGMENTS, 3).await;
    client.catch_up().await;
    assert!(!call.is_answered().await, "the client may have more to say");
    call.half_close();
    let answer = call.answer().await;
    assert_eq!(answer.ok(), EMPTY);
    assert_eq!(answer.headers["content-type"], "application/grpc");
    let ids: Vec<_> = gateway.sink().ids(SEGMENTS);
    let ids: Vec<_> = ids.iter().map(|id| id.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let totals = gateway.stop().await;
    assert_eq!((totals.acknowledged, totals.delivered), (3, 3));
}

#[tokio::test]
async fn t19_an_empty_stream_is_answered_and_makes_no_work() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(SEGMENTS).await;
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY);
    // What comes after it reaches the node; it did not.
    client.unary(KEEP_ALIVE, &ping("shop")).await.ok();
    let there = gateway
        .sink()
        .wait_until(|state| state.messages(KEEP_ALIVE) == 1);
    let paths: Vec<_> = soon(there).await.methods.into_keys().collect();
    assert_eq!(paths, [KEEP_ALIVE]);
}

#[tokio::test]
async fn an_empty_message_is_a_message() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    assert_eq!(client.unary(KEEP_ALIVE, b"").await.ok(), EMPTY);
    gateway.arrived(KEEP_ALIVE, 1).await;
}

#[tokio::test]
async fn t20_messages_of_a_reset_stream_are_delivered_and_not_acknowledged() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(SEGMENTS).await;
    call.send([framed(&segment("a", "shop")), framed(&segment("b", "shop"))].concat())
        .await
        .unwrap();
    gateway
        .wait_for("both taken", |gateway| {
            gateway.app.books.totals().received == 2
        })
        .await;
    call.reset();
    gateway.arrived(SEGMENTS, 2).await;
    let totals = gateway.stop().await;
    assert_eq!((totals.acknowledged, totals.delivered), (0, 2));
}

#[tokio::test]
async fn calls_without_a_package_arrive_on_the_v3_path() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let services = [
        ("TraceSegmentReportService/collect", segment("a", "shop")),
        ("TraceSegmentReportService/collectInSync", Vec::new()),
        ("ManagementService/reportInstanceProperties", ping("shop")),
        ("ManagementService/keepAlive", ping("shop")),
        ("JVMMetricReportService/collect", Vec::new()),
        ("CLRMetricReportService/collect", Vec::new()),
        ("MeterReportService/collect", Vec::new()),
        ("ProfileTask/collectSnapshot", Vec::new()),
        ("BrowserPerfService/collectPerfData", Vec::new()),
        ("BrowserPerfService/collectErrorLogs", Vec::new()),
    ];
    for (path, message) in &services {
        let answer = client.unary(&format!("/{path}"), message).await;
        assert_eq!(answer.ok(), EMPTY, "{path}");
    }
    let all = services.len() as u64;
    let there = gateway
        .sink()
        .wait_until(|state| state.total_messages == all);
    let arrived: BTreeSet<_> = soon(there).await.methods.into_keys().collect();
    let wanted = services.map(|(path, _)| match path {
        "MeterReportService/collect" => format!("/skywalking.v3.{path}Batch"),
        _ => format!("/skywalking.v3.{path}"),
    });
    assert_eq!(arrived, BTreeSet::from(wanted));
}

#[tokio::test]
async fn t05_meters_of_one_instance_stay_on_one_node_and_instances_spread() {
    const INSTANCES: usize = 30;
    const ROUNDS: usize = 4;
    let gateway = Gateway::start(3).await;
    gateway
        .wait_for("all nodes ready", |gateway| {
            let nodes = gateway.app.books.nodes();
            // Each of the two workers has a connection of its own.
            nodes.len() == 3
                && nodes
                    .iter()
                    .all(|(_, node)| node.ready_connections.value() == 2)
        })
        .await;
    for _ in 0..ROUNDS {
        let client = gateway.client().await;
        let mut call = client.open(METER_BATCHES).await;
        for number in 0..INSTANCES {
            // The same name in two services: two sources.
            let (service, instance) = (number % 2, number / 2);
            let batch = meter_batch(&format!("s{service}"), &format!("i{instance}"));
            call.send(framed(&batch)).await.unwrap();
        }
        call.half_close();
        assert_eq!(call.answer().await.ok(), EMPTY);
    }
    gateway
        .wait_for("delivered", |gateway| {
            gateway.app.books.totals().delivered == (INSTANCES * ROUNDS) as u64
        })
        .await;
    let mut nodes_of = BTreeMap::<_, Vec<_>>::new();
    for (node, sink) in gateway.sinks.iter().enumerate() {
        for (source, methods) in sink.snapshot().services {
            nodes_of
                .entry(source)
                .or_default()
                .push((node, methods[METER_BATCHES]));
        }
    }
    assert_eq!(nodes_of.len(), INSTANCES);
    let mut used = BTreeSet::new();
    for (source, nodes) in &nodes_of {
        assert_eq!(nodes.len(), 1, "{source} on {nodes:?}");
        assert_eq!(nodes[0].1, ROUNDS as u64, "{source}");
        used.insert(nodes[0].0);
    }
    assert_eq!(used.len(), 3, "{nodes_of:?}");
}

pub(crate) fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(message).unwrap();
    encoder.finish().unwrap()
}

pub(crate) const GZIP: [(&str, &str); 1] = [("grpc-encoding", "gzip")];

#[tokio::test]
async fn t17_compressed_messages_are_inflated_and_plain_ones_may_stand_between() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open_with(SEGMENTS, &GZIP).await;
    let messages = [
        flagged(1, &gzip(&segment("a", "shop"))),
        framed(&segment("b", "shop")),
        flagged(1, &gzip(&padded_segment("c", "shop", 100_000))),
    ];
    call.send(messages.concat()).await.unwrap();
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY);
    let there = gateway
        .sink()
        .wait_until(|state| state.messages(SEGMENTS) == 3);
    assert!(soon(there).await.methods[SEGMENTS].bytes > 100_000);
    let ids: Vec<_> = gateway.sink().ids(SEGMENTS);
    let ids: Vec<_> = ids.iter().map(|id| id.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let headers = gateway.headers_at_sink(SEGMENTS).await;
    assert_eq!(headers.get("grpc-encoding"), None);
}

#[tokio::test]
async fn a_gzip_bomb_is_refused() {
    let gateway = Gateway::start_with(1, |settings| {
        settings.server.max_recv_msg_size = 1 << 20;
    })
    .await;
    let client = gateway.client().await;
    for path in [SEGMENTS, KEEP_ALIVE] {
        let mut call = client.open_with(path, &GZIP).await;
        call.send(flagged(1, &gzip(&vec![0; (1 << 20) + 1])))
            .await
            .unwrap();
        call.half_close();
        let text = call.answer().await.refused(Code::Internal);
        assert!(text.contains("1048576"), "{text}");
    }
    assert_eq!(gateway.refusals(Refusal::Oversized), 2);
}

#[tokio::test]
async fn an_unknown_encoding_is_unimplemented_and_told_what_is_known() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let encoding = [("grpc-encoding", "zstd")];
    for path in [SEGMENTS, KEEP_ALIVE] {
        let mut call = client.open_with(path, &encoding).await;
        // The answer may overtake what we send.
        let _refused = call.send(flagged(1, b"x")).await;
        let answer = call.answer().await;
        assert!(answer.refused(Code::Unimplemented).contains("zstd"));
        assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip");
    }
    assert_eq!(gateway.refusals(Refusal::Metadata), 2);
}

#[tokio::test]
async fn t15_what_an_oap_refuses_is_no_business_of_the_agent() {
    let gateway = Gateway::start(2).await;
    gateway.sinks[0].set_fault(Fault {
        refuse: Some("RESOURCE_EXHAUSTED".parse().unwrap()),
        ..Fault::default()
    });
    gateway.sinks[1].set_fault(Fault {
        fail_after: Some(7),
        fail_code: Some("INTERNAL".parse().unwrap()),
        ..Fault::default()
    });
    let client = gateway.client().await;
    let report = async |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let message = segment(&number.to_string(), "shop");
            assert_eq!(client.unary(SEGMENTS, &message).await.ok(), EMPTY);
        }
    };
    report(0..10).await;
    for sink in &gateway.sinks {
        soon(sink.wait_until(|state| !state.errors.is_empty())).await;
    }
    report(10..20).await;
    gateway.sinks[0].set_fault(Fault::default());
    gateway.sinks[1].set_fault(Fault::default());
    gateway
        .wait_for("delivered", |gateway| {
            gateway.app.books.totals().delivered == 20
        })
        .await;
    let sinks = gateway.sinks.iter();
    let ids: BTreeSet<_> = sinks
        .flat_map(|sink| sink.ids(SEGMENTS))
        .map(|id| id.id)
        .collect();
    assert_eq!(ids.len(), 20);
}

#[tokio::test]
async fn a_bad_message_of_one_client_costs_no_other_client_anything() {
    let gateway = Gateway::start_with(1, |settings| {
        pipe(settings, TRACING).queue.as_mut().unwrap().partition = 1;
    })
    .await;
    let (good, bad) = (gateway.client().await, gateway.client().await);
    let (mut good, mut bad) = (good.open(SEGMENTS).await, bad.open(SEGMENTS).await);
    for number in 0..50 {
        let message = segment(&number.to_string(), "good");
        good.send(framed(&message)).await.unwrap();
        if number % 10 == 0 {
            // A field of length 127 of which nothing follows.
            bad.send(framed(&[0x0a, 0x7f])).await.unwrap();
        }
    }
    good.half_close();
    bad.half_close();
    assert_eq!(good.answer().await.ok(), EMPTY);
    assert_eq!(bad.answer().await.ok(), EMPTY);
    gateway.settled().await;
    let ids = gateway.sink().ids(SEGMENTS);
    let ids: BTreeSet<_> = ids.iter().map(|id| &id.id).collect();
    assert_eq!(ids.len(), 50);
    let totals = gateway.stop().await;
    assert_eq!((totals.delivered, totals.dropped_in_all()), (50, 5));
}
