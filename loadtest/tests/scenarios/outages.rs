//! Nodes that die, hang and return.

use std::time::{Duration, Instant};

use perigee_loadtest::scenario::{GatewayConfig, Scenario, SinkProcess, Traffic, WORKERS};
use perigee_loadtest::segment::METHOD;

use super::{SIZE, SOON, assert_arrived, await_count, await_delivered, pipe};

const TRAFFIC: Traffic = Traffic {
    clients: 4,
    messages: 50,
    rate: 1000,
    size: SIZE,
};

fn config(config: &mut GatewayConfig) {
    config.partition = 2;
}

/// Asserts that nothing has gone wrong with these nodes so far.
fn assert_untroubled(scenario: &Scenario, sinks: &[usize]) {
    for sink in sinks {
        let node = scenario.sinks[*sink].address;
        let metric = |name| scenario.gateway.node_metric(name, node).unwrap();
        assert_eq!(metric("perigee_node_ready_connections"), f64::from(WORKERS));
        assert_eq!(metric("perigee_node_ejections_total"), 0.0);
        assert_eq!(metric("perigee_node_failed_batches_total"), 0.0);
        assert_eq!(metric("perigee_node_connects_total"), f64::from(WORKERS));
    }
}

/// Waits until so many connections to a sink take calls.
fn await_ready(scenario: &Scenario, sink: usize, connections: u32) {
    let node = format!("node=\"{}\"", scenario.sinks[sink].address);
    let name = "perigee_node_ready_connections";
    scenario
        .gateway
        .await_metric(name, &[&node], SOON, |ready| {
            ready == f64::from(connections)
        })
        .unwrap();
}

/// Scenario: one of three nodes is killed under load and comes back later.
/// Guarantees: nothing is lost; what arrives twice is no more than what was sent again; the other
/// nodes go on and are not suspected; the node is used again when it is back.
#[test]
fn a_killed_node_costs_nothing_and_is_used_again() {
    let mut scenario = Scenario::start(3, config).unwrap();
    let traffic = TRAFFIC.start(scenario.gateway.address());
    for sink in &scenario.sinks {
        await_count(sink, 150);
    }

    scenario.sinks[0].kill();
    await_ready(&scenario, 0, 0);
    let at_death = scenario.sinks[0].count(METHOD).unwrap();
    for sink in &scenario.sinks[1..] {
        await_count(sink, sink.count(METHOD).unwrap() + 300);
    }
    assert_untroubled(&scenario, &[1, 2]);

    scenario.sinks[0].restart().unwrap();
    await_ready(&scenario, 0, WORKERS);
    await_count(&scenario.sinks[0], at_death + 150);
    let sent = traffic.end().unwrap();
    assert_eq!(sent.failures, [""; 0]);
    let resent = await_delivered(&scenario, SOON);
    assert_arrived(&scenario, &sent.acknowledged, resent);
    assert_untroubled(&scenario, &[1, 2]);
}

/// Scenario: one of three nodes hangs under load, its sockets open, and wakes later.
/// Guarantees: the others go on before the hang is even noticed; then that node alone is set aside
/// and its messages go elsewhere; nothing is lost; the node is used again when it is back.
#[test]
fn a_hanging_node_holds_nobody_up_and_is_used_again() {
    let mut scenario = Scenario::start(3, |settings| {
        config(settings);
        settings.stream_timeout = Some("3s".to_owned());
    })
    .unwrap();
    let traffic = TRAFFIC.start(scenario.gateway.address());
    for sink in &scenario.sinks {
        await_count(sink, 150);
    }

    scenario.sinks[0].stall().unwrap();
    for sink in &scenario.sinks[1..] {
        await_count(sink, sink.count(METHOD).unwrap() + 200);
    }
    let node = scenario.sinks[0].address;
    let ejections = "perigee_node_ejections_total";
    let noticed = scenario.gateway.node_metric(ejections, node).unwrap();
    assert_eq!(noticed, 0.0, "the others have waited for the hanging node");
    await_ready(&scenario, 0, 0);
    assert_untroubled(&scenario, &[1, 2]);

    let at_hang = scenario.sinks[0].count(METHOD).unwrap();
    scenario.sinks[0].resume().unwrap();
    await_ready(&scenario, 0, WORKERS);
    await_count(&scenario.sinks[0], at_hang + 300);
    let sent = traffic.end().unwrap();
    assert_eq!(sent.failures, [""; 0]);
    let resent = await_delivered(&scenario, SOON);
    assert_arrived(&scenario, &sent.acknowledged, resent);
    assert_untroubled(&scenario, &[1, 2]);
    // Its processes' memory of what it took while it hung is why duplicates are possible at all.
    assert!(resent > 0.0, "nothing was sent to the hanging node");
    scenario.gateway.stop(SOON).unwrap();
}

