//! Messages near the limit, and the budget for half of them.

use bytes::Bytes;
use perigee::config::settings::Settings;
use perigee::engine::Code;
use perigee::telemetry::books::Refusal;

use crate::client::{Call, Client, soon};
use crate::gateway::{Gateway, http_get};
use crate::messages::*;

const MIB: usize = 1 << 20;

async fn report(gateway: &Gateway, message: Bytes) -> crate::client::Answer {
    let client = gateway.client().await;
    let mut call = client.open(SEGMENTS).await;
    if soon(call.send(message)).await.is_ok() {
        call.half_close();
    }
    call.answer().await
}

#[tokio::test]
async fn a_message_of_49_mib_passes_and_one_of_51_is_refused() {
    let gateway = Gateway::start(1).await;
    let passes = framed(&padded_segment("large", "shop", 49 * MIB));
    assert_eq!(report(&gateway, passes).await.ok(), EMPTY);
    let refused = framed(&padded_segment("huge", "shop", 51 * MIB));
    let text = report(&gateway, refused).await.refused(Code::Internal);
    assert!(text.contains("exceeds maximum size 52428800"), "{text}");
    assert_eq!(gateway.refusals(Refusal::Oversized), 1);
    let arrived = gateway
        .sink()
        .wait_until(|state| state.messages(SEGMENTS) == 1);
    assert!(soon(arrived).await.methods[SEGMENTS].bytes > 49 * MIB as u64);
    assert_eq!(gateway.stop().await.delivered, 1);
}

pub(crate) async fn budget_used(gateway: &Gateway) -> usize {
    let admin = gateway.app.admin_address.unwrap();
    let metrics = http_get(admin, "/metrics").await;
    let mut lines = metrics.lines();
    let line = lines.find(|line| line.starts_with("perigee_budget_used_bytes"));
    let value: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    value as usize
}

/// Each fits into the budget, two do not; all get through, one after the other.
#[tokio::test]
async fn large_messages_that_come_at_once_share_the_budget() {
    const CALLS: usize = 4;
    let gateway = Gateway::start_with(1, |settings| {
        settings.limits.memory_bytes = 64 << 20;
    })
    .await;
    let message = framed(&padded_segment("large", "shop", 40 * MIB));
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let client = gateway.client().await;
        let mut call = client.open(SEGMENTS).await;
        let message = message.clone();
        calls.push(tokio::spawn(async move {
            soon(call.send(message)).await.unwrap();
            call.half_close();
            assert_eq!(call.answer().await.ok(), EMPTY);
        }));
    }
    let mut most = 0;
    while calls.iter().any(|call| !call.is_finished()) {
        most = most.max(budget_used(&gateway).await);
    }
    for call in calls {
        call.await.unwrap();
    }
    // One may be finished above the limit.
    assert!(most <= 64 * MIB + 41 * MIB, "{most}");
    let arrived = gateway
        .sink()
        .wait_until(|state| state.messages(SEGMENTS) == CALLS as u64);
    soon(arrived).await;
    gateway.settled().await;
    assert_eq!(budget_used(&gateway).await, 0);
}

/// A call on which most of a large message has come, and no more is coming.
pub(crate) async fn begin(gateway: &Gateway, client: &Client, message: &Bytes) -> Call {
    let mut call = client.open(SEGMENTS).await;
    soon(call.send(message.slice(..10 * MIB))).await.unwrap();
    while budget_used(gateway).await < 9 * MIB {}
    call
}

/// A client that begins a large message and does not go on is in the way of large messages, one of
/// which may be finished at a time, and of nothing else.
#[tokio::test]
async fn half_a_message_is_charged_until_its_client_leaves() {
    let gateway = Gateway::start_with(1, |settings| {
        settings.limits.memory_bytes = 16 << 20;
    })
    .await;
    let message = framed(&padded_segment("large", "shop", 12 * MIB));
    let idle = gateway.client().await;
    let half = begin(&gateway, &idle, &message).await;
    let client = gateway.client().await;
    let mut large = client.open(SEGMENTS).await;
    let large = tokio::spawn(async move {
        soon(large.send(message)).await.unwrap();
        large.half_close();
        large.answer().await
    });
    for number in 0..100 {
        let small = framed(&padded_segment(&number.to_string(), "shop", 15 << 10));
        assert_eq!(report(&gateway, small).await.ok(), EMPTY);
    }
    assert!(!large.is_finished());
    drop((half, idle));
    assert_eq!(soon(large).await.unwrap().ok(), EMPTY);
    while budget_used(&gateway).await > 0 {}
    assert_eq!(gateway.stop().await.delivered, 101);
}

/// Their windows are several times the connection's.
async fn all_get_through(bytes: usize, edit: impl FnOnce(&mut Settings)) {
    const CALLS: u64 = 60;
    let gateway = Gateway::start_with(1, edit).await;
    let client = gateway.client().await;
    let message = framed(&padded_segment("large", "shop", bytes));
    let mut calls = Vec::new();
    for _ in 0..CALLS {
        let mut call = client.open(SEGMENTS).await;
        let message = message.clone();
        calls.push(tokio::spawn(async move {
            soon(call.send(message)).await.unwrap();
            call.half_close();
            assert_eq!(call.answer().await.ok(), EMPTY);
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(gateway.stop().await.delivered, CALLS);
}

#[tokio::test]
async fn large_messages_that_come_at_once_on_one_connection_get_through() {
    all_get_through(4 * MIB, |_| {}).await;
}

#[tokio::test]
async fn large_messages_on_one_connection_get_through_with_a_small_budget() {
    all_get_through(MIB, |settings| settings.limits.memory_bytes = 16 << 20).await;
}

/// The one that may be finished above the limit has a while for it, and no longer.
#[tokio::test]
async fn a_client_that_does_not_go_on_is_refused_when_others_wait() {
    let gateway = Gateway::start_with(1, |settings| {
        settings.limits.memory_bytes = 16 << 20;
    })
    .await;
    let message = framed(&padded_segment("large", "shop", 12 * MIB));
    let idle = gateway.client().await;
    let half = begin(&gateway, &idle, &message).await;
    assert_eq!(report(&gateway, message).await.ok(), EMPTY);
    let text = half.answer().await.refused(Code::Internal);
    assert!(text.contains("did not go on"), "{text}");
    assert_eq!(gateway.stop().await.delivered, 1);
}
