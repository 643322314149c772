use std::sync::Arc;
use std::time::SystemTime;

use super::*;
use crate::profile::{Frame, Process, Stack, Summary};

const PID: u32 = 7;

fn job(task: &str) -> Job {
    Job {
        task: task.into(),
        process: format!("process of {task}").into(),
    }
}

fn ours() -> BTreeSet<u32> {
    BTreeSet::from([PID])
}

/// Stacks of process 7, frames by names that stand apart by a space, innermost first.
fn profile(kind: Kind, stacks: &[(&str, &str, u64, u64)]) -> Profile {
    let mut profile = Profile {
        kind,
        period: Duration::from_millis(9),
        started: SystemTime::UNIX_EPOCH,
        duration: Duration::from_secs(5),
        processes: vec![Process {
            pid: PID,
            name: "seven".to_owned(),
        }],
        modules: Vec::new(),
        frames: Vec::new(),
        stacks: Vec::new(),
        summary: Summary::default(),
    };
    for (kernel, user, count, nanos) in stacks {
        let kernel = frames(&mut profile, true, kernel);
        let user = frames(&mut profile, false, user);
        profile.stacks.push(Stack {
            process: 0,
            kernel,
            user,
            count: *count,
            nanos: *nanos,
            complete: true,
            preempted: false,
        });
    }
    profile
}

/// A frame for each name, even if there is one of that name.
fn frames(profile: &mut Profile, kernel: bool, names: &str) -> Vec<u32> {
    let mut indices = Vec::new();
    for name in names.split_whitespace() {
        indices.push(u32::try_from(profile.frames.len()).unwrap());
        profile.frames.push(Frame {
            name: Arc::from(name),
            kernel,
            module: None,
            address: profile.frames.len() as u64,
        });
    }
    indices
}

type Told<'a> = (Option<(&'a str, i64, i64)>, Vec<(i32, String)>, i32, i64);

/// What a message says: task and time, ids and names of its stacks, count, duration.
fn told(message: &sw::EbpfProfilingData) -> Told<'_> {
    let task = message.task.as_ref();
    let task = task.map(|task| (&*task.task_id, task.profiling_start_time, task.current_time));
    let (stacks, count, duration) = match message.profiling.as_ref().unwrap() {
        Profiling::OnCpu(on) => (&on.stacks, on.dump_count, 0),
        Profiling::OffCpu(off) => (&off.stacks, off.switch_count, off.duration),
    };
    let stacks = stacks.iter().map(|stack| {
        let half = ["k", "u"][usize::try_from(stack.stack_type).unwrap()];
        (
            stack.stack_id,
            format!("{half} {}", stack.stack_symbols.join(" ")),
        )
    });
    (task, stacks.collect(), count, duration)
}

fn with_one(kind: Kind, stacks: &[(&str, &str, u64, u64)]) -> Outbox {
    let mut outbox = Outbox::default();
    outbox.open(&job("t"), kind, 1000);
    assert_eq!(outbox.add(&job("t"), &profile(kind, stacks), &ours()), 0);
    outbox
}

/// Sends all that is in flight, and returns it.
fn drained(outbox: &mut Outbox) -> Vec<sw::EbpfProfilingData> {
    let mut all = Vec::new();
    while let Some(parcel) = outbox.parcel() {
        let (messages, contents) = parcel.split();
        all.extend(messages);
        outbox.delivered(&contents);
    }
    all
}

fn counts(messages: &[sw::EbpfProfilingData]) -> Vec<i32> {
    messages.iter().map(|message| told(message).2).collect()
}

#[test]
fn each_different_stack_is_a_message_kernel_first_innermost_first() {
    let stacks = [
        ("irq", "leaf main", 3, 30),
        ("", "leaf main", 4, 40),
        ("idle", "", 5, 50),
        ("", "", 6, 60),
        // Other frames of the same names.
        ("irq", "leaf main", 10, 100),
    ];
    let mut outbox = with_one(Kind::OnCpu, &stacks);
    assert!(outbox.parcel().is_none(), "not flushed");
    outbox.flush(6000);
    let messages = drained(&mut outbox);
    let told: Vec<_> = messages.iter().map(told).collect();
    let text = |id: i32, text: &str| (id, text.to_owned());
    let task = Some(("t", 1000, 6000));
    assert_eq!(
        told,
        [
            (task, vec![text(2, "u leaf main")], 4, 0),
            (None, vec![text(4, "u [MISSING]")], 6, 0),
            (None, vec![text(1, "k irq"), text(2, "u leaf main")], 13, 0),
            (None, vec![text(3, "k idle")], 5, 0),
        ]
    );
    assert_eq!(
        messages[0].task.as_ref().unwrap().process_id,
        "process of t"
    );
}

