//! Programs that are gone before anybody looks at them, many of them, and large ones.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::alone;
use crate::budgets::{SETTLED, limit};
use crate::capture::Plan;
use crate::cost;
use crate::shares::{CALLEE, SIDES, assert_shares};
use crate::workload::{self, Workload};

/// Anonymous memory and maps that a capture may take: the budget's default.
const BUDGET: u64 = 64 << 20;
/// CPU time that it may take, of a core: the budget's default.
const CPU_BUDGET: f64 = 0.01;
/// Between two looks at its memory.
const LOOK: Duration = Duration::from_millis(100);

#[test]
fn a_program_that_has_ended_is_still_named() {
    let Some(_alone) = alone() else { return };
    let Some(program) = workload::built("burst") else {
        return;
    };
    let mut capture = Plan {
        options: &["--all"],
        seconds: 60,
        rate: Some(1999),
    }
    .start("folded");
    capture.await_attached();
    assert!(Command::new(program).arg("100").status().unwrap().success());
    let folded = capture.interrupt().folded().of("burst");
    let (named, all) = (folded.through(&["main", "burst_work"]), folded.total());
    assert!(
        named >= 150,
        "only {named} of the 200 samples:\n{}",
        folded.head()
    );
    assert!(
        named * 10 >= all * 9,
        "{named} of {all} named:\n{}",
        folded.head()
    );
}

/// As nobody knows their ids before, all processes are captured.
#[test]
fn many_short_lived_programs_stay_inside_the_budget_and_keep_their_samples() {
    let Some(_alone) = alone() else { return };
    let (Some(spawner), Some(burst)) = (workload::built("spawner"), workload::built("burst"))
    else {
        return;
    };
    const COUNT: u64 = 500;
    const RATE: u32 = 99;
    let mut command = Command::new(spawner);
    command.args([&COUNT.to_string(), "4"]).arg(burst).arg("50");
    let mut spawner = Workload::start(&mut command);
    let plan = Plan {
        options: &["--all"],
        seconds: 120,
        rate: Some(RATE),
    };
    let mut capture = plan.start("folded");
    capture.await_attached();
    let mut memory = 0;
    let settled = Instant::now() + SETTLED;
    capture.watch(LOOK, |pid| {
        memory = memory.max(cost::anonymous(pid) + cost::maps(pid));
        Instant::now() >= settled
    });
    let (began, before) = (Instant::now(), cost::cpu(capture.id()));
    spawner.begin();
    capture.watch(LOOK, |pid| {
        memory = memory.max(cost::anonymous(pid) + cost::maps(pid));
        spawner.has_ended()
    });
    let used = cost::cpu(capture.id()) - before;
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    let captured = capture.interrupt();
    let truth = spawner.truth();
    println!(
        "{} KiB, {:.2} % of a core, {}",
        memory >> 10,
        share * 100.0,
        captured.closing
    );
    assert!(memory <= BUDGET, "{memory} bytes");
    assert!(
        share <= limit(CPU_BUDGET, 0.2),
        "{:.2} % of a core",
        share * 100.0
    );
    assert_eq!(truth[0], COUNT as f64);
    let folded = captured.folded().of("burst");
    let expected = truth[1] * f64::from(RATE);
    let kept = folded.through(&["main", "burst_work"]) as f64 / expected;
    assert!(
        kept >= limit(0.9, 0.6),
        "{:.1} % of the {expected:.0} samples:\n{}",
        kept * 100.0,
        folded.head()
    );
}

#[test]
fn a_program_of_200_megabytes_stays_inside_the_budget() {
    let Some(_alone) = alone() else { return };
    let Some(program) = workload::built("busy-200mb") else {
        return;
    };
    let workload = Workload::start(&mut Command::new(program));
    workload.truth();
    let options = ["--pid", &workload.id().to_string()];
    let mut capture = Plan {
        options: &options,
        seconds: 8,
        rate: Some(1999),
    }
    .start("folded");
    capture.await_attached();
    let mut memory = 0;
    capture.watch(LOOK, |pid| {
        memory = memory.max(cost::anonymous(pid) + cost::maps(pid));
        false
    });
    let captured = capture.end();
    assert!(memory <= BUDGET, "{memory} bytes");
    captured.assert_complete();
    let folded = captured.folded();
    assert_shares(&workload, &folded);
    let named = folded.through(&["_start", "work_loop", SIDES[0], CALLEE]);
    assert!(named * 2 > folded.total(), "{named}:\n{}", folded.head());
}
