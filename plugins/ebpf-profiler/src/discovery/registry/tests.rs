use std::process::Command;

use serde_json::json;

use super::*;
use crate::discovery::testing::{Pretended, Running, until};

mod cost;
mod pods;

fn settings(value: serde_json::Value) -> Settings {
    serde_json::from_value(value).unwrap()
}

fn discovery(rules: &serde_json::Value) -> Discovery {
    Discovery::new(&settings(json!({ "rules": rules }))).unwrap()
}

fn of(discovery: &Discovery, pid: u32) -> Vec<Entity> {
    let entities = discovery.entities();
    entities
        .iter()
        .filter(|it| it.pid == pid)
        .cloned()
        .collect()
}

fn services(discovery: &Discovery) -> Vec<String> {
    let entities = discovery.entities();
    entities.iter().map(|it| it.service.clone()).collect()
}

fn property<'a>(entity: &'a Entity, name: &str) -> &'a str {
    let found = entity.properties.iter().find(|(it, _)| it == name);
    &found.unwrap().1
}

#[test]
fn a_process_is_found_with_its_properties_and_goes_with_it() {
    let mut discovery = discovery(&json!([
        {"match": {"command": "^sleep 91001$"}, "service": "sleeper", "labels": ["b", "a"]},
    ]));
    let child = Running::new(Command::new("sleep").arg("91001"));
    child.facts(|facts| facts.comm == "sleep");
    assert_eq!((discovery.version(), discovery.entities().len()), (0, 0));
    discovery.scan().unwrap();
    let entities = discovery.entities();
    let [entity] = &*entities else {
        panic!("{entities:?}");
    };
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!((entity.pid, entity.place), (child.pid(), Place::Host));
    assert_eq!(
        (entity.layer.as_str(), entity.service.as_str()),
        ("OS_LINUX", "sleeper")
    );
    assert_eq!(
        (entity.instance.as_str(), entity.process.as_str()),
        (hostname.trim(), "sleep")
    );
    assert_eq!(entity.labels, ["a", "b"]);
    let names: Vec<_> = entity
        .properties
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        ["host_ip", "pid", "command_line", "support_ebpf_profiling"]
    );
    assert_eq!(property(entity, "pid"), child.pid().to_string());
    assert_eq!(property(entity, "command_line"), "sleep 91001");
    assert_eq!(property(entity, "support_ebpf_profiling"), "true");

    let version = discovery.version();
    discovery.scan().unwrap();
    assert_eq!(discovery.version(), version);
    child.end();
    discovery.scan().unwrap();
    assert!(discovery.entities().is_empty());
    assert_eq!(discovery.version(), version + 1);
}

#[test]
fn events_make_starts_and_ends_known_without_a_scan() {
    let mut discovery = discovery(&json!([
        {"match": {"command": "^sleep 91002$"}, "service": "sleeper"},
    ]));
    let known = discovery.subscribe();
    let child = Running::new(Command::new("sleep").arg("91002"));
    child.facts(|facts| facts.comm == "sleep");
    let pid = child.pid();
    discovery.on_exec(pid);
    assert!(known.has_changed().unwrap());
    assert_eq!(of(&discovery, pid).len(), 1);
    // Wrong word: it lives.
    discovery.on_exit(pid);
    assert_eq!(of(&discovery, pid).len(), 1);
    child.end();
    discovery.on_exit(pid);
    assert!(of(&discovery, pid).is_empty());
    // A late one, of a process that is gone.
    discovery.on_exec(pid);
    discovery.on_exit(pid);
    assert!(of(&discovery, pid).is_empty());
    assert_eq!(discovery.version(), 2);
}

/// Rover's `pid_createTime` cache keeps the names of the entrypoint's shell for ever.
#[test]
fn a_process_that_execs_after_discovery_gets_its_new_name() {
    let rules = json!([{"match": {"command": "91003"}, "service": "{{.Process.ExeName}}"}]);
    for by_event in [false, true] {
        let mut discovery = discovery(&rules);
        let script = "read line; exec sleep 91003";
        let mut child = Running::new(Command::new("sh").args(["-c", script]));
        child.facts(|facts| facts.comm == "sh");
        discovery.scan().unwrap();
        let before = of(&discovery, child.pid());
        assert_eq!(before[0].service, "sh");
        child.go_on();
        child.facts(|facts| facts.comm == "sleep");
        if by_event {
            discovery.on_exec(child.pid());
        } else {
            discovery.scan().unwrap();
        }
        let after = of(&discovery, child.pid());
        assert_eq!(after[0].service, "sleep");
        assert_eq!(property(&after[0], "command_line"), "sleep 91003");
        assert_eq!(after[0].started, before[0].started);
    }
}