/// Scenario: one of three nodes takes connections and calls under load, and answers none.
/// Guarantees: it is tried with growing pauses, and a connection is given up for its own calls'
/// sake only; the others go on; nothing is lost; the node is used again when it answers.
#[test]
fn a_node_that_only_connects_is_tried_ever_more_rarely() {
    let scenario = Scenario::start(3, |settings| {
        config(settings);
        settings.stream_timeout = Some("300ms".to_owned());
        settings.log_level = "debug".to_owned();
    })
    .unwrap();
    let traffic = TRAFFIC.start(scenario.gateway.address());
    for sink in &scenario.sinks {
        await_count(sink, 150);
    }

    scenario.sinks[0].hold_answers().unwrap();
    let node = scenario.sinks[0].address;
    let gateway = &scenario.gateway;
    let held_back = "perigee_node_ejections_total";
    let label = format!("node=\"{node}\"");
    // Two workers, four times each.
    gateway
        .await_metric(held_back, &[&label], SOON, |ejections| ejections >= 8.0)
        .unwrap();
    let metric = |name| gateway.node_metric(name, node).unwrap();
    let connects = metric("perigee_node_connects_total");
    let ejected = metric("perigee_node_ejections_total");
    assert!(
        connects - f64::from(WORKERS) <= ejected,
        "{connects} connections for {ejected} ejections"
    );
    assert_untroubled(&scenario, &[1, 2]);

    let while_silent = scenario.sinks[0].count(METHOD).unwrap();
    scenario.sinks[0].behave().unwrap();
    await_count(&scenario.sinks[0], while_silent + 300);
    let sent = traffic.end().unwrap();
    assert_eq!(sent.failures, [""; 0]);
    let resent = await_delivered(&scenario, SOON);
    assert_arrived(&scenario, &sent.acknowledged, resent);
}

/// Scenario: all three nodes are gone for 30 s under a load that exceeds the byte budget.
/// Guarantees: clients are held up and no call fails; memory stays within the budget; everything
/// arrives once the nodes are back.
#[test]
fn an_outage_of_all_nodes_only_slows_clients_down() {
    const OUTAGE: Duration = Duration::from_secs(30);
    const BUDGET: u64 = 16 << 20;
    let mut scenario = Scenario::start(3, |settings| {
        config(settings);
        settings.memory_bytes = Some(BUDGET);
    })
    .unwrap();
    let heavy = Traffic {
        size: 2000,
        ..TRAFFIC
    };
    let traffic = heavy.start(scenario.gateway.address());
    for sink in &scenario.sinks {
        await_count(sink, 100);
    }

    let began = Instant::now();
    scenario.sinks.iter_mut().for_each(SinkProcess::kill);
    let gateway = &scenario.gateway;
    let paused = |count| count == 4.0;
    gateway
        .await_metric("perigee_paused_streams", &[], SOON, paused)
        .unwrap();
    let held_up = pipe(&scenario, "perigee_received_messages_total");
    std::thread::sleep(OUTAGE.saturating_sub(began.elapsed()));
    assert_eq!(pipe(&scenario, "perigee_received_messages_total"), held_up);
    let used = gateway.metric("perigee_budget_used_bytes", &[]).unwrap();
    // A fifth is for half-read messages and an eighth for held ones, of which there are none. Each client may have one window
    // of messages more on its way into the queue.
    assert!(
        (used / BUDGET as f64 - 0.675).abs() < 0.05,
        "{used} bytes held"
    );

    for sink in &mut scenario.sinks {
        sink.restart().unwrap();
    }
    let before = scenario.sinks[0].count(METHOD).unwrap();
    await_count(&scenario.sinks[0], before + 1000);
    let sent = traffic.end().unwrap();
    assert_eq!(sent.failures, [""; 0]);
    assert!(sent.slowest > Duration::from_secs(10), "{:?}", sent.slowest);
    let resent = await_delivered(&scenario, 2 * SOON);
    assert_arrived(&scenario, &sent.acknowledged, resent);
}
