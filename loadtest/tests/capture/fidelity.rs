//! What others miss: on-CPU goes on whatever else is refused.

use std::process::Command;

use perigee_loadtest::scenario::gateway_binary;

use crate::capture::{Captured, Plan};
use crate::shares::{CALLEE, SIDES};
use crate::workload::{self, Workload};
use crate::{alone, has};

const PLAN: Plan<'_> = Plan {
    options: &[],
    seconds: 2,
    rate: Some(999),
};

/// Profiles the C program by `perigee` under a command that takes something away from it.
fn profiled_under(command: &mut Command) -> Option<Captured> {
    let workload = Workload::start(&mut Command::new(workload::built("busy-c")?));
    let options = ["--pid", &workload.id().to_string()];
    command.arg(gateway_binary().unwrap());
    Some(
        Plan {
            options: &options,
            ..PLAN
        }
        .start_by(command, "folded")
        .end(),
    )
}

fn assert_named(captured: &Captured, functions: &[&str]) {
    let folded = captured.folded();
    let named = folded.through(functions);
    assert!(
        named * 2 > folded.total() && named > 100,
        "{named}:\n{}",
        folded.head()
    );
}

#[test]
fn a_refused_memlock_limit_does_not_stop_on_cpu() {
    let Some(_alone) = alone() else { return };
    if !has("prlimit") || !has("setpriv") {
        return;
    }
    let mut command = Command::new("prlimit");
    command.args([
        "--memlock=65536:65536",
        "setpriv",
        "--bounding-set=-sys_resource",
        "--inh-caps=-sys_resource",
    ]);
    if let Some(captured) = profiled_under(&mut command) {
        assert_named(&captured, &["_start", SIDES[0], CALLEE]);
    }
}

/// A shell in mounts of its own where the kernel tells nothing about its types, then the command behind it.
fn without_btf() -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-ec",
        "mount --bind /dev/null /sys/kernel/btf/vmlinux; exec \"$@\"",
        "sh",
    ]);
    command
}

/// Off-CPU needs the kernel's types in any case.
#[test]
fn off_cpu_that_cannot_start_is_refused_and_does_not_stop_on_cpu() {
    let Some(_alone) = alone() else { return };
    if !has("unshare") {
        return;
    }
    let Some(captured) = profiled_under(&mut without_btf()) else {
        return;
    };
    // By frame pointers, which this program does not have.
    assert_named(&captured, &[CALLEE]);

    let mut command = without_btf();
    command.arg(gateway_binary().unwrap());
    let options = ["--pid", &std::process::id().to_string(), "--off-cpu"];
    let refusal = Plan {
        options: &options,
        rate: None,
        ..PLAN
    }
    .start_by(&mut command, "folded")
    .refusal();
    assert!(
        refusal.contains("off-CPU") && refusal.to_lowercase().contains("btf"),
        "{refusal}"
    );
}