#[test]
fn the_same_program_with_other_arguments_is_seen_without_events() {
    let mut discovery = discovery(&json!([
        {"match": {"command": "^sh .*91004"}, "service": "{{.Process.CommandLine}}"},
    ]));
    let script = "read line; exec sh -c 'read line; : 91004'";
    let mut child = Running::new(Command::new("sh").args(["-c", script]));
    child.facts(|facts| facts.arguments.len() == 3);
    discovery.scan().unwrap();
    let before = of(&discovery, child.pid());
    assert!(before[0].service.contains("exec sh"));
    // The second shell reads on from the same pipe.
    child.write("\n");
    child.facts(|facts| !facts.command().contains("exec"));
    discovery.scan().unwrap();
    let after = of(&discovery, child.pid());
    assert_eq!(after[0].service, "sh -c read line; : 91004");
    child.go_on();
}

#[test]
fn a_pid_that_is_used_again_is_another_process() {
    let proc = Pretended::new();
    let rules = json!([{"match": {"command": "."}, "service": "{{.Process.CommandLine}}"}]);
    let settings = settings(json!({"proc_root": proc.root(), "rules": rules}));
    let mut discovery = Discovery::new(&settings).unwrap();
    proc.run(7, 100, &["app", "1"], "0::/");
    discovery.scan().unwrap();
    let before = discovery.entities();
    // The same program, even: only the start tells.
    proc.run(7, 200, &["app", "1"], "0::/");
    discovery.scan().unwrap();
    let after = discovery.entities();
    assert_eq!((before[0].started, after[0].started), (100, 200));
    // The end of the first is told late.
    proc.run(7, 300, &["app", "2"], "0::/");
    discovery.on_exit(7);
    assert_eq!(services(&discovery), ["app 2"]);
    assert_eq!(discovery.version(), 3);
}

#[test]
fn a_zombie_has_no_name_and_a_first_thread_that_ended_does_not_end_a_process() {
    let proc = Pretended::new();
    let rules = json!([{"match": {"command": "app"}, "service": "app"}]);
    let settings = settings(json!({"proc_root": proc.root(), "rules": rules}));
    let mut discovery = Discovery::new(&settings).unwrap();
    let stat = |state: &str, threads: u32| {
        format!("7 (app) {state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 100 1")
    };
    proc.run(7, 100, &["app"], "0::/");
    discovery.scan().unwrap();
    proc.write(7, "stat", &stat("Z", 2));
    discovery.scan().unwrap();
    assert_eq!(services(&discovery), ["app"]);
    proc.write(7, "stat", &stat("Z", 1));
    discovery.scan().unwrap();
    assert!(discovery.entities().is_empty());
}

/// PostgreSQL and others say in their command line what they are doing.
#[test]
fn a_rewritten_command_line_is_no_change_unless_a_rule_cares() {
    let proc = Pretended::new();
    let settings = settings(json!({"proc_root": proc.root(), "rules": [
        {"match": {"command": "backup"}, "service": "backup"},
        {"match": {"command": "^postgres"}, "service": "postgres"},
    ]}));
    let mut discovery = Discovery::new(&settings).unwrap();
    proc.run(7, 100, &["postgres"], "0::/");
    discovery.scan().unwrap();
    for title in ["postgres: shop idle\0", "postgres: shop SELECT\0"] {
        proc.write(7, "cmdline", title);
        discovery.scan().unwrap();
        let entities = discovery.entities();
        assert_eq!(property(&entities[0], "command_line"), "postgres");
        assert_eq!(discovery.version(), 1);
    }
    proc.write(7, "cmdline", "postgres: backup\0");
    discovery.scan().unwrap();
    assert_eq!(services(&discovery), ["backup"]);
    assert_eq!(discovery.version(), 2);
}

#[test]
fn a_process_that_joins_a_unit_later_is_named_then() {
    let proc = Pretended::new();
    let mut discovery = Discovery::new(&settings(json!({"proc_root": proc.root()}))).unwrap();
    proc.run(7, 100, &["app"], "0::/\n");
    discovery.scan().unwrap();
    assert!(discovery.entities().is_empty());
    proc.write(7, "cgroup", "0::/system.slice/shop.service\n");
    discovery.scan().unwrap();
    assert_eq!(services(&discovery), ["shop"]);
}

