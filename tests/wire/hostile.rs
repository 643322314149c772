//! What a hostile reader of the adapters found: each test fails for the defect that it names.

use std::time::Duration;

use perigee_plugin_api::queue::WhenFull;
use perigee_proto::opentelemetry::proto::collector::metrics::v1 as collector;
use perigee_proto::opentelemetry::proto::common::v1 as common;
use perigee_proto::opentelemetry::proto::metrics::v1 as metrics;
use perigee_proto::opentelemetry::proto::resource::v1 as resource;
use perigee_proto::skywalking::v3 as sw;
use perigee::sink::fault::Fault;
use prost::Message;

use crate::client::{Answer, Call, Client};
use crate::gateway::{Gateway, pipe};
use crate::large::budget_used;
use crate::messages::*;

const MIB: usize = 1 << 20;
const GO_PROFILES: &str = "/skywalking.v3.ProfileTask/goProfileReport";
const METERS: &str = "/skywalking.v3.MeterReportService/collect";
const OTLP_METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

fn chunk(task: &str, bytes: usize, is_last: bool) -> Vec<u8> {
    let data = sw::GoProfileData {
        task_id: task.to_owned(),
        payload: vec![7; bytes],
        is_last,
    };
    data.encode_to_vec()
}

async fn small(memory: u64) -> Gateway {
    Gateway::start_with(1, |settings| settings.limits.memory_bytes = memory).await
}

/// Sends what the gateway gives credit for within a while; says whether that was everything.
async fn send_for(call: &mut Call, message: Vec<u8>, time: Duration) -> bool {
    tokio::time::timeout(time, call.send(framed(&message))).await.is_ok()
}

async fn segment_within(client: &Client, bytes: usize, time: Duration) -> Option<Answer> {
    let mut call = client.open(SEGMENTS).await;
    let all = async move {
        call.send(framed(&padded_segment("s", "shop", bytes))).await.unwrap();
        call.half_close();
        call.answer().await
    };
    tokio::time::timeout(time, all).await.ok()
}

/// `budget.rs`: "a few clients that never go on could stop everybody".
#[tokio::test]
async fn a_go_profile_that_does_not_go_on_stops_nobody_else() {
    let gateway = small(16 << 20).await;
    let idle = gateway.client().await;
    let mut profile = idle.open(GO_PROFILES).await;
    for _ in 0..14 {
        send_for(&mut profile, chunk("t", MIB, false), Duration::from_secs(1)).await;
    }
    println!("held: {}", budget_used(&gateway).await);
    let client = gateway.client().await;
    let answer = segment_within(&client, 10, Duration::from_secs(15)).await;
    assert!(answer.is_some(), "a segment of 10 bytes waits for another client's profile");
}

/// One profile of less than the longest that is taken, alone on a gateway with 32 MiB.
#[tokio::test]
async fn a_lone_go_profile_of_20_mib_arrives() {
    let gateway = small(32 << 20).await;
    let client = gateway.client().await;
    let mut profile = client.open(GO_PROFILES).await;
    for number in 0..20 {
        let sent = send_for(&mut profile, chunk("t", MIB, number == 19), Duration::from_secs(10)).await;
        assert!(sent, "chunk {number} waits for its own predecessors: {} held", budget_used(&gateway).await);
    }
    gateway
        .sink()
        .wait_until(|state| state.messages(GO_PROFILES) == 20)
        .await;
}

/// Nobody looks at what is due while a call waits for room for half a message, so what it holds
/// stays, and what waits for that stays too.
#[tokio::test]
async fn what_is_held_goes_on_while_its_call_waits_for_room_for_half_a_message() {
    let gateway = small(16 << 20).await;
    let slow = gateway.client().await;
    let mut half = slow.open(SEGMENTS).await;
    let message = framed(&padded_segment("large", "shop", 12 * MIB));
    half.send(message.slice(..10 * MIB)).await.unwrap();
    while budget_used(&gateway).await < 9 * MIB {}
    let client = gateway.client().await;
    let mut call = client.open(METERS).await;
    let meter = |name: &str, service: &str| sw::MeterData {
        service: service.to_owned(),
        service_instance: "i".to_owned(),
        timestamp: 7,
        metric: Some(sw::meter_data::Metric::SingleValue(sw::MeterSingleValue {
            name: name.to_owned(),
            labels: Vec::new(),
            value: 1.0,
        })),
    };
    let first = framed(&meter("cpu", "shop").encode_to_vec());
    let second = framed(&meter(&"x".repeat(40_000), "shop").encode_to_vec());
    call.send(first).await.unwrap();
    call.send(second.slice(..30_000)).await.unwrap();
    let arrived = gateway.sink().wait_until(|state| state.messages(METER_BATCHES) == 1);
    let arrived = tokio::time::timeout(Duration::from_secs(4), arrived).await;
    assert!(arrived.is_ok(), "held for more than four seconds, not two");
}

