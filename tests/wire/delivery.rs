//! What one slow, stalled or refusing thing must not do to the rest.

use std::time::{Duration, Instant};

use perigee::sink::fault::{CodeName, Fault};
use perigee::telemetry::books::DropReason;

use crate::gateway::*;
use crate::messages::*;

fn one_partition(settings: &mut perigee::config::settings::Settings) {
    settings.limits.workers = 1;
    for pipe in &mut settings.pipes {
        if let Some(queue) = &mut pipe.queue {
            queue.partition = 1;
        }
    }
}

async fn all_connected(gateway: &Gateway) {
    gateway
        .wait_for("every node connected", |gateway| {
            let nodes = gateway.app.books.nodes();
            nodes.len() == gateway.sinks.len() && nodes.iter().all(|(_, node)| node.is_ready())
        })
        .await;
}

/// Scenario: eight batches of one caller are refused for their token.
/// Guarantees: another caller's message on the same partition is delivered meanwhile.
#[tokio::test]
async fn a_refused_token_stops_only_its_caller() {
    let gateway = Gateway::over(vec![sink_with(Some("good"))], one_partition).await;
    let client = gateway.client().await;
    for number in 0..8 {
        let message = segment(&number.to_string(), "bad");
        let bad = [("authentication", "bad")];
        client.unary_with(SEGMENTS, &bad, &message).await.ok();
        let held = number + 1;
        gateway
            .wait_for("the batch held", |gateway| {
                gateway
                    .app
                    .books
                    .pipes()
                    .iter()
                    .any(|pipe| pipe.snapshot().taken >= held)
            })
            .await;
    }
    let good = [("authentication", "good")];
    client
        .unary_with(SEGMENTS, &good, &segment("x", "good"))
        .await
        .ok();
    gateway
        .wait_for("the good one delivered", |gateway| {
            gateway.app.books.totals().delivered == 1
        })
        .await;
    assert_eq!(
        gateway.app.books.totals().dropped_in_all(),
        0,
        "the bad ones are held"
    );
}

/// Scenario: one of three nodes stalls; a client's polls end by their own deadlines.
/// Guarantees: the other two nodes go on at full speed.
#[tokio::test]
async fn polls_do_not_make_a_stalled_node_look_alive() {
    const MESSAGES: usize = 6000;
    let gateway = Gateway::start_with(3, one_partition).await;
    all_connected(&gateway).await;
    gateway.sinks[0].set_fault(Fault {
        stall: true,
        ..Fault::default()
    });
    let poller = gateway.client().await;
    let polls = tokio::spawn(async move {
        let poll = configuration_request("shop");
        loop {
            let late = [("grpc-timeout", "50m")];
            let call = poller.unary_with(CONFIGURATIONS, &late, &poll);
            let _ended = tokio::time::timeout(Duration::from_millis(100), call).await;
        }
    });
    let client = gateway.client().await;
    let mut call = client.open(SEGMENTS).await;
    let began = Instant::now();
    for number in 0..MESSAGES {
        let message = segment(&number.to_string(), "shop");
        call.send(framed(&message)).await.unwrap();
    }
    // What the stalled node holds in its four slots comes back only with the stream timeout.
    gateway
        .wait_for("the others to take nearly all", |gateway| {
            gateway.app.books.totals().delivered >= MESSAGES as u64 - 1000
        })
        .await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    polls.abort();
}

/// Scenario: a node refuses everything; one message is old, another has just been sent.
/// Guarantees: each expires by its own age, give or take the five seconds that share a chunk.
#[tokio::test]
async fn a_young_message_does_not_expire_with_an_old_one() {
    let gateway = Gateway::start_with(1, |settings| {
        one_partition(settings);
        pipe(settings, TRACING).retry.max_age = Duration::from_secs(8);
        // One batch at a time: what follows waits in the queue.
        settings.client.max_in_flight = 1;
    })
    .await;
    all_connected(&gateway).await;
    gateway.sinks[0].set_fault(Fault {
        path: Some("TraceSegment".into()),
        refuse: Some(CodeName(tonic::Code::Internal)),
        ..Fault::default()
    });
    let client = gateway.client().await;
    client.unary(SEGMENTS, &segment("first", "shop")).await.ok();
    client.unary(SEGMENTS, &segment("old", "shop")).await.ok();
    let sent = Instant::now();
    tokio::time::sleep(Duration::from_secs(6)).await;
    client.unary(SEGMENTS, &segment("young", "shop")).await.ok();
    gateway
        .wait_for("the old ones gone", |gateway| {
            gateway.app.books.totals().dropped_for(DropReason::Expired) == 2
        })
        .await;
    assert!(
        sent.elapsed() < Duration::from_secs(12),
        "{:?}",
        sent.elapsed()
    );
    gateway.sinks[0].set_fault(Fault::default());
    gateway
        .wait_for("the young one delivered", |gateway| {
            gateway.app.books.totals().delivered == 1
        })
        .await;
}

/// Scenario: a node answers everything but one method.
/// Guarantees: it stays connected, and is not held back.
#[tokio::test]
async fn a_slow_method_does_not_eject_its_node() {
    let gateway = Gateway::start_with(1, |settings| {
        one_partition(settings);
        settings.client.unary_timeout = Duration::from_millis(500);
    })
    .await;
    all_connected(&gateway).await;
    gateway.sinks[0].set_fault(Fault {
        path: Some("keepAlive".into()),
        stall: true,
        ..Fault::default()
    });
    let client = gateway.client().await;
    client.unary(KEEP_ALIVE, &ping("shop")).await.ok();
    let poll = configuration_request("shop");
    let (_, node) = gateway.app.books.nodes().remove(0);
    while node.batches.value() < 2 && node.resent.value() < 2 {
        client.unary(CONFIGURATIONS, &poll).await.ok();
    }
    assert_eq!(node.connects.value(), 1);
}

/// Scenario: 300 instances' meters over three nodes, of which one stalls.
/// Guarantees: the keys of the other two nodes go on.
#[tokio::test]
async fn keys_of_a_stalled_node_do_not_stop_the_others() {
    let gateway = Gateway::start_with(3, one_partition).await;
    all_connected(&gateway).await;
    gateway.sinks[0].set_fault(Fault {
        stall: true,
        ..Fault::default()
    });
    let client = gateway.client().await;
    for number in 0..300 {
        let meters = meter_batch("shop", &number.to_string());
        client.unary(METER_BATCHES, &meters).await.ok();
    }
    let began = Instant::now();
    gateway
        .wait_for("two thirds delivered", |gateway| {
            gateway.app.books.totals().delivered >= 150
        })
        .await;
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}
