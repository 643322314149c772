//! Where programs wait.

use std::process::Command;
use std::time::Duration;

use crate::alone;
use crate::capture::{Captured, Plan};
use crate::workload::{self, Workload};

const TURNS: u32 = 25;
const MILLISECOND: Duration = Duration::from_millis(1);

/// Captures the waits of a program from before it begins until after it has told the truth.
fn waits_of(workload: &Workload, extension: &str) -> Captured {
    let options = ["--pid", &workload.id().to_string(), "--off-cpu"];
    let plan = Plan {
        options: &options,
        seconds: 60,
        rate: None,
    };
    let mut capture = plan.start(extension);
    capture.await_attached();
    workload.begin();
    workload.truth();
    capture.interrupt()
}

/// Starts a program that takes so many turns once it may begin.
fn start(name: &str, turns: u32) -> Option<Workload> {
    let program = workload::built(name)?;
    Some(Workload::start(
        Command::new(program).arg(turns.to_string()),
    ))
}

#[test]
fn sleeps_have_their_number_and_their_length() {
    let Some(_alone) = alone() else { return };
    let Some(workload) = start("sleepers", TURNS) else {
        return;
    };
    let captured = waits_of(&workload, "pb.gz");
    let (truth, pprof) = (workload.truth(), captured.pprof());
    for (function, mean) in [("sleep_forty", truth[1]), ("sleep_sixty", truth[2])] {
        let (count, time) = pprof.of(function);
        assert!(
            count.abs_diff(u64::from(TURNS)) <= 1,
            "{function} waited {count} times, not {TURNS}"
        );
        let (found, mean) = (
            time / u32::try_from(count).unwrap(),
            Duration::from_secs_f64(mean),
        );
        assert!(
            found.abs_diff(mean) <= MILLISECOND,
            "{function} waited {found:?}, not {mean:?} each time"
        );
    }
    captured.assert_complete();
}

#[test]
fn a_contended_mutex_points_at_its_waiter() {
    let Some(_alone) = alone() else { return };
    // So many that its waits are longer than the 0.3 s that it sleeps first.
    let Some(workload) = start("mutex", 3 * TURNS) else {
        return;
    };
    let captured = waits_of(&workload, "folded");
    let (folded, waited) = (captured.folded(), workload.truth()[1]);
    // Values are microseconds here.
    let found = folded.through(&["waiter", "wait_for_mutex"]) as f64 / 1e6;
    assert!(
        (found / waited - 1.0).abs() < 0.05,
        "{found} s of {waited} s:\n{}",
        folded.head()
    );
    let (largest, _) = folded.largest();
    assert!(
        largest.contains("waiter;wait_for_mutex;") && largest.contains("mutex_lock"),
        "{largest}"
    );
    let holder = folded.through(&["holder"]) as f64 / 1e6;
    assert!(
        holder < 0.1 * waited,
        "the holder waited {holder} s:\n{}",
        folded.head()
    );
}

/// The scheduler takes turns between two programs on one core: that is no wait of theirs.
#[test]
fn a_program_that_is_always_ready_to_run_has_no_waits() {
    let Some(_alone) = alone() else { return };
    let Some(program) = workload::built("busy-c") else {
        return;
    };
    if !crate::has("taskset") {
        return;
    }
    let [one, _other] =
        [(); 2].map(|()| Workload::start(Command::new("taskset").args(["-c", "0"]).arg(&program)));
    let seconds = 3;
    let options = [
        "--pid",
        &one.id().to_string(),
        "--off-cpu",
        "--minimum",
        "1ms",
    ];
    let captured = Plan {
        options: &options,
        seconds,
        rate: None,
    }
    .run();
    let folded = captured.folded();
    let waited = (folded.total() - folded.through(&[PREEMPTED])) as f64 / 1e6;
    assert!(
        waited < 0.05 * f64::from(seconds),
        "waited {waited} s:\n{}",
        folded.head()
    );
}

/// The frame that tells such stacks apart.
const PREEMPTED: &str = "preempted";
