use super::*;
use crate::process::fixture::{self, Running, compiled, fake_proc};
use std::fs;
use std::process::Command;

fn processes() -> Processes {
    Processes::new(Proc::default(), Limits::default())
}

/// Each line is an executable range of memory without a name.
fn maps(starts: &[u64]) -> String {
    let line = |start: &u64| format!("{start:x}-{:x} rwxp 00000000 00:00 0 \n", start + 0x1000);
    starts.iter().map(line).collect()
}

fn starts(processes: &Processes, pid: u32) -> Vec<u64> {
    let mappings = processes.mappings(pid);
    mappings.iter().map(|it| it.region.start).collect()
}

#[test]
fn a_process_is_known_after_a_look_and_then_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let program = compiled(dir.path(), "looked_at", fixture::C, &[]);
    let mut running = Running::start(&mut Command::new(&program));
    let address = running.address();
    let (pid, now) = (running.pid(), Instant::now());
    let mut processes = processes();
    assert!(processes.find(pid, address).is_none());
    assert_eq!(processes.refresh(pid, now), Seen::Changed);
    assert_eq!(processes.refresh(pid, now), Seen::Same);
    assert_eq!(processes.get(pid).unwrap().identity.name, "looked_at");
    let mapped = processes.find(pid, address).unwrap();
    let module = mapped.module.as_ref().unwrap();
    assert_eq!(*module.path, *program.to_str().unwrap());
    assert!(module.elf.segment(address - mapped.bias).is_some());

    running.end();
    assert_eq!(processes.refresh(pid, now), Seen::Gone);
    assert!(processes.find(pid, address).is_some(), "remembered");
}

#[test]
fn what_a_process_was_before_exec_is_remembered_for_a_while() {
    let script = "echo ready; read line; exec cat";
    let mut running = Running::start(Command::new("/bin/sh").args(["-c", script]));
    assert_eq!(running.line(), "ready");
    let (pid, now) = (running.pid(), Instant::now());
    let mut processes = processes();
    processes.refresh(pid, now);
    let shell = processes.mappings(pid)[0].clone();
    running.tell("go");
    running.tell("cat answers");
    assert_eq!(running.line(), "cat answers");

    assert_eq!(processes.refresh(pid, now), Seen::Changed);
    assert_eq!(processes.get(pid).unwrap().identity.name, "cat");
    assert_ne!(starts(&processes, pid)[0], shell.region.start);
    let found = processes.find(pid, shell.region.start).unwrap();
    assert_eq!(found.region, shell.region);
    processes.sweep(now + Limits::default().age);
    assert!(processes.find(pid, shell.region.start).is_none());
}

#[test]
fn a_process_is_remembered_for_a_while_after_its_end() {
    let dir = fake_proc(7, 1, &maps(&[0x1000]));
    let mut processes = Processes::new(Proc::at(dir.path()), Limits::default());
    let (now, age) = (Instant::now(), Limits::default().age);
    processes.refresh(7, now);
    fs::remove_dir_all(dir.path().join("7")).unwrap();
    processes.exited(7, now);
    processes.exited(7, now + age);
    assert!(processes.get(7).unwrap().has_ended());
    processes.sweep(now + age - Duration::from_millis(1));
    assert_eq!(starts(&processes, 7), [0x1000]);
    processes.sweep(now + age);
    assert!(processes.get(7).is_none());
}

#[test]
fn an_end_that_nobody_told_is_noticed() {
    let dir = fake_proc(7, 1, &maps(&[0x1000]));
    let mut processes = Processes::new(Proc::at(dir.path()), Limits::default());
    let now = Instant::now();
    processes.refresh(7, now);
    processes.sweep(now);
    assert!(!processes.get(7).unwrap().has_ended());
    fs::remove_dir_all(dir.path().join("7")).unwrap();
    processes.sweep(now);
    assert!(processes.get(7).unwrap().has_ended());
}

#[test]
fn one_that_lives_after_all_is_not_forgotten() {
    let dir = fake_proc(7, 1, &maps(&[0x1000]));
    let mut processes = Processes::new(Proc::at(dir.path()), Limits::default());
    let now = Instant::now();
    processes.refresh(7, now);
    processes.exited(7, now);
    assert_eq!(processes.refresh(7, now), Seen::Same);
    processes.sweep(now + Limits::default().age);
    assert!(processes.get(7).is_some());
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let dir = fake_proc(7, 1, &maps(&[0x1000]));
    let mut processes = Processes::new(Proc::at(dir.path()), Limits::default());
    let now = Instant::now();
    processes.refresh(7, now);
    let next = fake_proc(7, 2, &maps(&[0x8000]));
    let mut other = Processes {
        proc: Proc::at(next.path()),
        ..processes
    };
    assert_eq!(other.refresh(7, now), Seen::Changed);
    assert_eq!(other.get(7).unwrap().identity.started, 2);
    assert!(other.find(7, 0x1000).is_none(), "the other's code");
    assert!(other.find(7, 0x8000).is_some());
}

