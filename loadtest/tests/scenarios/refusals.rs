//! Nodes that answer, but not with OK.

use std::collections::BTreeSet;

use perigee_loadtest::scenario::{Client, GatewayConfig, Scenario, SinkProcess, segment};
use perigee_loadtest::segment::METHOD;

use super::{SIZE, SOON, assert_arrived, await_delivered, ids, pipe, report};

/// One of three nodes refuses everything with `code`, for now.
fn one_node_refuses(code: &str) {
    let scenario = Scenario::start(3, |_| {}).unwrap();
    scenario.sinks[0].refuse(code).unwrap();
    let mut all = BTreeSet::new();
    for call in 0..10 {
        let some = ids(&format!("call-{call}"), 60);
        report(&scenario, &some);
        all.extend(some);
    }
    let resent = await_delivered(&scenario, SOON);
    assert!(resent > 0.0, "nothing was sent to the node that refuses");
    assert_eq!(scenario.sinks[0].count(METHOD).unwrap(), 0);
    assert_arrived(&scenario, &all, 0.0);
    let metric = |sink: usize, name| {
        let node = scenario.sinks[sink].address;
        scenario.gateway.node_metric(name, node).unwrap()
    };
    let ejections = [0, 1, 2].map(|sink| metric(sink, "perigee_node_ejections_total"));
    assert!(
        ejections[0] > 0.0 && ejections[1..] == [0.0, 0.0],
        "{ejections:?}"
    );
    assert!(metric(0, "perigee_node_failed_batches_total") >= ejections[0]);
    assert_eq!(metric(0, "perigee_node_delivered_batches_total"), 0.0);
    let connects = metric(0, "perigee_node_connects_total");

    scenario.sinks[0].behave().unwrap();
    let back = ids("back", 600);
    let mut client = Client::connect(scenario.gateway.address()).unwrap();
    for id in &back {
        client.call(METHOD, &[segment(id, SIZE)]).unwrap();
    }
    all.extend(back);
    await_delivered(&scenario, SOON);
    assert_arrived(&scenario, &all, 0.0);
    assert_eq!(
        metric(0, "perigee_node_connects_total"),
        connects,
        "a node that answers has been disconnected"
    );
}

/// Scenario: a node is over its watermark: RESOURCE_EXHAUSTED.
/// Guarantees: clients see OK, the other nodes take its share, nothing arrives twice, and its
/// connections stay.
#[test]
fn the_share_of_a_node_over_its_watermark_goes_to_the_others() {
    one_node_refuses("RESOURCE_EXHAUSTED");
}

/// Scenario: a node answers UNAVAILABLE.
/// Guarantees: as over the watermark.
#[test]
fn the_share_of_an_unavailable_node_goes_to_the_others() {
    one_node_refuses("UNAVAILABLE");
}

/// Scenario: every node refuses our token, then an operator sets it right.
/// Guarantees: clients see OK, nothing is dropped, everything arrives once.
#[test]
fn data_is_held_while_nodes_refuse_the_token() {
    let ours = |settings: &mut GatewayConfig| settings.authentication = Some("ours".to_owned());
    let scenario = Scenario::start(3, ours).unwrap();
    for sink in &scenario.sinks {
        sink.refuse("PERMISSION_DENIED").unwrap();
    }
    let all = ids("held", 300);
    report(&scenario, &all);
    scenario
        .gateway
        .await_log("refuses the token", SOON)
        .unwrap();
    assert_eq!(pipe(&scenario, "perigee_dropped_messages_total"), 0.0);
    for sink in &scenario.sinks {
        sink.behave().unwrap();
    }
    await_delivered(&scenario, SOON);
    assert_arrived(&scenario, &all, 0.0);
}

/// Scenario: every node is an OAP that does not know the method.
/// Guarantees: clients see OK; the messages are dropped at once and counted, and later ones are
/// tried anew.
#[test]
fn messages_that_no_node_knows_are_dropped_and_counted() {
    let scenario = Scenario::start(3, |_| {}).unwrap();
    for sink in &scenario.sinks {
        sink.refuse("UNIMPLEMENTED").unwrap();
    }
    report(&scenario, &ids("unknown", 50));
    let labels = ["pipe=\"tracingpipe\"", "reason=\"unimplemented\""];
    let name = "perigee_dropped_messages_total";
    let gateway = &scenario.gateway;
    gateway
        .await_metric(name, &labels, SOON, |dropped| dropped == 50.0)
        .unwrap();
    for sink in &scenario.sinks {
        sink.behave().unwrap();
    }
    let known = ids("known", 50);
    report(&scenario, &known);
    assert_arrived(&scenario, &known, 0.0);
}

/// Scenario: one client's segments do not decode, and share batches with those of others.
/// Guarantees: exactly the bad ones are dropped, and counted; every good one arrives.
#[test]
fn undecodable_messages_cost_nobody_elses() {
    let mut scenario = Scenario::start(3, |_| {}).unwrap();
    // Batches are made of what waits, so good and bad ones meet.
    scenario.sinks.iter_mut().for_each(SinkProcess::kill);
    let good: Vec<_> = (0..10)
        .map(|client| ids(&format!("good-{client}"), 20))
        .collect();
    let mut poisoner = Client::connect(scenario.gateway.address()).unwrap();
    for some in &good {
        report(&scenario, some);
        // Field 2 with a length far beyond the end.
        poisoner
            .call(METHOD, &[b"\x12\xff\x01bad", b"\x12\xff\x01bad"])
            .unwrap();
    }
    for sink in &mut scenario.sinks {
        sink.restart().unwrap();
    }
    let rejected = ["pipe=\"tracingpipe\"", "reason=\"rejected\""];
    let name = "perigee_dropped_messages_total";
    let gateway = &scenario.gateway;
    gateway
        .await_metric(name, &rejected, SOON, |dropped| dropped >= 20.0)
        .unwrap();
    let all = good.into_iter().flatten().collect();
    scenario.await_ids(METHOD, &all, SOON).unwrap();
    let labels = ["pipe=\"tracingpipe\""];
    let name = "perigee_delivered_messages_total";
    gateway
        .await_metric(name, &labels, SOON, |delivered| delivered == 200.0)
        .unwrap();
    assert_arrived(
        &scenario,
        &all,
        pipe(&scenario, "perigee_resent_messages_total"),
    );
    assert_eq!(pipe(&scenario, "perigee_dropped_messages_total"), 20.0);
}