/// How long a segment of 6 MiB waits beside a profile that is half there; `None`: for more than 90 s.
async fn waited_beside_a_profile(goes_on: bool) -> Option<Duration> {
    let gateway = small(16 << 20).await;
    let go = gateway.client().await;
    let mut profile = go.open(GO_PROFILES).await;
    for _ in 0..8 {
        assert!(send_for(&mut profile, chunk("t", MIB, false), Duration::from_secs(5)).await);
    }
    while budget_used(&gateway).await < 8 * MIB {}
    let client = gateway.client().await;
    let mut call = client.open(SEGMENTS).await;
    let segment = framed(&padded_segment("s", "shop", 6 * MIB));
    call.send(segment).await.unwrap();
    call.half_close();
    while budget_used(&gateway).await < 14 * MIB {}
    client.catch_up().await;
    let began = std::time::Instant::now();
    if goes_on {
        let next = framed(&chunk("t", MIB, false));
        profile.send(next.slice(..60_000)).await.unwrap();
    }
    while began.elapsed() < Duration::from_secs(90) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        client.catch_up().await;
        if call.is_answered().await {
            return Some(began.elapsed());
        }
    }
    None
}

/// The profile is given up after a minute, if nobody else needs its room.
#[tokio::test]
async fn a_segment_waits_for_a_silent_profile_for_no_more_than_a_minute() {
    let waited = waited_beside_a_profile(false).await;
    println!("{waited:?}");
    assert!(waited.is_some());
}

/// The profile is never given up: the segment waits for what it holds, and the profile's next chunk
/// for the room that the segment's parts take.
#[tokio::test]
async fn a_profile_and_a_large_segment_do_not_wait_for_each_other_for_ever() {
    assert!(waited_beside_a_profile(true).await.is_some(), "nothing moved for 90 s");
}

/// A queue that drops makes nobody wait, so nothing bounds what is held.
#[tokio::test]
async fn what_is_held_stays_within_the_budget_where_a_queue_drops() {
    let gateway = Gateway::start_with(1, |settings| {
        settings.limits.memory_bytes = 16 << 20;
        let pipe = pipe(settings, "grpc-native-profile-receiver");
        pipe.queue.as_mut().unwrap().when_full = WhenFull::DropNewest;
    })
    .await;
    let client = gateway.client().await;
    let mut calls = Vec::new();
    for _ in 0..10 {
        let mut call = client.open(GO_PROFILES).await;
        for _ in 0..10 {
            send_for(&mut call, chunk("t", MIB, false), Duration::from_secs(2)).await;
        }
        calls.push(call);
    }
    let used = budget_used(&gateway).await;
    assert!(used <= 24 * MIB, "{used} of 16 MiB");
}

fn text(key: &str, value: &str) -> common::KeyValue {
    common::KeyValue {
        key: key.to_owned(),
        value: Some(common::AnyValue {
            value: Some(common::any_value::Value::StringValue(value.to_owned())),
        }),
    }
}

