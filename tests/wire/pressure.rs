//! More than the nodes take: clients wait or lose data by the file's choice, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use perigee::config::settings::Settings;
use perigee::sink::fault::Fault;
use perigee::telemetry::books::DropReason;
use perigee_plugin_api::queue::WhenFull;

use crate::client::{Call, Client};
use crate::gateway::{Gateway, TRACING, pipe};
use crate::large::budget_used;
use crate::messages::*;
use crate::queued::{GZIP, gzip};

/// Nodes take no segments; everything else goes on.
fn no_segments() -> Fault {
    Fault {
        path: Some("TraceSegment".to_owned()),
        stall: true,
        ..Fault::default()
    }
}

fn small_queue(settings: &mut Settings, when_full: WhenFull) {
    let queue = pipe(settings, TRACING).queue.as_mut().unwrap();
    queue.event_buffer_size = 100;
    queue.partition = 2;
    queue.when_full = when_full;
}

/// Sends messages of about 160 bytes, one DATA frame each, and half-closes.
async fn push(mut call: Call, name: String, count: usize, sent: Arc<AtomicU64>) -> Call {
    for number in 0..count {
        let message = padded_segment(&format!("{name}-{number}"), "shop", 124);
        call.send(framed(&message)).await.unwrap();
        sent.fetch_add(1, Ordering::Relaxed);
    }
    call.half_close();
    call
}

/// `performance.md` 7.1: with its defaults the h2 crate ends such connections with
/// ENHANCE_YOUR_CALM.
#[tokio::test]
async fn small_messages_that_wait_for_stalled_nodes_cost_no_connection() {
    const CONNECTIONS: usize = 20;
    // With a sixteenth their windows would be all of the connection's.
    const STREAMS: usize = 15;
    // More than a stream's window and what the gateway takes at once.
    const EACH: usize = 550;
    let gateway = Gateway::start_with(2, |settings| small_queue(settings, WhenFull::Block)).await;
    for sink in &gateway.sinks {
        sink.set_fault(no_segments());
    }
    let sent = Arc::<AtomicU64>::default();
    let mut clients = Vec::new();
    let mut pushing = Vec::new();
    for connection in 0..CONNECTIONS {
        let client = gateway.client().await;
        for stream in 0..STREAMS {
            let call = client.open(SEGMENTS).await;
            let name = format!("{connection}-{stream}");
            pushing.push(tokio::spawn(push(call, name, EACH, Arc::clone(&sent))));
        }
        clients.push(client);
    }
    all_windows_full(&gateway, &clients, &sent, CONNECTIONS * STREAMS).await;
    assert!(pushing.iter().all(|call| !call.is_finished()));
    for sink in &gateway.sinks {
        sink.set_fault(Fault::default());
    }
    for call in pushing {
        let call = call.await.unwrap();
        assert_eq!(call.answer().await.ok(), EMPTY);
    }
    assert!(clients.iter().all(|client| !client.over.is_finished()));
    let all = CONNECTIONS * STREAMS * EACH;
    gateway.settled().await;
    let sinks = gateway.sinks.iter();
    let ids: Vec<_> = sinks.flat_map(|sink| sink.ids(SEGMENTS)).collect();
    assert_eq!(ids.len(), all);
    let distinct: BTreeSet<_> = ids.iter().map(|id| &id.id).collect();
    assert_eq!(distinct.len(), all);
    assert_eq!(gateway.app.books.front.paused_streams.value(), 0);
    let totals = gateway.stop().await;
    assert_eq!(totals.acknowledged, all as u64);
}