#[test]
fn our_own_process_and_the_kernels_threads_are_left_out() {
    let everything = json!([{"match": {"command": "."}, "service": "x"}]);
    let mut ours = discovery(&everything);
    ours.scan().unwrap();
    assert!(ours.entities().len() > 1);
    assert!(of(&ours, std::process::id()).is_empty());
    assert!(!ours.permits(std::process::id()));
    assert!(ours.permits(1));

    let proc = Pretended::new();
    let settings = settings(json!({"proc_root": proc.root(), "rules": everything}));
    let mut discovery = Discovery::new(&settings).unwrap();
    // PF_KTHREAD | PF_FORKNOEXEC | ...: as found on Linux 6.18.
    proc.write(
        2,
        "stat",
        "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 1 0 0",
    );
    proc.run(3, 5, &["app"], "0::/");
    discovery.scan().unwrap();
    let entities = discovery.entities();
    assert_eq!((entities.len(), entities[0].pid), (1, 3));
    assert!(!discovery.permits(2));
}

#[test]
fn denied_processes_are_left_out_though_allowed() {
    let proc = Pretended::new();
    let mut discovery = Discovery::new(&settings(json!({
        "proc_root": proc.root(),
        "rules": [{"match": {"command": "."}, "service": "{{.Process.ExeName}}"}],
        "access": {"allow": ["java", "vault"], "deny": ["vault"]},
    })))
    .unwrap();
    proc.run(3, 5, &["/usr/bin/java", "-jar", "shop.jar"], "0::/");
    proc.run(4, 5, &["java", "-jar", "vault.jar"], "0::/");
    proc.run(5, 5, &["nginx"], "0::/");
    discovery.scan().unwrap();
    assert_eq!(services(&discovery), ["java"]);
    let permitted = [3, 4, 5, 6].map(|pid| discovery.permits(pid));
    assert_eq!(permitted, [true, false, false, false]);
}

#[test]
fn of_two_rules_that_match_only_the_first_names_a_process() {
    let proc = Pretended::new();
    let mut discovery = Discovery::new(&settings(json!({"proc_root": proc.root(), "rules": [
        {"match": {"command": "shop"}, "service": "shop"},
        {"match": {"command": "."}, "service": "rest"},
    ]})))
    .unwrap();
    proc.run(3, 5, &["shop"], "0::/");
    proc.run(4, 5, &["other"], "0::/");
    discovery.scan().unwrap();
    assert_eq!(services(&discovery), ["shop", "rest"]);
}

#[test]
fn secrets_are_not_reported() {
    let proc = Pretended::new();
    let rules = json!([{"match": {"command": "--password=x7$"}, "service": "s"}]);
    let settings = settings(json!({"proc_root": proc.root(), "rules": rules}));
    let mut discovery = Discovery::new(&settings).unwrap();
    proc.run(3, 5, &["app", "--password=x7"], "0::/");
    discovery.scan().unwrap();
    let entities = discovery.entities();
    assert_eq!(property(&entities[0], "command_line"), "app --password=***");
}

#[test]
fn without_proc_what_is_known_stays() {
    let proc = Pretended::new();
    let rules = json!([{"match": {"command": "."}, "service": "s"}]);
    let root = proc.root().to_owned();
    let mut discovery =
        Discovery::new(&settings(json!({"proc_root": root, "rules": rules}))).unwrap();
    proc.run(3, 5, &["app"], "0::/");
    discovery.scan().unwrap();
    drop(proc);
    assert!(discovery.scan().is_err());
    assert_eq!(services(&discovery), ["s"]);
}

#[test]
fn kubernetes_without_a_source_of_pods_is_a_mistake() {
    let error = Discovery::new(&settings(json!({"kubernetes": {"active": true}})));
    let error = error.err().unwrap().to_string();
    assert_eq!(
        error,
        "kubernetes.pods_file is empty: expected a file, as the API server is not asked yet"
    );
    let error = Discovery::new(&settings(json!({"access": {"deny": ["("]}})));
    let error = error.err().unwrap().to_string();
    assert!(
        error.starts_with("access.deny[0]: \"(\" is no regular expression"),
        "{error}"
    );
}

#[test]
fn everything_that_was_started_is_found_and_nothing_else_remains() {
    let mut discovery = discovery(&json!([
        {"match": {"command": "^sleep 91005"}, "service": "s"},
    ]));
    let start = |index: u32| Running::new(Command::new("sleep").arg(format!("91005.{index}")));
    let mut children: Vec<_> = (0..20).map(start).collect();
    for child in &children {
        child.facts(|facts| facts.comm == "sleep");
    }
    discovery.scan().unwrap();
    let found = |discovery: &Discovery| -> Vec<u32> {
        discovery.entities().iter().map(|it| it.pid).collect()
    };
    let mut expected: Vec<u32> = children.iter().map(Running::pid).collect();
    expected.sort_unstable();
    assert_eq!(found(&discovery), expected);
    children.drain(5..).for_each(Running::end);
    until("the dead are forgotten", || {
        discovery.scan().unwrap();
        discovery.entities().len() == 5
    });
}