fn otlp(services: &[&str], value: i64) -> Vec<u8> {
    let one = |service: &&str| {
        let point = metrics::NumberDataPoint {
            time_unix_nano: 7,
            value: Some(metrics::number_data_point::Value::AsInt(value)),
            ..Default::default()
        };
        let metric = metrics::Metric {
            name: "requests".to_owned(),
            data: Some(metrics::metric::Data::Gauge(metrics::Gauge { data_points: vec![point] })),
            ..Default::default()
        };
        metrics::ResourceMetrics {
            resource: Some(resource::Resource {
                attributes: vec![text("service.name", service)],
                ..Default::default()
            }),
            scope_metrics: vec![metrics::ScopeMetrics { metrics: vec![metric], ..Default::default() }],
            ..Default::default()
        }
    };
    let resource_metrics = services.iter().map(one).collect();
    collector::ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

/// Requests of one key leave one after the other: an OAP remembers counters.
#[tokio::test]
async fn requests_of_one_key_stay_in_order_when_one_is_tried_again() {
    let gateway = Gateway::start(1).await;
    gateway.sink().set_fault(Fault {
        path: Some("MetricsService".to_owned()),
        fail_after: Some(5),
        ..Fault::default()
    });
    let client = gateway.client().await;
    for value in 0..40 {
        assert_eq!(client.unary(OTLP_METRICS, &otlp(&["shop"], value)).await.ok(), EMPTY);
    }
    gateway
        .wait_for("all delivered", |gateway| gateway.app.books.totals().outstanding() == 0)
        .await;
    let values: Vec<u32> = gateway
        .sink()
        .ids(OTLP_METRICS)
        .iter()
        .map(|id| id.id.split(['=', '@']).nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(values.is_sorted(), "{values:?}");
}

/// Decision 21: a call that goes away first is not enqueued.
#[tokio::test]
async fn a_split_request_that_goes_away_leaves_nothing_behind() {
    let gateway = Gateway::start_with(1, |settings| {
        let queue = pipe(settings, "grpc-otlp-metrics-v1-receiver").queue.as_mut().unwrap();
        (queue.event_buffer_size, queue.partition) = (2, 2);
    })
    .await;
    gateway.sink().set_fault(Fault {
        path: Some("MetricsService".to_owned()),
        stall: true,
        ..Fault::default()
    });
    let client = gateway.client().await;
    let send = async |services: &[&str], value| {
        let mut call = client.open(OTLP_METRICS).await;
        call.send(framed(&otlp(services, value))).await.unwrap();
        call.half_close();
        client.catch_up().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answered = call.is_answered().await;
        (call, answered)
    };
    let mut calls = Vec::new();
    while let (call, true) = send(&["a"], 1).await {
        calls.push(call);
    }
    let mut other = None;
    for name in ["b", "c", "d", "e", "f", "g"] {
        let (mut call, answered) = send(&[name], 2).await;
        if answered {
            other = Some(name);
            break;
        }
        call.reset();
    }
    let other = other.unwrap();
    let (mut call, answered) = send(&[other, "a"], 3).await;
    assert!(!answered);
    call.reset();
    client.catch_up().await;
    gateway.sink().set_fault(Fault::default());
    gateway
        .wait_for("all delivered", |gateway| gateway.app.books.totals().outstanding() == 0)
        .await;
    let ids: Vec<_> = gateway.sink().ids(OTLP_METRICS).into_iter().map(|id| (id.service, id.id)).collect();
    assert!(ids.iter().all(|(_, id)| id != "requests=3@7"), "{ids:?}");
}

/// Whose 16 KiB are 3000 messages that inherit 250 KiB each.
#[tokio::test]
async fn small_messages_that_inherit_much_do_not_stop_a_worker() {
    let gateway = Gateway::start_with(1, |settings| settings.limits.workers = 1).await;
    gateway.sink().set_fault(Fault { path: Some("AccessLog".to_owned()), stall: true, ..Fault::default() });
    let hostile = gateway.client().await;
    let mut call = hostile.open("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs").await;
    let mut node = vec![1 << 3 | 2];
    let length = 250 * 1024;
    let varint = |mut length: usize| {
        let mut out = Vec::new();
        while length >= 0x80 {
            out.push((length as u8) | 0x80);
            length >>= 7;
        }
        out.push(length as u8);
        out
    };
    node.extend(varint(length));
    node.extend(vec![b'x'; length]);
    let identifier = [&[1 << 3 | 2][..], &varint(node.len()), &node].concat();
    let first = [&[1 << 3 | 2][..], &varint(identifier.len()), &identifier].concat();
    call.send(framed(&first)).await.unwrap();
    hostile.catch_up().await;
    let client = gateway.client().await;
    client.catch_up().await;
    let small = bytes::Bytes::from(vec![0; 15_000]);
    call.send(small).await.unwrap();
    let mut longest = Duration::ZERO;
    for _ in 0..200 {
        let began = std::time::Instant::now();
        client.catch_up().await;
        longest = longest.max(began.elapsed());
    }
    println!("longest {longest:?}, used {}", budget_used(&gateway).await);
    assert!(longest < Duration::from_millis(50), "a health check took {longest:?}");
}

const LOGS: &str = "/skywalking.v3.LogReportService/collect";

/// How long until 3000 logs of so many services have arrived at a node that answers after 5 ms.
async fn logs_take(services: usize) -> Duration {
    const ALL: usize = 3000;
    let gateway = Gateway::start(1).await;
    gateway.sink().set_fault(Fault { delay_ms: 5, ..Fault::default() });
    let client = gateway.client().await;
    let mut call = client.open(LOGS).await;
    let began = std::time::Instant::now();
    for number in 0..ALL {
        let log = sw::LogData {
            service: format!("s{}", number % services),
            service_instance: "i".to_owned(),
            ..Default::default()
        };
        call.send(framed(&log.encode_to_vec())).await.unwrap();
    }
    gateway
        .sink()
        .wait_until(|state| state.messages(LOGS) == ALL as u64)
        .await;
    began.elapsed()
}

#[tokio::test]
async fn logs_of_many_services_take_not_much_longer_than_those_of_few() {
    let (few, many) = (logs_take(10).await, logs_take(3000).await);
    println!("few {few:?}, many {many:?}");
    assert!(many < few * 5, "{many:?} for 3000 services, {few:?} for 10");
}
