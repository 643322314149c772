//! The whole way: an OAP's tasks, by the gateway to `perigee capture`, and its stacks back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use perigee_loadtest::process::poll_for;
use perigee_loadtest::scenario::{ALL_PIPES, Arrived, Scenario, free_address};
use serde_json::json;

use crate::alone;
use crate::capture::{Captured, Plan};
use crate::folded::Folded;
use crate::shares::assert_shares;
use crate::workload::{self, SOON, Workload};

const PROCESSES: &str = "/skywalking.v3.EBPFProcessService/reportProcesses";
const HEARTBEATS: &str = "/skywalking.v3.EBPFProcessService/keepAlive";
const DATA: &str = "/skywalking.v3.EBPFProfilingService/collectProfilingData";

/// Tasks are asked for every 10 s, and what they found is sent every 5 s.
const TASK_WITHIN: Duration = Duration::from_secs(90);
/// Samples, or waits of each kind, that are compared.
const SAMPLES: u64 = 10_000;
const WAITS: u64 = 80;

/// A gateway that captures two programs on demand, often enough to compare shares within a minute.
fn start() -> Scenario {
    let metrics = free_address().unwrap();
    Scenario::start(1, |config| {
        config.pipes = ALL_PIPES;
        config.sections = format!(
            r#"capture:
  enabled: true
  metrics:
    listen: "{metrics}"
  on_cpu:
    period: 1ms
  budget:
    cpu_percent: 20
  discovery:
    rules:
      - match:
          command: "^[^ ]*/busy-c$"
        service: shop
        instance: shop-1
        process: busy
      - match:
          command: "^[^ ]*/sleepers "
        service: shop
        instance: shop-1
        process: sleepers
"#
        );
    })
    .unwrap()
}

/// What the sink has by this method of this service.
fn arrived(scenario: &Scenario, method: &str, service: &str) -> Vec<Arrived> {
    let mut all = scenario.arrived(method).unwrap();
    all.retain(|one| one.service == service);
    all
}

/// Waits until a process is reported, and returns the id that the sink gave it.
fn await_process(scenario: &Scenario, name: &str) -> String {
    poll_for(&format!("the process {name}"), SOON, || {
        let all = arrived(scenario, PROCESSES, "shop");
        let mut ids = all.iter().filter(|one| one.instance == "shop-1");
        Ok(ids.find_map(|one| Some(one.id.strip_prefix(name)?.strip_prefix('=')?.to_owned())))
    })
    .unwrap()
}

/// Hands out a task of this kind for a process.
fn post_task(scenario: &Scenario, kind: &str, process: &str) {
    let args = json!({
        "TaskId": kind,
        "ProcessId": process,
        "TargetType": kind,
        "FixedTriggerDuration": "40",
    });
    let answer = scenario.sinks[0]
        .post("/task", &json!({"kind": "ebpf", "args": args}))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Stacks of an on-CPU task so far.
fn samples(scenario: &Scenario) -> Folded {
    let mut lines = String::new();
    for one in arrived(scenario, DATA, "ON_CPU") {
        let stack = one.id.strip_prefix("on-cpu:").unwrap();
        let (stack, count) = stack.rsplit_once('=').unwrap();
        writeln!(lines, "sink;{stack} {count}").unwrap();
    }
    Folded::parse(&lines)
}

/// Waits of an off-CPU task so far by function: how many, and how long in all.
fn waits(scenario: &Scenario, functions: [&str; 2]) -> BTreeMap<String, (u64, Duration)> {
    let mut sums = BTreeMap::new();
    for one in arrived(scenario, DATA, "OFF_CPU") {
        let stack = one.id.strip_prefix("off-cpu:").unwrap();
        let (stack, numbers) = stack.rsplit_once('=').unwrap();
        let (switches, nanos) = numbers.split_once('/').unwrap();
        let mut frames = stack.split(';');
        let Some(function) = frames.find(|frame| functions.contains(frame)) else {
            continue;
        };
        let sum: &mut (u64, Duration) = sums.entry(function.to_owned()).or_default();
        sum.0 += switches.parse::<u64>().unwrap();
        sum.1 += Duration::from_nanos(nanos.parse().unwrap());
    }
    sums
}

/// Asserts that each stack has the same share in both, within four standard errors.
fn assert_same(one: &Folded, other: &Folded) {
    let count = one.total().min(other.total()) as f64;
    let shares = [one.shares(), other.shares()];
    for stack in shares.iter().flat_map(BTreeMap::keys) {
        let [one, other] =
            [0, 1].map(|side: usize| shares[side].get(stack).copied().unwrap_or(0.0));
        let mean = (one + other) / 2.0;
        let error = (2.0 * mean * (1.0 - mean) / count).sqrt();
        let differ = (one - other).abs();
        assert!(
            differ <= 4.0 * error + 0.002,
            "{stack}: {one:.4} at the sink, {other:.4} here"
        );
    }
}

fn local(workload: &Workload, options: &[&str], rate: Option<u32>, extension: &str) -> Captured {
    let pid = workload.id().to_string();
    let options = [&["--pid", &pid], options].concat();
    Plan {
        options: &options,
        seconds: 12,
        rate,
    }
    .start(extension)
    .end()
}

#[test]
fn tasks_of_an_oap_yield_the_stacks_that_a_local_profile_yields() {
    let Some(_alone) = alone() else { return };
    let (Some(busy), Some(sleepers)) = (workload::built("busy-c"), workload::built("sleepers"))
    else {
        return;
    };
    let busy = Workload::start(&mut Command::new(busy));
    let sleepers = Workload::start(Command::new(sleepers).arg("10000"));
    sleepers.begin();
    let scenario = start();
    post_task(&scenario, "ON_CPU", &await_process(&scenario, "busy"));
    post_task(&scenario, "OFF_CPU", &await_process(&scenario, "sleepers"));
    poll_for("data of both tasks", TASK_WITHIN, || {
        let here = |task| !arrived(&scenario, DATA, task).is_empty();
        Ok((here("ON_CPU") && here("OFF_CPU")).then_some(()))
    })
    .unwrap();
    let on_cpu = local(&busy, &[], Some(999), "folded").folded();
    let off_cpu = local(&sleepers, &["--off-cpu"], None, "pb.gz").pprof();

    let functions = ["sleep_forty", "sleep_sixty"];
    poll_for("enough data of both tasks", TASK_WITHIN, || {
        let waits = waits(&scenario, functions);
        let enough = waits.len() == 2 && waits.values().all(|(count, _)| *count >= WAITS);
        Ok((enough && samples(&scenario).total() >= SAMPLES).then_some(()))
    })
    .unwrap();
    let samples = samples(&scenario);
    assert_shares(&busy, &samples);
    assert_same(&samples, &on_cpu);
    for (function, (count, time)) in waits(&scenario, functions) {
        let mean = time / u32::try_from(count).unwrap();
        let (here, time) = off_cpu.of(&function);
        let here = time / u32::try_from(here).unwrap();
        let differ = mean.abs_diff(here);
        assert!(
            differ <= Duration::from_millis(1),
            "{function}: {mean:?} at the sink, {here:?} here"
        );
    }
    assert!(
        scenario.sinks[0].count(HEARTBEATS).unwrap() > 0,
        "no heartbeat has come"
    );
}
