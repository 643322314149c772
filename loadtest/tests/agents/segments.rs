//! Agents that report segments.

use std::process::Command;

use perigee_loadtest::process::Running;

use crate::books::{self, Books, Signal};
use crate::{collector, gateway, lines_of, prepared};

const SEGMENTS: usize = 300;

/// Runs an agent that prints the ids of its segments.
fn every_segment_arrives_once(agent: &str, mut program: Command) {
    let scenario = gateway();
    let (service, instance) = (format!("{agent}-service"), format!("{agent}-instance"));
    program.arg(collector(&scenario).to_string());
    program.args([&service, &instance, &SEGMENTS.to_string()]);
    let lines = lines_of(Running::start(agent, &mut program).unwrap());
    let mut expected = Books::default();
    expected.add(Signal::Segment, (&service, &instance), &lines);
    assert_eq!(
        (expected.distinct(Signal::Segment), lines.len()),
        (SEGMENTS, SEGMENTS),
        "what {agent} says it sent"
    );

    let mut arrived = Books::default();
    arrived.await_all(&scenario, &expected).unwrap();
    let arrived = books::close(scenario, arrived);
    arrived.assert_exactly(&expected, &[Signal::Segment]);
}

#[test]
fn every_segment_of_the_node_agent_arrives_once() {
    let Some(directory) = prepared("node") else {
        return;
    };
    let mut program = Command::new("node");
    program.arg(directory.join("agent.js"));
    every_segment_arrives_once("node", program);
}

#[test]
fn every_segment_of_the_rust_agent_arrives_once() {
    let Some(directory) = prepared("rust") else {
        return;
    };
    let program = Command::new(directory.join("debug/perigee-agent-rust"));
    every_segment_arrives_once("rust", program);
}
