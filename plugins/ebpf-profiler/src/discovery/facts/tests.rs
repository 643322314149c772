use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

use super::*;
use crate::discovery::testing::{Running, until};

#[test]
fn a_real_process_is_read_as_it_was_started() {
    let directory = tempfile::tempdir().unwrap();
    // The kernel cuts the name; it may hold whatever ends a field of stat(5) elsewhere.
    let program = directory.path().join("odd ) name (2) of a program");
    fs::copy("/bin/sleep", &program).unwrap();
    let mut command = Command::new(&program);
    let child = Running::new(command.arg("1000").current_dir(directory.path()));
    let facts = child.facts(|facts| facts.comm == "odd ) name (2) ");
    assert_eq!(facts.pid, child.pid());
    assert_eq!(facts.inner_pid, child.pid());
    assert_eq!(facts.arguments, [program.to_str().unwrap(), "1000"]);
    assert_eq!(facts.exe.as_deref(), program.to_str());
    assert_eq!(facts.directory.as_deref(), directory.path().to_str());
    assert_eq!(facts.name(), "odd ) name (2) of a program");
    assert_eq!(facts.uid, rustix::process::getuid().as_raw());
    assert!(facts.started > 0);
    assert!(!facts.groups.paths.is_empty());
}

#[test]
fn a_program_that_was_replaced_keeps_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("app");
    fs::copy("/bin/sleep", &program).unwrap();
    let child = Running::new(Command::new(&program).arg("1000"));
    child.facts(|facts| facts.comm == "app");
    fs::remove_file(&program).unwrap();
    assert_eq!(child.facts(|_| true).exe.as_deref(), program.to_str());
}

#[test]
fn an_argument_may_be_empty() {
    let child = Running::new(Command::new("sh").args(["-c", "read x", "", "a b", ""]));
    let facts = child.facts(|facts| facts.arguments.len() > 1);
    assert_eq!(facts.arguments, ["sh", "-c", "read x", "", "a b", ""]);
    assert_eq!(facts.command(), "sh -c read x a b");
}

#[test]
fn a_process_that_has_ended_is_gone() {
    let mut child: Child = Command::new("true").arg0("x").spawn().unwrap();
    let pid = child.id();
    // A zombie still has a name.
    until("it ends", || Proc::default().stat(pid).unwrap().is_dead());
    child.wait().unwrap();
    assert_eq!(Proc::default().facts(pid), Err(Gone { pid }));
    assert_eq!(Gone { pid: 5 }.to_string(), "process 5 is gone");
}

#[test]
fn our_own_pid_is_found_in_proc() {
    assert_eq!(Proc::default().own_pid(), Some(std::process::id()));
    assert_eq!(Proc::new("/nowhere").own_pid(), None);
    assert!(Proc::new("/nowhere").pids().is_err());
    assert!(
        Proc::default()
            .pids()
            .unwrap()
            .contains(&std::process::id())
    );
}

#[test]
fn a_short_name_is_the_kernels_and_a_cut_one_is_completed() {
    let named = |comm: &str, first: &str| {
        let facts = Facts {
            comm: comm.to_owned(),
            arguments: vec![first.to_owned()],
            ..Facts::default()
        };
        facts.name().to_owned()
    };
    assert_eq!(named("java", "/opt/jdk/bin/java-17"), "java");
    assert_eq!(
        named("a-very-long-nam", "/opt/a-very-long-name-indeed"),
        "a-very-long-name-indeed"
    );
    assert_eq!(
        named("a-very-long-nam", "something else"),
        "a-very-long-nam"
    );
}

#[test]
fn threads_of_the_kernel_and_the_dead_are_told_from_others() {
    // pid (comm) state ppid pgrp session tty tpgid flags ... threads at field 20, start at 22.
    let stat = |state: &str, flags: u32, threads: u32| {
        let text = format!(
            "2 (kthreadd) {state} 0 0 0 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 {threads} 0 77 0 0"
        );
        Stat::parse(text.as_bytes()).unwrap()
    };
    assert_eq!(stat("S", 0, 1).started, 77);
    assert!(stat("S", 2_129_984, 1).is_kernel_thread());
    assert!(!stat("S", 4_194_304, 1).is_kernel_thread());
    assert!(stat("Z", 4_227_084, 1).is_dead());
    assert!(stat("R", 0x40_0004, 1).is_dead());
    // The first thread ended, others go on.
    assert!(stat("Z", 4_227_084, 2).is_ending() && !stat("Z", 4_227_084, 2).is_dead());
    assert!(!stat("S", 4_194_304, 1).is_ending());
    for text in [
        "",
        "1",
        "1 (a",
        "1 (a)",
        "1 (a) S 1",
        "1 )a( S 0 0 0 0 -1 0",
    ] {
        assert_eq!(Stat::parse(text.as_bytes()), None, "{text}");
    }
}