/// Every stream is paused, and a round of calls on all connections has found that nobody could
/// send any more.
async fn all_windows_full(gateway: &Gateway, clients: &[Client], sent: &AtomicU64, streams: usize) {
    gateway
        .wait_for("all streams paused", |gateway| {
            gateway.app.books.front.paused_streams.value() == streams as u64
        })
        .await;
    loop {
        let before = sent.load(Ordering::Relaxed);
        for client in clients {
            client.catch_up().await;
        }
        if sent.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// Decision 21.
#[tokio::test]
async fn a_poll_beside_blocked_streams_is_answered() {
    let gateway = Gateway::start_with(1, |settings| small_queue(settings, WhenFull::Block)).await;
    gateway.sink().set_fault(no_segments());
    let client = gateway.client().await;
    let sent = Arc::<AtomicU64>::default();
    let mut pushing = Vec::new();
    for stream in 0..15 {
        let call = client.open(SEGMENTS).await;
        pushing.push(tokio::spawn(push(
            call,
            stream.to_string(),
            550,
            Arc::clone(&sent),
        )));
    }
    let clients = [client];
    all_windows_full(&gateway, &clients, &sent, 15).await;
    let [client] = clients;
    let request = configuration_request("shop");
    for _ in 0..50 {
        let answer = client.unary(CONFIGURATIONS, &request).await;
        assert!(answer.ok().len() > EMPTY.len());
        assert_eq!(client.unary(KEEP_ALIVE, &ping("shop")).await.ok(), EMPTY);
    }
    assert!(pushing.iter().all(|call| !call.is_finished()));
    gateway.sink().set_fault(Fault::default());
    for call in pushing {
        assert_eq!(call.await.unwrap().answer().await.ok(), EMPTY);
    }
    let totals = gateway.stop().await;
    assert_eq!(totals.delivered + totals.merged, 15 * 550 + 50);
}

/// Decision 21: a call that goes away first is not enqueued.
#[tokio::test]
async fn a_unary_report_waits_for_room_and_is_not_taken_when_its_caller_leaves() {
    let gateway = Gateway::start_with(1, |settings| {
        small_queue(settings, WhenFull::Block);
        pipe(settings, TRACING).queue.as_mut().unwrap().partition = 1;
    })
    .await;
    gateway.sink().set_fault(no_segments());
    let client = gateway.client().await;
    let collection = perigee_proto::skywalking::v3::SegmentCollection {
        segments: vec![Default::default()],
    };
    let collection = prost::Message::encode_to_vec(&collection);
    for _ in 0..100 {
        client.unary(SEGMENTS_IN_SYNC, &collection).await.ok();
    }
    let mut waiting = client.open(SEGMENTS_IN_SYNC).await;
    waiting.send(framed(&collection)).await.unwrap();
    waiting.half_close();
    let mut leaving = client.open(SEGMENTS_IN_SYNC).await;
    leaving.send(framed(&collection)).await.unwrap();
    leaving.half_close();
    let late = [("grpc-timeout", "200m")];
    let late = client.unary_with(SEGMENTS_IN_SYNC, &late, &collection);
    late.await.refused(perigee::engine::Code::DeadlineExceeded);
    assert_eq!(gateway.app.books.front.paused_streams.value(), 2);
    leaving.reset();
    gateway
        .wait_for("the reset noticed", |gateway| {
            gateway.app.books.front.paused_streams.value() == 1
        })
        .await;
    assert!(!waiting.is_answered().await);
    gateway.sink().set_fault(Fault::default());
    assert_eq!(waiting.answer().await.ok(), EMPTY);
    let totals = gateway.stop().await;
    assert_eq!((totals.received, totals.delivered), (101, 101));
}

/// What arrives of 500 messages sent to a stalled node, and how many were let go for this reason.
async fn shed(when_full: WhenFull, reason: DropReason) -> BTreeSet<usize> {
    const ALL: usize = 500;
    let gateway = Gateway::start_with(1, |settings| {
        small_queue(settings, when_full);
        // What is on its way counts and cannot be let go.
        settings.client.max_in_flight = 1;
        pipe(settings, TRACING).sender.max_buffer_size = 10;
    })
    .await;
    gateway.sink().set_fault(no_segments());
    let client = gateway.client().await;
    let mut call = client.open(SEGMENTS).await;
    for number in 0..ALL {
        // So long that few of them are taken at once.
        let message = padded_segment(&number.to_string(), "shop", 20 << 10);
        call.send(framed(&message)).await.unwrap();
    }
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY, "nobody waits");
    gateway.sink().set_fault(Fault::default());
    gateway.settled().await;
    let ids = gateway.sink().ids(SEGMENTS);
    let arrived: BTreeSet<_> = ids.iter().map(|id| id.id.parse().unwrap()).collect();
    let totals = gateway.stop().await;
    assert_eq!(totals.received, ALL as u64);
    assert_eq!(totals.delivered, arrived.len() as u64);
    assert_eq!(totals.dropped_for(reason), totals.dropped_in_all());
    assert_eq!(totals.delivered + totals.dropped_in_all(), ALL as u64);
    assert!((90..=101).contains(&arrived.len()), "{}", arrived.len());
    arrived
}

#[tokio::test]
async fn a_full_queue_may_let_go_of_the_newest() {
    let arrived = shed(WhenFull::DropNewest, DropReason::QueueFull).await;
    assert_eq!(arrived, (0..arrived.len()).collect());
}

#[tokio::test]
async fn a_full_queue_may_let_go_of_the_oldest() {
    let arrived = shed(WhenFull::DropOldest, DropReason::Evicted).await;
    let last = arrived.iter().rev().take(80);
    assert!(last.eq((420..500).rev().collect::<Vec<_>>().iter()));
}

#[tokio::test]
async fn a_connection_may_have_1024_streams_open() {
    const STREAMS: usize = 1024;
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut calls = Vec::new();
    for number in 0..STREAMS {
        let mut call = client.open(SEGMENTS).await;
        let message = segment(&number.to_string(), "shop");
        call.send(framed(&message)).await.unwrap();
        calls.push(call);
    }
    gateway
        .wait_for("all delivered", |gateway| {
            gateway.app.books.totals().delivered == STREAMS as u64
        })
        .await;
    assert_eq!(gateway.app.books.front.streams_open.value(), STREAMS as u64);
    for call in &mut calls {
        call.half_close();
    }
    for call in calls {
        assert_eq!(call.answer().await.ok(), EMPTY);
    }
    assert_eq!(gateway.app.books.front.streams_open.value(), 0);
}

/// They are charged for what comes out of them, and wait their turn to come out.
#[tokio::test]
async fn compressed_messages_that_wait_stay_within_the_budget() {
    const MIB: u64 = 1 << 20;
    let gateway = Gateway::start_with(1, |settings| {
        small_queue(settings, WhenFull::Block);
        settings.limits.memory_bytes = 64 * MIB;
        pipe(settings, TRACING).queue.as_mut().unwrap().partition = 1;
    })
    .await;
    gateway.sink().set_fault(no_segments());
    let client = gateway.client().await;
    let mut filling = client.open(SEGMENTS).await;
    for number in 0..200 {
        let message = segment(&number.to_string(), "shop");
        filling.send(framed(&message)).await.unwrap();
    }
    filling.half_close();
    gateway
        .wait_for("the queue full", |gateway| {
            gateway.app.books.front.paused_streams.value() == 1
        })
        .await;
    let large = gzip(&padded_segment("large", "shop", 30 << 20));
    let mut calls = Vec::new();
    for _ in 0..8 {
        let mut call = client.open_with(SEGMENTS, &GZIP).await;
        call.send(flagged(1, &large)).await.unwrap();
        call.half_close();
        calls.push(call);
    }
    // One waits for the queue, above the limit; the others for it.
    gateway
        .wait_for("one inflated", |gateway| {
            gateway.app.books.front.paused_streams.value() == 2
        })
        .await;
    client.catch_up().await;
    let used = budget_used(&gateway).await as u64;
    assert!((30 * MIB..64 * MIB).contains(&used), "{used}");
    gateway.sink().set_fault(Fault::default());
    for call in calls {
        assert_eq!(call.answer().await.ok(), EMPTY);
    }
    assert_eq!(gateway.stop().await.delivered, 208);
}