#[test]
fn counts_are_deltas_and_stacks_keep_their_numbers() {
    let mut outbox = with_one(Kind::OnCpu, &[("", "a", 1, 0), ("", "b", 2, 0)]);
    outbox.flush(2000);
    let first = drained(&mut outbox);
    outbox.add(
        &job("t"),
        &profile(Kind::OnCpu, &[("", "b", 5, 0)]),
        &ours(),
    );
    outbox.flush(3000);
    let second = drained(&mut outbox);
    assert_eq!(counts(&first), [1, 2]);
    assert_eq!(counts(&second), [5]);
    assert_eq!(told(&first[1]).1, told(&second[0]).1);
    assert_eq!(told(&second[0]).0, Some(("t", 1000, 3000)));
}

#[test]
fn waits_have_count_and_duration_and_those_that_the_scheduler_imposed_are_left_out() {
    let mut profile = profile(
        Kind::OffCpu,
        &[("schedule", "read", 2, 700), ("", "spin", 9, 9)],
    );
    profile.stacks[1].preempted = true;
    let mut outbox = Outbox::default();
    outbox.open(&job("t"), Kind::OffCpu, 1000);
    outbox.add(&job("t"), &profile, &ours());
    outbox.flush(2000);
    let messages = drained(&mut outbox);
    assert_eq!(messages.len(), 1);
    let (_, _, count, duration) = told(&messages[0]);
    assert_eq!((count, duration), (2, 700));
}

#[test]
fn a_job_gets_what_its_processes_did_and_nothing_of_another_kind() {
    let mut outbox = with_one(Kind::OnCpu, &[]);
    let others = BTreeSet::from([8]);
    let on = profile(Kind::OnCpu, &[("", "a", 1, 0)]);
    outbox.add(&job("t"), &on, &others);
    outbox.add(&job("u"), &on, &ours());
    outbox.add(
        &job("t"),
        &profile(Kind::OffCpu, &[("", "a", 1, 0)]),
        &ours(),
    );
    assert_eq!(outbox.outstanding(), 0);
    outbox.flush(2000);
    assert!(outbox.parcel().is_none());
}

#[test]
fn the_task_is_told_once_for_each_job_in_a_stream() {
    let mut outbox = Outbox::default();
    for task in ["t", "u"] {
        outbox.open(&job(task), Kind::OnCpu, 1000);
        let stacks = [("", "a", 1, 0), ("", "b", 2, 0)];
        outbox.add(&job(task), &profile(Kind::OnCpu, &stacks), &ours());
    }
    outbox.flush(2000);
    let messages = drained(&mut outbox);
    let tasks: Vec<_> = messages.iter().map(|message| told(message).0).collect();
    let task = |id| Some((id, 1000, 2000));
    assert_eq!(tasks, [task("t"), None, task("u"), None]);
}

/// Rover forgets it (rover.md 3.1).
#[test]
fn what_failed_is_sent_again_under_its_time_and_what_came_meanwhile_follows() {
    let mut outbox = with_one(Kind::OnCpu, &[("", "a", 1, 0)]);
    outbox.flush(2000);
    let lost = outbox.parcel().unwrap();
    outbox.add(
        &job("t"),
        &profile(Kind::OnCpu, &[("", "a", 2, 0)]),
        &ours(),
    );
    outbox.flush(3000);
    outbox.add(
        &job("t"),
        &profile(Kind::OnCpu, &[("", "a", 3, 0)]),
        &ours(),
    );
    outbox.flush(4000);
    let again = drained(&mut outbox);
    assert_eq!(lost.messages, again);
    assert_eq!(told(&again[0]).0, Some(("t", 1000, 2000)));
    outbox.flush(5000);
    let rest = drained(&mut outbox);
    assert_eq!(counts(&rest), [5]);
    assert_eq!(told(&rest[0]).0, Some(("t", 1000, 5000)));
    assert_eq!(outbox.outstanding(), 0);
}

/// Rover's map holds 10000 (rover.md 3.3).
#[test]
fn more_than_ten_thousand_stacks_go_out_complete_in_bounded_streams() {
    const STACKS: u32 = 25_000;
    let long = "x".repeat(1000);
    let names: Vec<_> = (0..STACKS)
        .map(|number| format!("{long}{}", number % 500))
        .collect();
    let stacks: Vec<_> = (0..STACKS as usize)
        .map(|number| (format!("k{number}"), number as u64 + 1))
        .collect();
    let stacks: Vec<_> = stacks
        .iter()
        .zip(&names)
        .map(|((kernel, count), user)| (kernel.as_str(), user.as_str(), *count, 0))
        .collect();
    let mut outbox = with_one(Kind::OnCpu, &stacks);
    outbox.flush(2000);
    let (mut streams, mut sum, mut pairs) = (0, 0, BTreeSet::new());
    while let Some(parcel) = outbox.parcel() {
        streams += 1;
        let (messages, contents) = parcel.split();
        let bytes: usize = messages.iter().map(Message::encoded_len).sum();
        assert!(
            messages.len() <= MOST_MESSAGES && bytes < LONGEST_STREAM + 2000,
            "{bytes}"
        );
        assert!(messages[0].task.is_some());
        for message in &messages {
            let (_, stacks, count, _) = told(message);
            sum += u64::try_from(count).unwrap();
            assert!(pairs.insert(stacks), "told twice");
        }
        outbox.delivered(&contents);
    }
    assert_eq!(pairs.len(), STACKS as usize);
    assert_eq!(sum, u64::from(STACKS) * (u64::from(STACKS) + 1) / 2);
    assert!(streams > 12, "{streams}");
}

