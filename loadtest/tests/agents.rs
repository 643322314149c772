//! Real agents report through the gateway, and what they say they sent arrives once.
//!
//! Needs `loadtest/agents/prepare` to have run; otherwise each test says so and passes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use perigee_loadtest::process::Running;
use perigee_loadtest::scenario::Scenario;
use perigee_loadtest::segment::METHOD;

const SEGMENTS: usize = 300;
const AGENT_WITHIN: Duration = Duration::from_secs(120);
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// Where `prepare` has put this agent; `None`, with a word on standard output, if it has not.
fn prepared(agent: &str) -> Option<PathBuf> {
    let chosen = std::env::var_os("PERIGEE_AGENTS_DIR").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let directory = chosen.or_else(|| Some(home?.join(".cache/perigee-agents")));
    let marked = directory.filter(|dir| dir.join(format!("{agent}.prepared")).is_file());
    if marked.is_none() {
        println!("skipped: run loadtest/agents/prepare");
    }
    marked
}

/// Runs `program` against a fresh gateway before three sinks and compares its words with their books.
fn every_segment_arrives_once(agent: &str, mut program: Command) {
    let mut scenario = Scenario::start(3, |_| {}).unwrap();
    let (service, instance) = (format!("{agent}-service"), format!("{agent}-instance"));
    program.arg(scenario.gateway.address().to_string());
    program.args([&service, &instance, &SEGMENTS.to_string()]);
    let mut running = Running::start(agent, &mut program).unwrap();
    let status = running.wait(AGENT_WITHIN).unwrap();
    assert!(status.success(), "{status}: {}", running.errors());
    let lines = running.lines();
    let said: BTreeSet<String> = lines.iter().cloned().collect();
    assert_eq!(
        (said.len(), lines.len()),
        (SEGMENTS, SEGMENTS),
        "what {agent} says it sent"
    );

    scenario.await_ids(METHOD, &said, ARRIVES_WITHIN).unwrap();

    // Whatever the gateway would still send again has been sent once it has ended.
    scenario.gateway.stop(ARRIVES_WITHIN).unwrap();
    let arrived = scenario.arrived(METHOD).unwrap();
    let mut times = BTreeMap::<&str, u32>::new();
    for one in &arrived {
        assert_eq!(
            (&one.service, &one.instance),
            (&service, &instance),
            "of {}",
            one.id
        );
        *times.entry(&one.id).or_default() += 1;
    }
    let repeated: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "more than once: {repeated:?}");
}

#[test]
fn every_segment_of_the_python_agent_arrives_once() {
    let Some(directory) = prepared("python") else {
        return;
    };
    let mut program = Command::new(directory.join("python/bin/python"));
    program.arg(directory.join("python/agent.py"));
    every_segment_arrives_once("python", program);
}

#[test]
fn every_segment_of_the_node_agent_arrives_once() {
    let Some(directory) = prepared("node") else {
        return;
    };
    let mut program = Command::new("node");
    program.arg(directory.join("node/agent.js"));
    every_segment_arrives_once("node", program);
}

#[test]
fn every_segment_of_the_rust_agent_arrives_once() {
    let Some(directory) = prepared("rust") else {
        return;
    };
    let program = Command::new(directory.join("rust/debug/perigee-agent-rust"));
    every_segment_arrives_once("rust", program);
}
