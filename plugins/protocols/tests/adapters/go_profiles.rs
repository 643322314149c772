//! Go profiles (`protocols.md` T7). The Go agent cannot be had here.

use std::time::Duration;

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::skywalking::v3::GoProfileData;
use perigee_protocols::adapter::Loss;
use proptest::prelude::*;
use prost::Message;

use super::queue::{Call, cuts, sent, taken};

fn chunk(task: &str, payload: &[u8], is_last: bool) -> Vec<u8> {
    let data = GoProfileData {
        task_id: task.into(),
        payload: payload.into(),
        is_last,
    };
    data.encode_to_vec()
}

/// Payloads are appended by task until the last; what has no last by the end of the call is lost.
fn oap(call: &[Vec<u8>]) -> Vec<(String, Vec<u8>)> {
    let mut tasks: Vec<(String, Vec<u8>)> = Vec::new();
    let mut found = Vec::new();
    for message in call {
        let data = GoProfileData::decode(&**message).unwrap();
        let index = tasks
            .iter()
            .position(|(id, _)| *id == data.task_id)
            .unwrap_or_else(|| {
                tasks.push((data.task_id.clone(), Vec::new()));
                tasks.len() - 1
            });
        tasks[index].1.extend(data.payload);
        if data.is_last {
            found.push(tasks.remove(index));
        }
    }
    found
}

proptest! {
    #[test]
    fn every_profile_is_whole_however_the_queue_cuts(
        calls in prop::collection::vec(
            prop::collection::vec(("[t-w]", any::<[u8; 2]>(), prop::bool::weighted(0.3)), 0..20), 1..4),
        cuts in cuts(),
    ) {
        let calls: Vec<Vec<_>> = calls
            .iter()
            .map(|call| call.iter().map(|(task, payload, is_last)| chunk(task, payload, *is_last)).collect())
            .collect();
        let queued: Vec<Call> = calls.iter().map(|call| taken(Adapter::GoProfiles, call)).collect();
        let upstream = cuts.upstream_calls(Adapter::GoProfiles, &queued);
        let sorted = |mut found: Vec<_>| { found.sort(); found };
        let found = upstream.iter().flat_map(|call| oap(call)).collect();
        let meant = calls.iter().flat_map(|call| oap(call)).collect();
        prop_assert_eq!(sorted(found), sorted(meant));
        for (call, queued) in calls.iter().zip(&queued) {
            prop_assert_eq!(queued.stood_for + queued.lost(), u32::try_from(call.len()).unwrap());
        }
    }
}

#[test]
fn chunks_of_tasks_that_alternate_leave_task_by_task_and_as_they_came() {
    let chunks = [
        chunk("t", b"1", false),
        chunk("u", b"2", false),
        [chunk("t", b"3", true), b"\xba\x3e\x03new".to_vec()].concat(),
        chunk("u", b"4", true),
    ];
    let call = taken(Adapter::GoProfiles, &chunks);
    assert_eq!((call.queued.len(), call.stood_for), (2, 4));
    let order = [0, 2, 1, 3].map(|index: usize| chunks[index].clone());
    assert_eq!(sent(Adapter::GoProfiles, &call.queued), order);
    assert_eq!(sent(Adapter::GoProfiles, &call.queued[1..]), order[2..]);
}

#[test]
fn a_task_that_is_not_waited_for_any_more_does_not_go_on_without_its_beginning() {
    let mut call = Call::new(Adapter::GoProfiles);
    call.take(&chunk("t", b"1", false));
    call.pass(Duration::from_secs(59));
    call.take(&chunk("t", b"2", false));
    call.pass(Duration::from_secs(59));
    assert!(call.losses.is_empty());
    call.pass(Duration::from_secs(1));
    assert_eq!(call.losses, [(Loss::Incomplete, 2)]);
    call.take(&chunk("t", b"3", true));
    assert_eq!((call.queued.len(), call.lost()), (0, 3));
    call.take(&chunk("t", b"4", true));
    assert_eq!(call.queued.len(), 1, "another profile of the task");
    call.end();
}

#[test]
fn a_chunk_that_nobody_can_read_gives_up_what_it_may_belong_to() {
    let chunks = [
        chunk("t", b"1", false),
        b"\x0a\x05t".to_vec(),
        chunk("t", b"3", true),
    ];
    let call = taken(Adapter::GoProfiles, &chunks);
    let losses = [
        (Loss::Incomplete, 1),
        (Loss::Malformed, 1),
        (Loss::Incomplete, 1),
    ];
    assert_eq!((call.queued.len(), &*call.losses), (0, &losses[..]));
}

#[test]
fn a_profile_that_is_too_long_is_let_go_and_the_next_one_is_not() {
    let mut call = Call::new(Adapter::GoProfiles);
    let megabyte = vec![7; 1024 * 1024];
    for _ in 0..33 {
        call.take(&chunk("t", &megabyte, false));
    }
    assert!(call.held() < 1024);
    call.take(&chunk("t", b"", true));
    assert_eq!((call.lost(), call.losses[0].0), (34, Loss::Oversized));
    call.take(&chunk("t", b"1", true));
    assert_eq!(call.queued.len(), 1);
}

#[test]
fn what_is_left_behind_makes_room() {
    let mut call = Call::new(Adapter::GoProfiles);
    let long = vec![7; 20 * 1024 * 1024];
    call.take(&chunk("t", &long, false));
    call.take(&chunk("u", &long, false));
    assert_eq!(call.losses, [(Loss::Incomplete, 1)]);
    call.take(&chunk("u", b"", true));
    assert_eq!((call.queued.len(), call.stood_for), (1, 2));
    for number in 0..1000 {
        call.take(&chunk(&format!("v{number}"), b"1", false));
    }
    assert!(call.held() < 1024);
    assert_eq!(call.lost(), 1 + 1000 - 16);
    let call = call.end();
    assert_eq!(call.stood_for + call.lost(), 1003);
}
