//! T7: an OAP appends the chunks of a Go profile as they come on one stream.

use perigee::telemetry::books::DropReason;
use perigee_proto::skywalking::v3 as sw;
use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

use super::send_each;
use crate::gateway::{Gateway, pipe};
use crate::messages::EMPTY;

const GO_PROFILES: &str = "/skywalking.v3.ProfileTask/goProfileReport";

fn chunk(task: &str, payload: Vec<u8>, is_last: bool) -> Vec<u8> {
    let data = sw::GoProfileData {
        task_id: task.to_owned(),
        payload,
        is_last,
    };
    data.encode_to_vec()
}

/// Chunk `number` of a task's ten.
fn payload(task: &str, number: u8) -> Vec<u8> {
    let mut payload = vec![number; 40_000];
    payload.extend(task.bytes());
    payload
}

#[tokio::test]
async fn t07_chunks_of_a_task_stay_together_and_in_order() {
    let gateway = Gateway::start_with(3, |settings| {
        let sender = &mut pipe(settings, "grpc-native-profile-receiver").sender;
        (sender.max_buffer_size, sender.max_batch_bytes) = (3, 50_000);
    })
    .await;
    let client = gateway.client().await;
    let mut call = client.open(GO_PROFILES).await;
    let tasks = ["one", "two", "three"];
    for number in 0..10 {
        let chunks = tasks.map(|task| chunk(task, payload(task, number), number == 9));
        send_each(&mut call, chunks).await;
    }
    let filed = gateway.wait_for_entries(GO_PROFILES, 3).await;
    for task in tasks {
        let whole: Vec<u8> = (0..10).flat_map(|number| payload(task, number)).collect();
        let hash = format!("{:016x}", xxh3_64(&whole));
        assert_eq!(filed[&format!("{task}/")], [hash]);
    }
    gateway.assert_nothing_unfiled();
    assert!(!call.is_answered().await, "Go keeps it open for ever");
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY);
    let totals = gateway.stop().await;
    assert_eq!(
        (totals.received, totals.delivered, totals.merged),
        (30, 3, 27)
    );
}

#[tokio::test]
async fn t07_a_task_without_an_end_is_dropped_and_counted() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(GO_PROFILES).await;
    let chunks = [
        chunk("half", payload("half", 0), false),
        chunk("half", payload("half", 1), false),
        chunk("whole", payload("whole", 0), true),
    ];
    send_each(&mut call, chunks).await;
    client.catch_up().await;
    call.reset();
    gateway.wait_for_dropped(DropReason::Incomplete, 2).await;
    gateway.wait_for_entries(GO_PROFILES, 1).await;
    gateway.assert_nothing_unfiled();
    assert_eq!(gateway.stop().await.received, 3);
}
