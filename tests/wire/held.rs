//! What an adapter keeps until the rest comes stands in nobody's way.

use std::time::Duration;

use perigee::telemetry::books::DropReason;
use perigee_plugin_api::queue::WhenFull;
use perigee_proto::skywalking::v3 as sw;
use prost::Message;

use crate::client::{Answer, Call, Client};
use crate::gateway::{Gateway, pipe};
use crate::large::{begin, budget_used};
use crate::messages::*;

const MIB: usize = 1 << 20;
const GO_PROFILES: &str = "/skywalking.v3.ProfileTask/goProfileReport";
const METERS: &str = "/skywalking.v3.MeterReportService/collect";

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
    tokio::time::timeout(time, call.send(framed(&message)))
        .await
        .is_ok()
}

async fn segment_within(client: &Client, bytes: usize, time: Duration) -> Option<Answer> {
    let mut call = client.open(SEGMENTS).await;
    let all = async move {
        call.send(framed(&padded_segment("s", "shop", bytes)))
            .await
            .unwrap();
        call.half_close();
        call.answer().await
    };
    tokio::time::timeout(time, all).await.ok()
}

#[tokio::test]
async fn a_go_profile_that_does_not_go_on_stops_nobody_else() {
    let gateway = small(16 << 20).await;
    let idle = gateway.client().await;
    let mut profile = idle.open(GO_PROFILES).await;
    for _ in 0..14 {
        send_for(&mut profile, chunk("t", MIB, false), Duration::from_secs(1)).await;
    }
    let client = gateway.client().await;
    let answer = segment_within(&client, 10, Duration::from_secs(15)).await;
    assert!(
        answer.is_some(),
        "a segment of 10 bytes waits for another client's profile"
    );
}

#[tokio::test]
async fn a_go_profile_of_20_mib_arrives() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut profile = client.open(GO_PROFILES).await;
    for number in 0..20 {
        let chunk = chunk("t", MIB, number == 19);
        profile.send(framed(&chunk)).await.unwrap();
    }
    gateway.arrived(GO_PROFILES, 20).await;
    assert_eq!(budget_used(&gateway).await, 0);
}

/// An eighth of the limit is for what is kept.
#[tokio::test]
async fn a_go_profile_that_finds_no_room_is_dropped_and_counted() {
    let gateway = small(16 << 20).await;
    let client = gateway.client().await;
    let mut profile = client.open(GO_PROFILES).await;
    for number in 0..4 {
        profile
            .send(framed(&chunk("t", MIB, number == 3)))
            .await
            .unwrap();
    }
    profile
        .send(framed(&chunk("next", MIB, true)))
        .await
        .unwrap();
    gateway.arrived(GO_PROFILES, 1).await;
    let totals = gateway.stop().await;
    assert_eq!(totals.dropped_for(DropReason::NoRoom), 4);
    assert_eq!((totals.received, totals.delivered), (5, 1));
}

#[tokio::test]
async fn what_is_held_goes_on_while_its_call_waits_for_room_for_half_a_message() {
    let gateway = small(16 << 20).await;
    let slow = gateway.client().await;
    let message = framed(&padded_segment("large", "shop", 12 * MIB));
    let _half = begin(&gateway, &slow, &message).await;
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
    let arrived = gateway
        .sink()
        .wait_until(|state| state.messages(METER_BATCHES) == 1);
    let arrived = tokio::time::timeout(Duration::from_secs(4), arrived).await;
    assert!(arrived.is_ok(), "held for more than four seconds, not two");
}

/// The profile is not whole and its next chunk is under way; the segment needs nearly all room.
#[tokio::test]
async fn a_profile_and_a_large_segment_do_not_wait_for_each_other() {
    let gateway = small(16 << 20).await;
    let go = gateway.client().await;
    let mut profile = go.open(GO_PROFILES).await;
    assert!(send_for(&mut profile, chunk("t", MIB, false), Duration::from_secs(5)).await);
    let next = framed(&chunk("t", MIB, false));
    profile.send(next.slice(..60_000)).await.unwrap();
    let client = gateway.client().await;
    let answer = segment_within(&client, 6 * MIB, Duration::from_secs(15)).await;
    assert!(answer.is_some());
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
    assert!(used <= 3 * MIB, "{used} of 16 MiB");
}
