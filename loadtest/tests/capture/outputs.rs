//! What the files say to others than us.

use std::process::Command;

use crate::shares::{CALLEE, SIDES, profiled};
use crate::workload::{self, Workload};
use crate::{alone, has};

/// What `go tool pprof` says about a file with these options.
fn go_pprof(options: &[&str], file: &std::path::Path) -> String {
    let mut command = Command::new("go");
    // It must not look for binaries or ask a server for names: those in the file are on trial.
    command
        .args(["tool", "pprof", "-symbolize=none"])
        .args(options)
        .arg(file);
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The share that `-top -cum` gives a function: `flat flat% sum% cum cum% name`.
fn cumulative(top: &str, function: &str) -> f64 {
    let line = top
        .lines()
        .find(|line| line.contains(function))
        .unwrap_or_else(|| panic!("{function} in:\n{top}"));
    let share = line.split_whitespace().nth(4).unwrap();
    share.trim_end_matches('%').parse::<f64>().unwrap() / 100.0
}

#[test]
fn go_reads_the_pprof_file_with_names_shares_and_build_ids() {
    let Some(_alone) = alone() else { return };
    let Some(program) = workload::built("busy-rust") else {
        return;
    };
    if !has("go") || !has("readelf") {
        return;
    }
    let workload = Workload::start(&mut Command::new(&program));
    let captured = profiled(&workload, "pb.gz");
    let file = captured.file("pb.gz");

    let top = go_pprof(
        &["-top", "-cum", "-nodecount=100", "-nodefraction=0"],
        &file,
    );
    let hot = cumulative(&top, SIDES[0]);
    assert!((hot - workload.hot_share()).abs() < 0.03, "{hot}:\n{top}");
    let callee = cumulative(&top, &format!("busy::shop::{CALLEE}"));
    assert!(callee > 0.97, "{callee}:\n{top}");

    let notes = Command::new("readelf")
        .arg("-n")
        .arg(&program)
        .output()
        .unwrap();
    let notes = String::from_utf8(notes.stdout).unwrap();
    let build_id = notes
        .lines()
        .find_map(|line| line.trim().strip_prefix("Build ID: "));
    let raw = go_pprof(&["-raw"], &file);
    let (_, mappings) = raw.split_once("Mappings").unwrap();
    let mapping = mappings.lines().find(|line| line.contains("busy-rust"));
    let mapping = mapping.unwrap_or_else(|| panic!("no mapping of it in:\n{raw}"));
    assert!(
        mapping.contains(build_id.unwrap()),
        "{mapping}, should say {build_id:?}"
    );
}