#[test]
fn too_many_ended_processes_are_not_remembered() {
    let limits = Limits {
        exited: 3,
        ..Limits::default()
    };
    let mut processes = Processes::new(Proc::at("/nonexistent"), limits);
    let now = Instant::now();
    for pid in 1..=5 {
        let dir = fake_proc(pid, 1, &maps(&[0x1000]));
        processes.proc = Proc::at(dir.path());
        processes.refresh(pid, now);
        processes.exited(pid, now);
    }
    let mut left: Vec<u32> = processes.processes.keys().copied().collect();
    left.sort_unstable();
    assert_eq!(left, [3, 4, 5]);
}

#[test]
fn a_child_has_its_parent_s_code_until_it_is_looked_at() {
    let dir = fake_proc(7, 1, &maps(&[0x1000, 0x4000]));
    let mut processes = Processes::new(Proc::at(dir.path()), Limits::default());
    let now = Instant::now();
    processes.refresh(7, now);
    processes.forked(7, 8);
    assert_eq!(starts(&processes, 8), [0x1000, 0x4000]);
    assert_eq!(processes.refresh(8, now), Seen::Gone, "it was short");
    assert_eq!(starts(&processes, 8), [0x1000, 0x4000]);

    let child = fake_proc(8, 2, &maps(&[0x4000, 0x9000]));
    processes.proc = Proc::at(child.path());
    assert_eq!(processes.refresh(8, now), Seen::Changed);
    assert_eq!(starts(&processes, 8), [0x4000, 0x9000]);
    assert!(processes.find(8, 0x1000).is_some(), "its past");
    processes.forked(99, 9);
    assert!(processes.get(9).is_none());
}

#[test]
fn a_process_that_is_ending_keeps_what_it_had() {
    let dir = fake_proc(7, 1, &maps(&[0x1000]));
    let mut processes = Processes::new(Proc::at(dir.path()), Limits::default());
    let now = Instant::now();
    processes.refresh(7, now);
    fs::write(dir.path().join("7/maps"), "").unwrap();
    assert_eq!(processes.refresh(7, now), Seen::Gone);
    assert_eq!(starts(&processes, 7), [0x1000]);
}

#[test]
fn generated_code_is_named_by_the_map_of_its_process() {
    let dir = fake_proc(7, 1, &maps(&[0x1000]));
    let root = dir.path().join("7/root");
    fs::write(root.join("tmp/perf-7.map"), "1000 20 JS:~f\n").unwrap();
    let mut processes = Processes::new(Proc::at(dir.path()), Limits::default());
    processes.refresh(7, Instant::now());
    processes.update_perf_map(7);
    assert_eq!(processes.generated(7, 0x1010).as_deref(), Some("JS:~f"));

    // A map that is made anew.
    fs::remove_file(root.join("tmp/perf-7.map")).unwrap();
    fs::write(root.join("tmp/perf-7.map"), "1000 20 JS:*f\n").unwrap();
    processes.update_perf_map(7);
    assert_eq!(processes.generated(7, 0x1010).as_deref(), Some("JS:*f"));
}

#[test]
fn the_map_of_a_process_that_ended_is_read_to_its_end() {
    let dir = fake_proc(7, 1, &maps(&[0x1000]));
    let map = dir.path().join("7/root/tmp/perf-7.map");
    fs::write(&map, "1000 20 early\n").unwrap();
    let mut processes = Processes::new(Proc::at(dir.path()), Limits::default());
    let now = Instant::now();
    processes.refresh(7, now);
    fs::write(&map, "1000 20 early\n1020 20 late\n").unwrap();
    fs::remove_dir_all(dir.path().join("7")).unwrap();
    processes.exited(7, now);
    processes.update_perf_map(7);
    assert_eq!(processes.generated(7, 0x1020).as_deref(), Some("late"));
}

#[test]
fn the_map_of_a_process_that_ended_before_it_was_seen_is_looked_for_on_the_host() {
    let dir = fake_proc(7, 1, &maps(&[0x1000]));
    let host = dir.path().join("1/root/tmp");
    fs::create_dir_all(&host).unwrap();
    let mut processes = Processes::new(Proc::at(dir.path()), Limits::default());
    let now = Instant::now();
    processes.refresh(7, now);
    fs::write(host.join("perf-7.map"), "1000 20 f\n").unwrap();
    fs::remove_dir_all(dir.path().join("7")).unwrap();
    processes.update_perf_map(7);
    assert_eq!(
        processes.generated(7, 0x1000),
        None,
        "it is not known to have ended"
    );
    processes.exited(7, now);
    processes.update_perf_map(7);
    assert_eq!(processes.generated(7, 0x1000).as_deref(), Some("f"));
}

#[test]
fn what_a_process_was_before_exec_goes_on_under_another_number() {
    let dir = fake_proc(7, 1, &maps(&[0x1000]));
    let mut processes = Processes::new(Proc::at(dir.path()), Limits::default());
    let now = Instant::now();
    assert!(!processes.became(7, 70, "later".to_owned(), now));
    assert!(processes.get(70).is_none());
    processes.refresh(7, now);
    let before = processes.described(7).name;
    assert!(processes.became(7, 70, "later".to_owned(), now));
    assert_eq!(processes.described(70).name, before);
    assert_eq!(processes.described(7).name, "later");
    assert!(processes.find(70, 0x1000).is_some());
    assert!(processes.find(7, 0x1000).is_none());
    processes.sweep(now + Limits::default().age);
    assert!(processes.get(70).is_none());
    assert!(processes.get(7).is_some());
}
