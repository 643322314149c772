//! How messages are spread over nodes.

use perigee_loadtest::process;
use perigee_loadtest::scenario::{Client, Scenario, segment};
use perigee_loadtest::segment::METHOD;

use super::{SIZE, SOON, await_delivered, ids, report};

fn counts(scenario: &Scenario) -> Vec<usize> {
    let sinks = scenario.sinks.iter();
    sinks.map(|sink| sink.count(METHOD).unwrap()).collect()
}

/// Waits until so many segments are at the sinks.
fn await_total(scenario: &Scenario, total: usize) {
    process::poll_for("all segments at the sinks", SOON, || {
        Ok((counts(scenario).iter().sum::<usize>() >= total).then_some(()))
    })
    .unwrap();
}

#[track_caller]
fn assert_each_within(scenario: &Scenario, share: usize, tolerance: usize) {
    let counts = counts(scenario);
    let fair = counts
        .iter()
        .all(|count| count.abs_diff(share) <= tolerance);
    assert!(fair, "{counts:?} instead of {share} +- {tolerance}");
}

/// Scenario: one client reports by a stream that never ends, as browsers' and Envoy's do.
/// Guarantees: what it has sent arrives while the stream is open, and in even shares.
#[test]
fn an_endless_stream_reaches_all_nodes_while_it_is_open() {
    let scenario = Scenario::start(3, |_| {}).unwrap();
    let mut client = Client::connect(scenario.gateway.address()).unwrap();
    let mut call = client.open(METHOD).unwrap();
    for id in ids("endless", 600) {
        call.send(&segment(&id, SIZE)).unwrap();
    }
    await_total(&scenario, 600);
    assert_each_within(&scenario, 200, 20);
    call.send(&segment("endless-last", SIZE)).unwrap();
    await_total(&scenario, 601);
    call.finish().unwrap();
}

/// Scenario: one client reports 900 segments in one short stream.
/// Guarantees: every node gets its third, although they would fit into few batches.
#[test]
fn a_burst_in_one_stream_is_split_evenly() {
    let scenario = Scenario::start(3, |_| {}).unwrap();
    report(&scenario, &ids("burst", 900));
    await_delivered(&scenario, SOON);
    assert_each_within(&scenario, 300, 20);
}

/// Scenario: `server_addr` gives the first of three nodes twice the weight, and the nodes keep up.
/// Guarantees: shares are 2:1:1 within a tenth.
#[test]
fn weights_are_shares_of_messages() {
    let scenario = Scenario::start(3, |config| config.weights = vec![2, 1, 1]).unwrap();
    for call in 0..40 {
        report(&scenario, &ids(&format!("call-{call}"), 100));
        await_delivered(&scenario, SOON);
    }
    let counts = counts(&scenario);
    assert_eq!(counts.iter().sum::<usize>(), 4000);
    for (count, share) in counts.iter().zip([2000, 1000, 1000_usize]) {
        assert!(count.abs_diff(share) <= share / 10, "{counts:?}");
    }
}
