//! Tasks, from the OAP's command to its stacks.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use perigee::sink::SinkHandle;
use perigee::sink::fault::Fault;
use perigee::sink::stacks::Target;
use perigee_ebpf_profiler::oap::Settings;
use perigee_ebpf_profiler::profile::Kind;
use serde_json::json;
use tonic::Code;

use crate::bench::*;
use crate::kernel::{Kernel, Seen, Sums};

const PID: u32 = 7;

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// Waits for what has no bell: a capture in the kernel has none.
async fn until(kernel: &Kernel, holds: impl Fn(&Seen) -> bool) {
    soon(async {
        while !holds(&kernel.seen.lock().unwrap()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits until all sessions have ended.
async fn ended(kernel: &Kernel) {
    until(kernel, |seen| seen.open == 0).await;
}

#[tokio::test]
async fn both_kinds_of_a_task_run_and_what_arrives_is_what_was_captured() {
    let sink = sink();
    let gateway = gateway(&sink, |_| {}).await;
    let kernel = Kernel::new();
    let before = now_ms();
    let agent = Running::start(settings(gateway.address), &kernel, &[entity(PID, "web")]);
    hand_out(&sink, "on", 2, &json!({}));
    hand_out(&sink, "off", 2, &json!({ "TargetType": "OFF_CPU" }));
    let expected = || {
        [Kind::OnCpu, Kind::OffCpu]
            .map(|kind| kernel.yielded(kind, PID))
            .to_vec()
    };
    soon(sink.wait_for_stacks(|stacks| stacks.tasks.len() == 2)).await;
    ended(&kernel).await;
    all_arrived(&sink, expected).await;
    let stacks = sink.stacks();
    for (task, target) in [("on", Target::OnCpu), ("off", Target::OffCpu)] {
        let task = of(&stacks, task, "web").unwrap();
        assert_eq!((task.target, task.redefined), (target, 0));
        assert!(task.uploads > 1, "{task:?}");
        assert!((before..=now_ms()).contains(&task.started_ms), "{task:?}");
        let ran = task.latest_ms - task.started_ms;
        assert!((2000..20_000).contains(&ran), "{ran} ms");
    }
    {
        let seen = kernel.seen.lock().unwrap();
        assert_eq!(seen.requests.len(), 2, "known tasks are not started again");
        assert!(
            seen.requests
                .iter()
                .all(|it| it.period == Duration::from_millis(9) && it.elastic)
        );
    }
    agent.stop().await;
    soon(gateway.stop(Duration::from_secs(10))).await;
}

/// Rover forgets what a failed stream held (rover.md 3.1).
#[tokio::test]
async fn a_failed_stream_loses_nothing_and_counts_nothing_twice() {
    let sink = sink();
    let kernel = Kernel {
        stacks: 30,
        ..Kernel::new()
    };
    // Each call is ended when the sink has taken a part of it.
    sink.set_fault(Fault {
        path: Some("collectProfilingData".to_owned()),
        fail_after: Some(11),
        ..Fault::default()
    });
    let agent = Running::start(settings(sink.listen()), &kernel, &[entity(PID, "web")]);
    hand_out(&sink, "t", 1, &json!({}));
    let failed = |state: &perigee::sink::state::State| state.errors.get("UNAVAILABLE") >= Some(&3);
    soon(sink.wait_until(failed)).await;
    sink.set_fault(Fault::default());
    ended(&kernel).await;
    all_arrived(&sink, || vec![kernel.yielded(Kind::OnCpu, PID)]).await;
    agent.stop().await;
}

/// Rover's maps hold 10000 (rover.md 3.3).
#[tokio::test]
async fn more_than_ten_thousand_stacks_arrive_complete() {
    let sink = sink();
    let gateway = gateway(&sink, |_| {}).await;
    let kernel = Kernel {
        stacks: 12_000,
        ..Kernel::new()
    };
    let agent = Running::start(settings(gateway.address), &kernel, &[entity(PID, "web")]);
    hand_out(&sink, "t", 1, &json!({}));
    called(&sink, COLLECT, 1).await;
    ended(&kernel).await;
    all_arrived(&sink, || vec![kernel.yielded(Kind::OnCpu, PID)]).await;
    let stacks = sink.stacks();
    assert_eq!(of(&stacks, "t", "web").unwrap().stacks.len(), 12_000);
    assert_eq!(of(&stacks, "t", "web").unwrap().redefined, 0);
    agent.stop().await;
}

#[tokio::test]
async fn a_task_of_a_process_that_appears_later_runs_then() {
    let sink = sink();
    let kernel = Kernel::new();
    let agent = Running::start(settings(sink.listen()), &kernel, &[entity(1, "other")]);
    hand_out(&sink, "t", 60, &json!({ "ProcessId": id_of("web") }));
    // A task whose time of change is later, which must not make the first one forgotten.
    let later = (now_ms() + 1).to_string();
    hand_out(
        &sink,
        "u",
        1,
        &json!({ "ProcessId": id_of("other"), "TaskUpdateTime": later }),
    );
    soon(sink.wait_for_stacks(|stacks| of(stacks, "u", "other").is_some())).await;
    assert!(of(&sink.stacks(), "t", "web").is_none());
    agent.set(&[entity(1, "other"), entity(PID, "web")]);
    soon(sink.wait_for_stacks(|stacks| of(stacks, "t", "web").is_some())).await;
    agent.stop().await;
    all_arrived(&sink, || {
        [(1, Kind::OnCpu), (PID, Kind::OnCpu)]
            .map(|(pid, kind)| kernel.yielded(kind, pid))
            .to_vec()
    })
    .await;
}

/// Rover runs it at once (rover.md 3.1).
#[tokio::test]
async fn a_task_waits_for_its_start() {
    let sink = sink();
    let kernel = Kernel::new();
    let agent = Running::start(settings(sink.listen()), &kernel, &[entity(PID, "web")]);
    let start = now_ms() + 1500;
    hand_out(
        &sink,
        "t",
        1,
        &json!({ "TaskStartTime": start.to_string() }),
    );
    let stacks = soon(sink.wait_for_stacks(|stacks| of(stacks, "t", "web").is_some())).await;
    let began = of(&stacks, "t", "web").unwrap().started_ms;
    assert!(began >= start, "{} ms early", start - began);
    agent.stop().await;
}

#[tokio::test]
async fn a_bad_command_does_not_spoil_the_others() {
    let sink = sink();
    let kernel = Kernel::new();
    for bad in [
        json!({ "TargetType": "NETWORK" }),
        json!({ "TargetType": "HEAP" }),
        json!({ "TaskStartTime": "soon" }),
        json!({ "TriggerType": "CONTINUOUS_PROFILING" }),
    ] {
        hand_out(&sink, "bad", 1, &bad);
    }
    hand_out(&sink, "good", 1, &json!({}));
    let agent = Running::start(settings(sink.listen()), &kernel, &[entity(PID, "web")]);
    soon(sink.wait_for_stacks(|stacks| of(stacks, "good", "web").is_some())).await;
    ended(&kernel).await;
    assert_eq!(kernel.seen.lock().unwrap().requests.len(), 1);
    agent.stop().await;
}

#[tokio::test]
async fn a_kind_that_cannot_be_captured_does_not_stop_the_other() {
    let sink = sink();
    let kernel = Kernel {
        refuses: Some(Kind::OffCpu),
        ..Kernel::new()
    };
    hand_out(&sink, "off", 1, &json!({ "TargetType": "OFF_CPU" }));
    hand_out(&sink, "on", 1, &json!({}));
    let agent = Running::start(settings(sink.listen()), &kernel, &[entity(PID, "web")]);
    soon(sink.wait_for_stacks(|stacks| of(stacks, "on", "web").is_some())).await;
    agent.stop().await;
    assert_eq!(sink.stacks().tasks.len(), 1);
}

/// A process that ended just then and is to come back, a limit of the machine: the task's minute is not over.
#[tokio::test]
async fn a_task_that_could_not_begin_once_is_tried_again_in_its_time() {
    let sink = sink();
    let kernel = Kernel::new();
    kernel
        .refusals
        .store(1, std::sync::atomic::Ordering::Relaxed);
    let agent = Running::start(settings(sink.listen()), &kernel, &[entity(PID, "web")]);
    hand_out(&sink, "t", 60, &json!({}));
    soon(sink.wait_for_stacks(|stacks| of(stacks, "t", "web").is_some())).await;
    agent.stop().await;
}

#[tokio::test]
async fn what_was_captured_last_is_sent_when_the_agent_ends() {
    let sink = sink();
    let gateway = gateway(&sink, |_| {}).await;
    let kernel = Kernel::new();
    let agent = Running::start(seldom(gateway.address), &kernel, &[entity(PID, "web")]);
    hand_out(&sink, "t", 3600, &json!({}));
    until(&kernel, |seen| seen.open == 1).await;
    agent.stop().await;
    assert_eq!(kernel.seen.lock().unwrap().open, 0);
    all_arrived(&sink, || vec![kernel.yielded(Kind::OnCpu, PID)]).await;
}

/// Nothing is collected meanwhile but when a job begins or ends.
fn seldom(address: std::net::SocketAddr) -> Settings {
    Settings {
        flush: Duration::from_secs(3600),
        ..settings(address)
    }
}

#[tokio::test]
async fn a_task_has_nothing_of_what_was_captured_for_another_before_it_began() {
    let sink = sink();
    let kernel = Kernel::new();
    let agent = Running::start(seldom(sink.listen()), &kernel, &[entity(PID, "web")]);
    hand_out(&sink, "t", 3600, &json!({}));
    until(&kernel, |seen| seen.open == 1).await;
    hand_out(&sink, "u", 3600, &json!({}));
    until(&kernel, |seen| !seen.yielded.is_empty()).await;
    let before = kernel.yielded(Kind::OnCpu, PID);
    agent.stop().await;
    let stacks = sink.stacks();
    let all = kernel.yielded(Kind::OnCpu, PID);
    assert_eq!(sums(of(&stacks, "t", "web").unwrap()), all);
    let count = |sums: &Sums| sums.values().map(|(count, _)| count).sum::<u64>();
    let since = count(&all) - count(&before);
    assert!(since > 0);
    assert_eq!(count(&sums(of(&stacks, "u", "web").unwrap())), since);
}

#[tokio::test]
async fn a_process_that_starts_anew_is_followed_to_its_new_pid_at_once() {
    let sink = sink();
    let kernel = Kernel::new();
    let agent = Running::start(seldom(sink.listen()), &kernel, &[entity(PID, "web")]);
    hand_out(&sink, "t", 3600, &json!({}));
    until(&kernel, |seen| seen.open == 1).await;
    agent.set(&[]);
    until(&kernel, |seen| seen.open == 0).await;
    agent.set(&[entity(PID + 1, "web")]);
    let aimed = BTreeSet::from([PID + 1]);
    until(&kernel, |seen| {
        seen.open == 1 && seen.targets[&true] == aimed
    })
    .await;
    agent.stop().await;
    let mut expected = kernel.yielded(Kind::OnCpu, PID);
    expected.extend(kernel.yielded(Kind::OnCpu, PID + 1));
    all_arrived(&sink, || vec![expected.clone()]).await;
}

#[tokio::test]
async fn no_stream_is_opened_when_there_is_nothing_to_say() {
    let sink = sink();
    let kernel = Kernel {
        stacks: 0,
        ..Kernel::new()
    };
    let agent = Running::start(settings(sink.listen()), &kernel, &[entity(PID, "web")]);
    hand_out(&sink, "t", 1, &json!({}));
    until(&kernel, |seen| !seen.requests.is_empty() && seen.open == 0).await;
    agent.stop().await;
    assert!(!sink.snapshot().methods.contains_key(COLLECT));
}

/// A process that starts anew keeps its id and has another PID; Rover shares a map between three loops
/// without a lock (rover.md 3.1).
#[tokio::test]
async fn tasks_processes_and_uploads_that_change_all_at_once_lose_nothing() {
    const PROCESSES: u32 = 20;
    let sink = sink();
    let gateway = gateway(&sink, |_| {}).await;
    let kernel = Kernel::new();
    let name = |number: u32| format!("p{number}");
    let entities = |round: u32| -> Vec<_> {
        let all = (0..PROCESSES).filter(|number| !(number + round).is_multiple_of(5));
        all.map(|number| entity(1 + number + 1000 * round, &name(number)))
            .collect()
    };
    let settings = Settings {
        flush: Duration::from_millis(20),
        poll: Duration::from_millis(20),
        ..settings(gateway.address)
    };
    let agent = Running::start(settings, &kernel, &entities(0));
    hand_out(&sink, "t", 2, &json!({}));
    for round in 1..10 {
        called(&sink, QUERY, u64::from(round) * 5).await;
        agent.set(&entities(round));
    }
    soon(sink.wait_for_stacks(|stacks| stacks.tasks.len() == PROCESSES as usize)).await;
    ended(&kernel).await;
    all_arrived(&sink, || {
        (0..PROCESSES)
            .map(|number| merged(&kernel, number))
            .collect()
    })
    .await;
    let ids: BTreeSet<_> = sink
        .stacks()
        .tasks
        .into_iter()
        .map(|task| task.process)
        .collect();
    assert_eq!(
        ids,
        (0..PROCESSES).map(|number| id_of(&name(number))).collect()
    );
    agent.stop().await;
}

/// What the processes of a number have done, whatever their PIDs.
fn merged(kernel: &Kernel, number: u32) -> Sums {
    let pids: Vec<_> = {
        let seen = kernel.seen.lock().unwrap();
        let pids = seen.yielded.keys().map(|(_, pid)| *pid);
        pids.filter(|pid| pid % 1000 == 1 + number).collect()
    };
    let mut merged = Sums::new();
    for pid in pids {
        merged.extend(kernel.yielded(Kind::OnCpu, pid));
    }
    merged
}

#[tokio::test]
async fn data_that_are_refused_for_good_do_not_stop_what_follows() {
    let sink = sink();
    let kernel = Kernel::new();
    let refusing = |refuse: Option<Code>| Fault {
        path: Some("collectProfilingData".to_owned()),
        refuse: refuse.map(perigee::sink::fault::CodeName),
        ..Fault::default()
    };
    sink.set_fault(refusing(Some(Code::Internal)));
    let settings = Settings {
        patience: Duration::from_millis(200),
        ..settings(sink.listen())
    };
    let agent = Running::start(settings, &kernel, &[entity(PID, "web")]);
    hand_out(&sink, "lost", 1, &json!({}));
    let failed = |state: &perigee::sink::state::State| state.errors.get("INTERNAL") >= Some(&1);
    soon(sink.wait_until(failed)).await;
    ended(&kernel).await;
    soon(given_up(&sink)).await;
    sink.set_fault(refusing(None));
    hand_out(&sink, "t", 1, &json!({}));
    soon(sink.wait_for_stacks(|stacks| of(stacks, "t", "web").is_some())).await;
    assert!(of(&sink.stacks(), "lost", "web").is_none());
    agent.stop().await;
}

/// Waits until nobody tries to send any more: the agent polls on and sends nothing meanwhile.
async fn given_up(sink: &SinkHandle) {
    let calls = || sink.snapshot().methods[COLLECT].calls;
    loop {
        let before = (calls(), sink.snapshot().methods[QUERY].calls);
        called(sink, QUERY, before.1 + 10).await;
        if calls() == before.0 {
            return;
        }
    }
}
