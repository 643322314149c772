//! Real clients report through the gateway, and what they say they produced is at the sinks once,
//! under its own names.
//!
//! Needs `loadtest/agents/prepare` to have run; otherwise each test says so and passes.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod books;
mod envoy;
mod otel;
mod python;
mod refused;
mod segments;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use perigee_loadtest::process::Running;
use perigee_loadtest::scenario::{ALL_PIPES, Scenario};

/// Longest life of a client that ends by itself.
const CLIENT_WITHIN: Duration = Duration::from_secs(120);
/// Longest way of a message.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// Where `prepare` has put this client; `None`, with a word on standard output, if it has not.
fn prepared(client: &str) -> Option<PathBuf> {
    let chosen = std::env::var_os("PERIGEE_AGENTS_DIR").map(PathBuf::from);
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let directory = chosen.or_else(|| Some(home?.join(".cache/perigee-agents")));
    let marked = directory.filter(|dir| dir.join(format!("{client}.prepared")).is_file());
    if marked.is_none() {
        println!("skipped: {client} is not prepared: run loadtest/agents/prepare {client}");
    }
    marked.map(|directory| directory.join(client))
}

/// A file of `loadtest/agents`.
fn source(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("agents")
        .join(path)
}

/// A gateway with every pipe in front of three sinks.
fn gateway() -> Scenario {
    Scenario::start(3, |config| config.pipes = ALL_PIPES).unwrap()
}

/// Where clients report to: the gateway; with `PERIGEE_AGENTS_DIRECT` set, a sink. What fails there,
/// too, is not the gateway's fault.
fn collector(scenario: &Scenario) -> SocketAddr {
    match std::env::var_os("PERIGEE_AGENTS_DIRECT") {
        Some(_) => scenario.sinks[0].address,
        None => scenario.gateway.address(),
    }
}

/// What the client has said under each of these words, a line each: `WORD TEXT`.
fn said<'a>(lines: &'a [String], word: &str) -> Vec<&'a str> {
    let words = lines.iter().filter_map(|line| line.split_once(' '));
    words
        .filter(|(first, _)| *first == word)
        .map(|(_, rest)| rest)
        .collect()
}

/// Waits for a client that ends by itself, and returns what it has said.
fn lines_of(mut client: Running) -> Vec<String> {
    let status = client.wait(CLIENT_WITHIN).unwrap();
    assert!(status.success(), "{status}: {}", client.errors());
    client.lines()
}