#[test]
fn stacks_that_are_not_remembered_are_counted() {
    let names: Vec<_> = (0..=stacks::MOST_LISTS)
        .map(|number| format!("f{number}"))
        .collect();
    let stacks: Vec<_> = names.iter().map(|name| ("", name.as_str(), 2, 0)).collect();
    let profile = profile(Kind::OnCpu, &stacks);
    let mut outbox = with_one(Kind::OnCpu, &[]);
    assert_eq!(outbox.add(&job("t"), &profile, &ours()), 2);
    assert_eq!(outbox.outstanding(), 2 * stacks::MOST_LISTS as u64);
    // Those that are known still fit.
    assert_eq!(outbox.add(&job("t"), &profile, &ours()), 2);
}

#[test]
fn a_count_that_the_protocol_cannot_say_is_told_in_parts() {
    let big = i32::MAX as u64 + 5;
    let mut outbox = with_one(Kind::OnCpu, &[("", "a", big, 0)]);
    outbox.flush(2000);
    assert_eq!(counts(&drained(&mut outbox)), [i32::MAX]);
    outbox.flush(2000);
    let rest = drained(&mut outbox);
    assert_eq!(counts(&rest), [5]);
    // A time of its own, or the OAP would overwrite the first part.
    assert_eq!(told(&rest[0]).0, Some(("t", 1000, 2001)));
}

#[test]
fn an_ended_job_is_forgotten_when_it_was_delivered_or_nobody_takes_it() {
    let start = Instant::now();
    let patience = Duration::from_secs(300);
    let mut outbox = with_one(Kind::OnCpu, &[("", "a", 3, 0)]);
    outbox.flush(2000);
    assert_eq!(
        outbox.give_up(start + 2 * patience, patience),
        0,
        "still runs"
    );
    outbox.end(&job("t"), start);
    assert_eq!(outbox.give_up(start + patience / 2, patience), 0);
    assert_eq!(outbox.give_up(start + patience, patience), 3);
    assert!(outbox.jobs.is_empty());

    let mut outbox = with_one(Kind::OnCpu, &[("", "a", 3, 0)]);
    outbox.end(&job("t"), start);
    outbox.flush(2000);
    drained(&mut outbox);
    assert!(outbox.jobs.is_empty());
}

/// The budget is 64 MiB for the whole process (`capture.budget.memory`), and an OAP makes a job of each
/// process of a service.
#[test]
fn what_all_jobs_remember_is_bounded_together() {
    let long = "x".repeat(4096);
    let mut outbox = Outbox::default();
    let mut kept = 0;
    for number in 0..12 {
        let job = job(&number.to_string());
        outbox.open(&job, Kind::OnCpu, 1000);
        let names: Vec<_> = (0..3000)
            .map(|it| format!("{number}_{it}_{long}"))
            .collect();
        let stacks: Vec<_> = names.iter().map(|it| ("", it.as_str(), 1, 1)).collect();
        kept += 3000 - outbox.add(&job, &profile(Kind::OnCpu, &stacks), &ours());
    }
    let bytes = kept * 4096;
    assert!(bytes < 64 << 20, "{} MiB of names", bytes >> 20);
}

#[test]
fn what_is_sent_or_forgotten_makes_room() {
    let mut outbox = Outbox::new(600);
    let begin = Instant::now();
    let full = profile(
        Kind::OnCpu,
        &[
            ("", "a", 1, 0),
            ("", "b", 1, 0),
            ("", "c", 1, 0),
            ("", "d", 1, 0),
        ],
    );
    for task in ["t", "u"] {
        outbox.open(&job(task), Kind::OnCpu, 1000);
    }
    assert_eq!(outbox.add(&job("t"), &full, &ours()), 1);
    assert_eq!(outbox.add(&job("u"), &full, &ours()), 4);
    outbox.flush(2000);
    drained(&mut outbox);
    assert_eq!(
        outbox.add(&job("t"), &full, &ours()),
        1,
        "known names need no more room"
    );
    outbox.end(&job("t"), begin);
    outbox.flush(3000);
    drained(&mut outbox);
    assert_eq!(outbox.used, 0);
    assert_eq!(outbox.add(&job("u"), &full, &ours()), 1);
}
