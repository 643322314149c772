//! Calls that a node answers itself, beside those that are queued.

use perigee_loadtest::process;
use perigee_loadtest::scenario::{Client, Scenario};

use super::{SOON, assert_arrived, await_delivered, ids, report};

/// An upload that lasts for as long as a profiler runs.
const UPLOAD: &str = "/skywalking.v10.PprofTask/collect";

/// Scenario: a live call stays open at the only node, without a word from either side.
/// Guarantees: what is queued goes there all the same, again and again.
#[test]
fn a_live_call_that_stays_open_does_not_keep_batches_away() {
    let scenario = Scenario::start(1, |config| config.workers = Some(1)).unwrap();
    let mut client = Client::connect(scenario.gateway.address()).unwrap();
    let _call = client.open(UPLOAD).unwrap();
    process::poll_for("the live call at the node", SOON, || {
        let state = scenario.sinks[0].state()?;
        Ok((state["methods"][UPLOAD]["open"] == 1).then_some(()))
    })
    .unwrap();
    for round in ["first", "second"] {
        // The node has been silent for longer than it takes to be thought slow.
        std::thread::sleep(std::time::Duration::from_millis(400));
        let some = ids(round, 20);
        report(&scenario, &some);
        await_delivered(&scenario, SOON);
    }
    let all = ids("first", 20)
        .into_iter()
        .chain(ids("second", 20))
        .collect();
    assert_arrived(&scenario, &all, 0.0);
}
