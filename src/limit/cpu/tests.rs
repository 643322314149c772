//! What is read of recorded machines, and of this one.

use super::*;
use crate::limit::cgroup::recorded::{Machine, hybrid, namespaced, unified, version_1};

#[test]
fn the_tightest_quota_of_the_group_and_those_around_it_holds() {
    for (machine, cores) in [
        (unified(), 1.5),
        (namespaced(), 0.5),
        (version_1(), 0.5),
        (hybrid(), 0.2),
    ] {
        assert_eq!(quota(&machine.groups()), Some(cores));
    }
}

#[test]
fn a_quota_that_changes_is_seen_and_none_is_none() {
    let machine = namespaced();
    let groups = machine.groups();
    machine.write("sys/fs/cgroup/cpu.max", "10000 100000\n");
    assert_eq!(quota(&groups), Some(0.1));
    assert_eq!(cores(&groups), 0.1);
    machine.write("sys/fs/cgroup/cpu.max", "max 100000\n");
    assert_eq!(quota(&groups), None);
    let mask = cores(&groups);
    assert!(mask >= 1.0 && mask.fract() == 0.0);
    machine.write("sys/fs/cgroup/cpu.max", "100000000 100000\n");
    assert_eq!(cores(&groups), mask, "a quota adds no cores");
}

#[test]
fn the_groups_usage_is_read_unless_the_group_is_the_machines() {
    let read = |machine: &Machine| Usage::of(&machine.groups()).read();
    assert_eq!(read(&unified()), Some(Duration::from_millis(7250)));
    assert_eq!(read(&namespaced()), Some(Duration::from_secs(4)));
    assert_eq!(read(&version_1()), Some(Duration::from_secs(3)));
    assert_eq!(Usage::of(&hybrid().groups()), Usage::Process);
}

#[test]
fn version_2_is_asked_where_version_1_knows_the_root_alone() {
    let machine = hybrid();
    machine.write("sys/fs/cgroup/unified/cgroup.events", "populated 1\n");
    let Usage::Statistics(file) = Usage::of(&machine.groups()) else {
        panic!("not version 2");
    };
    assert_eq!(machine.relative(&file), "sys/fs/cgroup/unified/cpu.stat");
}

#[test]
fn a_name_with_parentheses_does_not_shift_the_fields() {
    let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100 0 0";
    assert_eq!(parse_stat(stat), Some(Duration::from_secs(3)));
    assert_eq!(parse_stat("42 (short) S 1 2"), None);
}

#[test]
fn the_own_time_can_be_read() {
    assert!(Usage::Process.read().is_some());
    assert!(Usage::of(&Groups::detect()).read().is_some());
}

/// `Mount::chain` goes up to what is mounted; what is around us is used by our neighbours, too.
#[test]
fn the_usage_of_a_group_around_ours_is_not_ours() {
    let mounts = "33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n";
    let files = [("sys/fs/cgroup/cpuacct/pods/cpuacct.usage", "888000000000\n")];
    let machine = Machine::new("2:cpuacct:/pods/mine\n", mounts, &files);
    assert_eq!(Usage::of(&machine.groups()), Usage::Process);
}
