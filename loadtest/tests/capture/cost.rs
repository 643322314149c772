//! What a process costs, from outside: BPF run time, maps, memory, CPU.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// `kernel.bpf_stats_enabled` is on for as long as this lives.
pub(crate) struct BpfStats(String);

impl BpfStats {
    const SETTING: &str = "/proc/sys/kernel/bpf_stats_enabled";

    pub(crate) fn on() -> Self {
        let before = fs::read_to_string(Self::SETTING).unwrap();
        fs::write(Self::SETTING, "1").unwrap();
        Self(before)
    }
}

impl Drop for BpfStats {
    fn drop(&mut self) {
        drop(fs::write(Self::SETTING, self.0.trim()));
    }
}

/// What a process's BPF programs have done while [`BpfStats`] was on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) count: u64,
    pub(crate) time: Duration,
}

/// Sums over the programs that a process holds.
pub(crate) fn runs(pid: u32) -> Runs {
    let programs = by_id(pid, "prog_id", |text| {
        Some((number(text, "run_cnt")?, number(text, "run_time_ns")?))
    });
    let (count, nanos) = programs
        .values()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Runs {
        count,
        time: Duration::from_nanos(nanos),
    }
}

/// Bytes of the BPF maps that a process holds.
pub(crate) fn maps(pid: u32) -> u64 {
    by_id(pid, "map_id", |text| number(text, "memlock"))
        .values()
        .sum()
}

/// How many hooks a process holds: perf events and links.
pub(crate) fn hooks(pid: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter(|target| {
            [
                "anon_inode:[perf_event]",
                "anon_inode:bpf_link",
                "anon_inode:bpf-raw-tracepoint",
            ]
            .iter()
            .any(|hook| target.as_os_str() == *hook)
        })
        .count()
}

/// Bytes of anonymous memory; zero for a process that is gone.
pub(crate) fn anonymous(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    number(&text, "Anonymous").unwrap_or_default() * 1024
}

/// CPU time of a process's present threads.
pub(crate) fn cpu(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let nanos = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// What `value` finds in the descriptors of each object, by the object's id: several may be of the same one.
fn by_id<T>(pid: u32, id: &str, value: impl Fn(&str) -> Option<T>) -> BTreeMap<u64, T> {
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .into_iter()
        .flatten()
        .flatten();
    let texts = entries.filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts
        .filter_map(|text| Some((number(&text, id)?, value(&text)?)))
        .collect()
}

/// The number in the line `name: number`.
fn number(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| *found == name)?;
    value.split_whitespace().next()?.parse().ok()
}

#[test]
fn numbers_are_found_by_their_whole_name() {
    let text = "pos:\t0\nprog_type:\t7\nprog_id:\t42\nrun_time_ns:\t9000\nrun_cnt:\t3\nAnonymous:    1024 kB\n";
    assert_eq!(number(text, "prog_id"), Some(42));
    assert_eq!(number(text, "run_time_ns"), Some(9000));
    assert_eq!(number(text, "Anonymous"), Some(1024));
    assert_eq!(number(text, "id"), None);
}

#[test]
fn our_own_memory_and_time_are_seen() {
    let own = std::process::id();
    assert!(anonymous(own) > 100 * 1024);
    assert!(cpu(own) > Duration::ZERO);
    assert_eq!((maps(own), hooks(own), runs(own).count), (0, 0, 0));
}
