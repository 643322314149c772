//! The whole way: an OAP's tasks, by the gateway to `perigee capture`, and its stacks back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use perigee_loadtest::process::poll_for;
use perigee_loadtest::scenario::{ALL_PIPES, Scenario, free_address};
use serde_json::{Value, json};

use crate::alone;
use crate::capture::{Captured, Plan};
use crate::folded::Folded;
use crate::shares::assert_shares;
use crate::workload::{self, Workload};

const HEARTBEATS: &str = "/skywalking.v3.EBPFProcessService/keepAlive";

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

/// Hands out a task of this kind for a process.
fn post_task(scenario: &Scenario, kind: &str, process: &str) {
    let args = json!({
        "TaskId": kind,
        "TargetType": kind,
        "FixedTriggerDuration": "40",
    });
    let task = json!({"kind": "ebpf", "service": "shop", "process": process, "args": args});
    let answer = scenario.sinks[0].post("/task", &task).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// A stack at the sink.
struct Stack {
    /// The kernel's functions, innermost first.
    kernel: Vec<String>,
    /// The program's.
    user: Vec<String>,
    count: u64,
    nanos: u64,
}

/// What the sink has of a task so far.
fn stacks(scenario: &Scenario, task: &str) -> Vec<Stack> {
    let all = scenario.sinks[0].get("/stacks").unwrap().json().unwrap();
    assert_eq!(all["dropped"], 0);
    let names = |list: &Value| {
        let names = list.as_array().unwrap().iter();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let tasks = all["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["task"] == task);
    let stacks = tasks
        .flat_map(|one| one["stacks"].as_array().unwrap())
        .map(|one| Stack {
            kernel: names(&one["kernel"]),
            user: names(&one["user"]),
            count: one["count"].as_u64().unwrap(),
            nanos: one["nanos"].as_u64().unwrap(),
        });
    stacks.collect()
}

/// Stacks of an on-CPU task so far.
fn samples(scenario: &Scenario) -> Folded {
    let mut lines = String::new();
    for one in stacks(scenario, "ON_CPU") {
        let kernel = one.kernel.iter().map(|frame| format!("{frame}_[k]"));
        let frames: Vec<String> = kernel.chain(one.user).rev().collect();
        writeln!(lines, "sink;{} {}", frames.join(";"), one.count).unwrap();
    }
    Folded::parse(&lines)
}

/// Waits of an off-CPU task so far by function: how many, and how long in all.
fn waits(scenario: &Scenario, functions: [&str; 2]) -> BTreeMap<String, (u64, Duration)> {
    let mut sums = BTreeMap::new();
    for one in stacks(scenario, "OFF_CPU") {
        let mut frames = one.user.iter();
        let Some(function) = frames.find(|frame| functions.contains(&frame.as_str())) else {
            continue;
        };
        let sum: &mut (u64, Duration) = sums.entry(function.to_owned()).or_default();
        sum.0 += one.count;
        sum.1 += Duration::from_nanos(one.nanos);
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
    post_task(&scenario, "ON_CPU", "busy");
    post_task(&scenario, "OFF_CPU", "sleepers");
    poll_for("data of both tasks", TASK_WITHIN, || {
        let here = |task| !stacks(&scenario, task).is_empty();
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
