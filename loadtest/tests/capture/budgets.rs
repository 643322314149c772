//! What a capture costs, beside the best of the others on this kernel.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use perigee_loadtest::process::poll_for;

use crate::capture::{Capture, Captured, Plan};
use crate::cost::{self, BpfStats};
use crate::shares::CALLEE;
use crate::workload::{self, Workload};
use crate::{alone, has};

/// Between two looks at a capture.
const LOOK: Duration = Duration::from_millis(20);
/// Time that a capture may take to settle before its steady cost is measured: it reads the kernel's names once.
pub(crate) const SETTLED: Duration = Duration::from_secs(3);

/// What is demanded: the aim on a machine that does nothing else, with `PERIGEE_STRICT=1` in the environment;
/// elsewhere what the best other profilers need, or twice that, because others' caches and turns count too.
pub(crate) fn limit<T>(aim: T, elsewhere: T) -> T {
    match std::env::var_os("PERIGEE_STRICT") {
        Some(_) => aim,
        None => elsewhere,
    }
}

/// Kernel time of a sample of this program, in microseconds, all runs of the programs included: those for others
/// are its price, too.
fn sample_cost(command: &mut Command) -> (f64, Captured) {
    let workload = Workload::start(command);
    workload.truth();
    let _stats = BpfStats::on();
    let options = ["--pid", &workload.id().to_string()];
    let plan = Plan {
        options: &options,
        seconds: 4,
        rate: Some(999),
    };
    let mut capture = plan.start("folded");
    let mut time = Duration::ZERO;
    capture.watch(LOOK, |pid| {
        time = time.max(cost::runs(pid).time);
        false
    });
    let captured = capture.end();
    assert!(!time.is_zero(), "no program has run");
    let micros = time.as_secs_f64() * 1e6 / captured.samples as f64;
    println!("{micros:.2} us a sample, {}", captured.closing);
    (micros, captured)
}

#[test]
fn a_sample_of_c_costs_4_microseconds_at_most() {
    let Some(_alone) = alone() else { return };
    let Some(program) = workload::built("busy-c") else {
        return;
    };
    let (micros, captured) = sample_cost(&mut Command::new(program));
    captured.assert_complete();
    assert!(
        micros <= limit(4.0, 16.0),
        "{micros:.2} us: {}",
        captured.closing
    );
}

#[test]
fn a_sample_of_python_costs_10_microseconds_at_most() {
    let Some(_alone) = alone() else { return };
    let Some(python) = workload::python_with_names() else {
        return;
    };
    let mut command = Command::new(python);
    let (micros, captured) = sample_cost(
        command
            .args(["-X", "perf"])
            .arg(workload::source("busy.py")),
    );
    captured.assert_complete();
    assert!(
        micros <= limit(10.0, 36.0),
        "{micros:.2} us: {}",
        captured.closing
    );
}

#[test]
fn a_sample_of_node_costs_10_microseconds_at_most() {
    let Some(_alone) = alone() else { return };
    if !has("node") {
        return;
    }
    let mut command = Command::new("node");
    let (micros, captured) = sample_cost(
        command
            .arg("--perf-basic-prof")
            .arg(workload::source("busy.js")),
    );
    captured.assert_complete();
    assert!(
        micros <= limit(10.0, 36.0),
        "{micros:.2} us: {}",
        captured.closing
    );
}

/// What a capture of all processes takes with two busy cores.
struct Taken {
    /// Most bytes of anonymous memory and maps, over its whole life.
    memory: u64,
    /// Share of a core, once it has settled.
    cpu: f64,
}

fn two_busy_cores(program: &PathBuf, rate: u32, seconds: u32) -> Taken {
    let _busy = [(); 2].map(|()| Workload::start(&mut Command::new(program)));
    let mut capture = Plan {
        options: &["--all"],
        seconds,
        rate: Some(rate),
    }
    .start("folded");
    capture.await_attached();
    let ends = Instant::now() + Duration::from_secs(u64::from(seconds)) - Duration::from_secs(1);
    let settled = Instant::now() + SETTLED;
    let (mut memory, mut cpu) = (0, [None; 2]);
    capture.watch(LOOK, |pid| {
        memory = memory.max(cost::anonymous(pid) + cost::maps(pid));
        let now = Instant::now();
        let look = (now, cost::cpu(pid));
        if now >= settled && cpu[0].is_none() {
            cpu[0] = Some(look);
        } else if now < ends {
            cpu[1] = Some(look);
        }
        false
    });
    let captured = capture.end();
    let [(from, before), (to, after)] = cpu.map(Option::unwrap);
    let cpu = (after - before).as_secs_f64() / (to - from).as_secs_f64();
    let expected = u64::from(2 * rate * seconds);
    assert!(
        captured.samples * 2 >= expected,
        "the cores were not busy: {}",
        captured.closing
    );
    println!(
        "{rate} Hz: {} KiB, {:.3} % of a core, {}",
        memory >> 10,
        cpu * 100.0,
        captured.closing
    );
    Taken { memory, cpu }
}

#[test]
fn two_busy_cores_take_little_and_no_more_memory_at_a_higher_rate() {
    let Some(_alone) = alone() else { return };
    let Some(program) = workload::built("busy-c") else {
        return;
    };
    let slow = two_busy_cores(&program, 99, 14);
    let fast = two_busy_cores(&program, 999, 8);
    assert!(
        slow.cpu <= limit(0.001, 0.02),
        "{:.3} % of a core",
        slow.cpu * 100.0
    );
    assert!(
        slow.memory <= limit(24 << 20, 64 << 20),
        "{} bytes",
        slow.memory
    );
    assert!(
        fast.memory <= slow.memory + limit(2 << 20, 16 << 20),
        "{} bytes, {} at 99 Hz",
        fast.memory,
        slow.memory
    );
}

/// Waits until a program of this capture has run: the timers fire on every core that is busy.
fn await_first_run(capture: &Capture) {
    poll_for("a run of a program", workload::SOON, || {
        let ran = cost::hooks(capture.id()) > 0 && cost::runs(capture.id()).count > 0;
        Ok(ran.then_some(()))
    })
    .unwrap();
}

#[test]
fn the_first_sample_comes_300_milliseconds_after_exec() {
    let Some(_alone) = alone() else { return };
    let Some(program) = workload::built("busy-c") else {
        return;
    };
    let within = Duration::from_millis(limit(300, 3000));
    let workload = Workload::start(&mut Command::new(program));
    workload.truth();
    let _stats = BpfStats::on();
    let options = ["--pid", &workload.id().to_string()];
    let (executed, clock) = (SystemTime::now(), Instant::now());
    let capture = Plan {
        options: &options,
        seconds: 2,
        rate: Some(999),
    }
    .start("pb.gz");
    await_first_run(&capture);
    let first = clock.elapsed();
    let captured = capture.end();
    let pprof = captured.pprof();
    let said = UNIX_EPOCH + Duration::from_nanos(u64::try_from(pprof.time).unwrap());
    let said = said.duration_since(executed).unwrap();
    println!("first run after {first:?}, first sample after {said:?} as it says");
    assert!(first <= within, "first run after {first:?}");
    assert!(said <= within, "first sample after {said:?}");
    // Samples that come before the tables would be incomplete.
    captured.assert_complete();
    let (callee, all) = (pprof.of(CALLEE).0, pprof.all().0);
    assert!(callee * 100 >= all * 97, "{callee} of {all}");
}
