//! A capture that is killed leaves nothing in the kernel.

use std::collections::BTreeSet;
use std::process::Command;

use perigee_loadtest::process::poll_for;

use crate::capture::Plan;
use crate::cost;
use crate::workload::{self, SOON, Workload};
use crate::{alone, has};

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
        rate: 99,
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
