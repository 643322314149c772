//! A capture that is killed leaves nothing in the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use perigee_loadtest::process::{Signal, poll_for};
use perigee_loadtest::scenario::{Scenario, Traffic, free_address, get};
use perigee_loadtest::segment::METHOD;
use rustix::process::{Pid, kill_process};

use crate::capture::Plan;
use crate::cost;
use crate::workload::{self, SOON, Workload};
use crate::{alone, has};

/// Agents that must not notice anything.
const TRAFFIC: Traffic = Traffic {
    clients: 2,
    messages: 50,
    rate: 200,
    size: 500,
};

/// Ids of everything of BPF in the kernel, whoever holds it.
fn objects() -> BTreeSet<String> {
    let kinds = ["prog", "map", "link"].into_iter();
    kinds.flat_map(objects_of).collect()
}

fn objects_of(kind: &str) -> BTreeSet<String> {
    let output = Command::new("bpftool")
        .args(["--json", kind, "list"])
        .output()
        .unwrap();
    let objects: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids = objects
        .as_array()
        .unwrap()
        .iter()
        .map(|object| format!("{kind} {}", object["id"]));
    ids.collect()
}

#[test]
fn nothing_remains_in_the_kernel_of_a_capture_that_was_killed() {
    let Some(_alone) = alone() else { return };
    if !has("bpftool") {
        return;
    }
    let Some(program) = workload::built("busy-c") else {
        return;
    };
    let workload = Workload::start(&mut Command::new(program));
    let before = objects();
    let options = ["--pid", &workload.id().to_string()];
    let mut capture = Plan {
        options: &options,
        seconds: 60,
        rate: Some(99),
    }
    .start("folded");
    capture.await_attached();
    let own: BTreeSet<_> = objects().difference(&before).cloned().collect();
    assert!(
        own.iter().any(|id| id.starts_with("prog")) && own.iter().any(|id| id.starts_with("map")),
        "{own:?}"
    );
    assert!(cost::hooks(capture.id()) > 0);

    // A perf event is a file of the process alone: it is gone with it.
    capture.kill();
    poll_for("the end of its programs and maps", SOON, || {
        Ok(objects().is_disjoint(&own).then_some(()))
    })
    .unwrap();
}

/// The gateway's child that captures, if it runs.
fn child_of(gateway: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.find(|pid| {
        let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        // `PID (NAME) STATE PARENT`; a name may hold anything.
        let stat = read("stat");
        let mut behind = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let is_child = behind.nth(1) == Some(&gateway.to_string());
        is_child
            && read("cmdline")
                .split('\0')
                .any(|argument| argument == "capture")
    })
}

fn await_child(gateway: u32) -> u32 {
    poll_for("a process that captures", SOON, || Ok(child_of(gateway))).unwrap()
}

#[test]
fn the_gateway_does_not_notice_that_its_capture_is_killed_and_starts_another() {
    let Some(_alone) = alone() else { return };
    if !has("bpftool") {
        return;
    }
    let before = objects();
    let metrics = free_address().unwrap();
    let scenario = Scenario::start(1, |config| {
        config.sections =
            format!("capture:\n  enabled: true\n  metrics:\n    listen: \"{metrics}\"\n");
    })
    .unwrap();
    let gateway = scenario.gateway.id();
    let traffic = TRAFFIC.start(scenario.gateway.address());
    let first = await_child(gateway);
    poll_for("the first capture to be up", SOON, || {
        Ok(get(metrics, "/healthz").ok())
    })
    .unwrap();
    let own: BTreeSet<_> = objects().difference(&before).cloned().collect();

    kill_process(
        Pid::from_raw(i32::try_from(first).unwrap()).unwrap(),
        Signal::KILL,
    )
    .unwrap();
    poll_for("the end of its programs and maps", SOON, || {
        Ok(objects().is_disjoint(&own).then_some(()))
    })
    .unwrap();
    let second = poll_for("another capture", SOON, || {
        Ok(child_of(gateway).filter(|child| *child != first))
    })
    .unwrap();
    poll_for("the second capture to be up", SOON, || {
        Ok(get(metrics, "/healthz").ok())
    })
    .unwrap();

    let sent = traffic.end().unwrap();
    assert_eq!(
        (sent.failures.len(), sent.unanswered.len()),
        (0, 0),
        "{:?}",
        sent.failures
    );
    scenario
        .await_ids(METHOD, &sent.acknowledged, SOON)
        .unwrap();
    assert_eq!(scenario.gateway.id(), gateway);

    // A gateway that is killed takes its capture with it.
    drop(scenario);
    poll_for("the end of the second capture", SOON, || {
        Ok((!Path::new(&format!("/proc/{second}")).exists()).then_some(()))
    })
    .unwrap();
    assert!(objects().is_subset(&before));
}
