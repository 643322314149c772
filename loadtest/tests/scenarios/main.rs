//! What the gateway guarantees while nodes fail, refuse and return, and when it ends itself:
//! `perigee start` and `perigee sink` as processes.
//!
//! Every segment has an id of its own, and sinks write down what they accept before they answer.
//! So tests compare ids that clients were told are taken with ids in the sinks' records.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod limits;
mod live;
mod outages;
mod refusals;
mod shares;
mod shutdown;

use std::collections::BTreeSet;
use std::time::Duration;

use perigee_loadtest::process;
use perigee_loadtest::scenario::{Client, Scenario, SinkProcess, segment};
use perigee_loadtest::segment::METHOD;

/// Longest wait for something that should happen soon.
const SOON: Duration = Duration::from_secs(30);

/// Bytes of padding in a segment.
const SIZE: usize = 500;

/// `prefix-0` and so on.
fn ids(prefix: &str, count: usize) -> BTreeSet<String> {
    (0..count)
        .map(|number| format!("{prefix}-{number}"))
        .collect()
}

/// Reports segments in one call of a connection of its own.
fn report(scenario: &Scenario, ids: &BTreeSet<String>) {
    let segments: Vec<_> = ids.iter().map(|id| segment(id, SIZE)).collect();
    let mut client = Client::connect(scenario.gateway.address()).unwrap();
    client.call(METHOD, &segments).unwrap();
}

/// Waits until a sink has accepted so many segments.
fn await_count(sink: &SinkProcess, count: usize) {
    let what = format!("{count} segments at {}", sink.address);
    process::poll_for(&what, SOON, || {
        Ok((sink.count(METHOD)? >= count).then_some(()))
    })
    .unwrap();
}

/// Asserts that each of `ids` arrived, nothing else did, and no more is there twice than the
/// gateway says it has sent again.
fn assert_arrived(scenario: &Scenario, ids: &BTreeSet<String>, resent: f64) {
    let arrived = scenario.await_ids(METHOD, ids, SOON).unwrap();
    let distinct: BTreeSet<_> = arrived.iter().map(|one| one.id.clone()).collect();
    assert_eq!(distinct.len(), ids.len(), "segments that nobody has sent");
    let twice = arrived.len() - distinct.len();
    assert!(
        twice as f64 <= resent,
        "{twice} duplicates, {resent} resent"
    );
}

/// A counter of the pipe of segments.
fn pipe(scenario: &Scenario, name: &str) -> f64 {
    let labels = ["pipe=\"tracingpipe\""];
    scenario.gateway.metric(name, &labels).unwrap()
}

/// Waits until everything that was received has been delivered; gives how many were sent again.
fn await_delivered(scenario: &Scenario, within: Duration) -> f64 {
    let received = pipe(scenario, "perigee_received_messages_total");
    let labels = ["pipe=\"tracingpipe\""];
    let name = "perigee_delivered_messages_total";
    scenario
        .gateway
        .await_metric(name, &labels, within, |delivered| delivered >= received)
        .unwrap();
    pipe(scenario, "perigee_resent_messages_total")
}
