//! Where CPU time goes, in each language: programs that spend 70 % of it on one side and 30 % on the other,
//! and know what they really spent.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::capture::{Captured, Plan};
use crate::cost;
use crate::folded::Folded;
use crate::workload::{self, Workload};
use crate::{ENOUGH, alone};

/// The two sides and what both call.
pub(crate) const SIDES: [&str; 2] = ["hot_seventy", "warm_thirty"];
pub(crate) const CALLEE: &str = "spin";
/// Difference between a share and the truth.
const POINTS: f64 = 0.02;

/// Samples a second: enough of them in five, where the program has a core for itself.
const RATE: u32 = 2999;

/// Profiles this program for as long as [`ENOUGH`] samples take, with others on its core as they are now.
pub(crate) fn profiled(workload: &Workload, extension: &str) -> Captured {
    let pid = workload.id().to_string();
    let (began, before) = (Instant::now(), cost::cpu(workload.id()));
    workload.await_more();
    let used = cost::cpu(workload.id()).saturating_sub(before);
    let share = (used.as_secs_f64() / began.elapsed().as_secs_f64()).clamp(0.1, 1.0);
    let seconds = 1.3 * ENOUGH as f64 / f64::from(RATE) / share;
    let plan = Plan {
        options: &["--pid", &pid],
        seconds: seconds.ceil() as u32,
        rate: Some(RATE),
    };
    let captured = plan.start(extension).end();
    assert!(captured.samples >= ENOUGH, "too few: {}", captured.closing);
    captured
}

/// Asserts that the sides have their shares, by stacks that go from side to callee.
pub(crate) fn assert_shares(workload: &Workload, folded: &Folded) {
    assert_shares_by(workload, folded, &[CALLEE]);
}

/// The same by stacks in which these functions follow a side.
fn assert_shares_by(workload: &Workload, folded: &Folded, below: &[&str]) {
    workload.await_more();
    let [hot, warm] = SIDES.map(|side| folded.through(&[&[side], below].concat()) as f64);
    let (both, all) = (hot + warm, folded.total() as f64);
    assert!(
        both / all > 0.97,
        "only {both} of {all} are below a side:\n{}",
        folded.head()
    );
    let (share, truth) = (hot / both, workload.hot_share());
    assert!(
        (share - truth).abs() <= POINTS,
        "{share:.4} is {truth:.4} in truth:\n{}",
        folded.head()
    );
}

/// Profiles the program of this name, and asserts that its stacks are complete and its shares right.
fn assert_split(command: &mut Command) -> Folded {
    let workload = Workload::start(command);
    let captured = profiled(&workload, "folded");
    captured.assert_complete();
    let folded = captured.folded();
    assert_shares(&workload, &folded);
    folded
}

/// `None` where this cannot be told here.
fn assert_split_of(name: &str) -> Option<Folded> {
    let _alone = alone()?;
    let program = workload::built(name)?;
    Some(assert_split(&mut Command::new(program)))
}

#[test]
fn c_without_frame_pointers_has_its_shares() {
    let Some(folded) = assert_split_of("busy-c") else {
        return;
    };
    let whole = ["_start", "main", "work_loop", SIDES[0], CALLEE];
    let share = folded.through(&whole) as f64 / folded.through(&SIDES[..1]) as f64;
    assert!(
        share > 0.99,
        "{share} from the start to the leaf:\n{}",
        folded.head()
    );
}

#[test]
fn cpp_has_its_shares_under_readable_names() {
    if let Some(folded) = assert_split_of("busy-cpp") {
        let (largest, _) = folded.largest();
        assert!(
            largest.contains("shop::Cart<unsigned long>::hot_seventy"),
            "{largest}"
        );
    }
}

#[test]
fn rust_has_its_shares_under_readable_names() {
    if let Some(folded) = assert_split_of("busy-rust") {
        let (largest, _) = folded.largest();
        let readable = "<busy::shop::Cart<u64> as busy::shop::Price>::hot_seventy;busy::shop::spin";
        assert!(largest.contains(readable), "{largest}");
    }
}

/// A frame-pointer walk begins at the caller's caller here, as the leaf keeps no frame.
#[test]
fn go_keeps_the_caller_of_a_leaf_without_a_frame() {
    if let Some(folded) = assert_split_of("busy-go") {
        let direct = folded.ending(&[SIDES[0], CALLEE]);
        let all = folded.through(&SIDES[..1]);
        assert!(
            direct * 100 >= all * 97,
            "{direct} of {all}:\n{}",
            folded.head()
        );
    }
}

/// Node with functions of our program as they are, no copies of them inside others.
fn node(more: &[&str]) -> Option<Command> {
    let mut command = crate::has("node").then(|| Command::new("node"))?;
    command.args(["--perf-basic-prof", "--no-turbo-inlining"]);
    command.args(more).arg(workload::source("busy.js"));
    Some(command)
}

#[test]
fn node_has_its_shares() {
    let Some(_alone) = alone() else { return };
    if let Some(mut command) = node(&[]) {
        assert_split(&mut command);
    }
}

/// One callee and two callers, where other profilers have lost the callers among the interpreter's frames.
///
/// The callee itself is not asked for: the built-ins that it calls keep no frame, so that it is their caller that
/// a walk along frame pointers passes over.
#[test]
fn callers_in_node_without_its_optimiser_have_their_shares() {
    let Some(_alone) = alone() else { return };
    if let Some(mut command) = node(&["--no-opt"]) {
        let workload = Workload::start(&mut command);
        let captured = profiled(&workload, "folded");
        captured.assert_complete();
        assert_shares_by(&workload, &captured.folded(), &[]);
    }
}

fn python(interpreter: PathBuf, options: &[&str]) -> Command {
    let mut command = Command::new(interpreter);
    command.args(options).arg(workload::source("busy.py"));
    command
}

/// It has no names for its functions, but none of its frames may be lost.
#[test]
fn stacks_of_debians_python_are_complete() {
    let Some(_alone) = alone() else { return };
    let interpreter = PathBuf::from("/usr/bin/python3");
    if !interpreter.is_file() {
        println!("skipped: no {}", interpreter.display());
        return;
    }
    let workload = Workload::start(&mut python(interpreter, &[]));
    let captured = profiled(&workload, "folded");
    captured.assert_complete();
    let folded = captured.folded();
    let from_start = folded.through(&["Py_BytesMain", "PyEval_EvalCode"]);
    assert!(
        from_start * 100 >= folded.total() * 98,
        "{from_start}:\n{}",
        folded.head()
    );
}

#[test]
fn python_with_perf_support_has_its_shares() {
    let Some(_alone) = alone() else { return };
    if let Some(interpreter) = workload::python_with_names() {
        assert_split(&mut python(interpreter, &["-X", "perf"]));
    }
}
