//! What files of /proc and /sys tell.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use super::capability::{Capabilities, Capability};
use super::programs::NEEDS_BTF;
use super::{Finding, Thing};
use crate::bpf::errno::{Errno, Failure};
use crate::bpf::trial;

/// The kernel's own types.
pub(super) const BTF: &str = "/sys/kernel/btf/vmlinux";
const TRACEFS: &str = "/sys/kernel/tracing";
const EVENT: &str = "events/sched/sched_switch/id";
const SYMBOLS: &str = "/proc/kallsyms";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

pub(super) fn btf() -> Finding {
    match begin(BTF, 4) {
        Ok(_) => Finding::works(Thing::Btf),
        Err(error) => Finding::fails(Thing::Btf, at(BTF, &error), Some(NEEDS_BTF.to_owned())),
    }
}

/// A missing mount is ENOENT, a missing privilege is EACCES.
pub(super) fn tracefs(held: &Capabilities) -> Finding {
    let event = format!("{TRACEFS}/{EVENT}");
    let Err(error) = begin(&event, 1) else {
        return Finding::works(Thing::Tracefs);
    };
    if error.kind() == io::ErrorKind::NotFound {
        // Before it had a place of its own it lay in debugfs.
        if begin(&format!("/sys/kernel/debug/tracing/{EVENT}"), 1).is_ok() {
            return Finding::works(Thing::Tracefs).because("in /sys/kernel/debug/tracing");
        }
        let because = format!("{}: it is not mounted", at(&event, &error));
        let grant = format!("mount -t tracefs tracefs {TRACEFS}");
        return Finding::fails(Thing::Tracefs, because, Some(grant));
    }
    let failure = Failure::of(TRACEFS, &error);
    let grant = held.grant(failure, &[Capability::DacReadSearch]);
    Finding::fails(Thing::Tracefs, at(&event, &error), Some(grant))
}

/// Without the privilege every address reads as 0.
pub(super) fn kernel_symbols() -> Finding {
    let text = match begin(SYMBOLS, 64 << 10) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => return Finding::fails(Thing::KernelSymbols, at(SYMBOLS, &error), None),
    };
    if names_kernel(&text) {
        return Finding::works(Thing::KernelSymbols);
    }
    let restrict = fs::read_to_string("/proc/sys/kernel/kptr_restrict").unwrap_or_default();
    let restrict = restrict.trim();
    let because = format!("{SYMBOLS}: addresses read as 0; kernel.kptr_restrict is {restrict}");
    let mut grant = Capability::Syslog.name().to_owned();
    if restrict == "2" {
        grant += " and kernel.kptr_restrict=1";
    }
    Finding::fails(Thing::KernelSymbols, because, Some(grant))
}

fn names_kernel(symbols: &str) -> bool {
    let address = |line: &str| u64::from_str_radix(line.split(' ').next()?, 16).ok();
    symbols.lines().filter_map(address).any(|it| it != 0)
}

/// Reads the mappings of processes until one of another user has answered; our own say nothing.
pub(super) fn other_processes(held: &Capabilities) -> Finding {
    let own = rustix::process::geteuid().as_raw();
    let mut refused = None;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        let stranger = entry.metadata().is_ok_and(|it| it.uid() != own);
        if pid.is_none() || !stranger {
            continue;
        }
        let path = entry.path().join("maps").to_string_lossy().into_owned();
        match begin(&path, 1) {
            Ok(_) => return Finding::works(Thing::OtherProcesses),
            Err(error) if Errno::of(&error).is_refusal() => {
                refused = Some((path, error));
                break;
            }
            // It is a thread of the kernel, or has just ended.
            Err(_) => {}
        }
    }
    let trace = Capability::SysPtrace;
    match refused {
        Some((path, error)) => {
            let failure = Failure::of("open", &error);
            let grant = held.grant(failure, &[trace]);
            Finding::fails(Thing::OtherProcesses, at(&path, &error), Some(grant))
        }
        None if held.hold(trace) => Finding::works(Thing::OtherProcesses)
            .because("not tried, other users run nothing here; CAP_SYS_PTRACE is held"),
        None => Finding::fails(
            Thing::OtherProcesses,
            "not tried, we see no processes of other users",
            Some(trace.name().to_owned()),
        ),
    }
}

/// Confidentiality forbids programs to read the kernel's memory; the verifier's word for it is that the
/// function is unknown.
pub(super) fn lockdown(before: &[Finding]) -> Finding {
    const THING: Thing = Thing::Lockdown;
    let mode = match fs::read_to_string(LOCKDOWN) {
        Ok(modes) => chosen(&modes).map_or_else(|| modes.clone(), str::to_owned),
        Err(_) if is_empty("/sys/kernel/security") => {
            "not told, securityfs is not mounted".to_owned()
        }
        Err(error) => format!("not told, {}", at(LOCKDOWN, &error)),
    };
    let mode = format!("the mode of lockdown is {mode}");
    if let Some(program) = before
        .iter()
        .find(|it| it.thing == Thing::PerfEventProgram && !it.works)
    {
        let because = program.because.clone().unwrap_or_default();
        let because = format!("not tried, no program can be loaded ({because})");
        return Finding::fails(THING, because, program.grant.clone());
    }
    match trial::load_kernel_reader() {
        Ok(_) => Finding::works(THING).because(format!("tried; {mode}")),
        Err(failure) => {
            let grant = "lockdown=integrity (or none) on the kernel's command line";
            Finding::fails(THING, format!("{failure}; {mode}"), Some(grant.to_owned()))
        }
    }
}

fn is_empty(directory: &str) -> bool {
    fs::read_dir(directory).is_ok_and(|mut it| it.next().is_none())
}

/// The word in brackets.
fn chosen(modes: &str) -> Option<&str> {
    modes
        .split_once('[')?
        .1
        .split_once(']')
        .map(|(word, _)| word)
}

pub(super) fn cgroups() -> Finding {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    match hierarchies(&mounts) {
        Some(found) => Finding::works(Thing::Cgroups).because(found),
        None => Finding::fails(
            Thing::Cgroups,
            "no cgroup file system is mounted here",
            Some("/sys/fs/cgroup, to name processes by unit, container and pod".to_owned()),
        ),
    }
}

/// The version of cgroups, from mounts as in proc_pid_mountinfo(5).
fn hierarchies(mounts: &str) -> Option<String> {
    let (mut first, mut second) = (false, None);
    for line in mounts.lines() {
        let Some((mount, filesystem)) = line.split_once(" - ") else {
            continue;
        };
        match filesystem.split(' ').next() {
            Some("cgroup") => first = true,
            Some("cgroup2") => second = second.or(mount.split(' ').nth(4)),
            _ => {}
        }
    }
    match (first, second) {
        (true, Some(path)) => Some(format!("hybrid: v1 controllers, v2 at {path}")),
        (true, None) => Some("v1".to_owned()),
        (false, Some(path)) => Some(format!("v2 at {path}")),
        (false, None) => None,
    }
}

pub(super) fn unprivileged_bpf(held: &Capabilities) -> Finding {
    const NAME: &str = "kernel.unprivileged_bpf_disabled";
    const THING: Thing = Thing::UnprivilegedBpf;
    let value = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    let because = match &value {
        Ok(value) => format!("{NAME} is {}", value.trim()),
        Err(error) => format!("{NAME}: {}", Errno::of(error)),
    };
    if held.hold(Capability::Bpf) || value.is_ok_and(|it| it.trim() == "0") {
        return Finding::works(THING).because(because);
    }
    Finding::fails(THING, because, Some(Capability::Bpf.name().to_owned()))
}

/// The first bytes of a file; an empty one has failed.
fn begin(path: &str, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

fn at(path: &str, error: &io::Error) -> String {
    match Errno::of(error) {
        Errno::NONE => format!("{path}: {error}"),
        errno => format!("{path}: {errno}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        assert_eq!(
            chosen("none [integrity] confidentiality\n"),
            Some("integrity")
        );
        assert_eq!(chosen("none"), None);
    }

    #[test]
    fn symbols_without_addresses_name_nothing() {
        assert!(!names_kernel(
            "0000000000000000 T _stext\n0000000000000000 t do_one\n"
        ));
        assert!(names_kernel(
            "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _stext\n"
        ));
        assert!(!names_kernel(""));
    }

    #[test]
    fn versions_of_cgroups_are_told_by_mounts() {
        let v1 = "35 24 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";
        let v2 = "36 24 0:31 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let beside = "36 24 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(hierarchies(v1).as_deref(), Some("v1"));
        assert_eq!(hierarchies(v2).as_deref(), Some("v2 at /sys/fs/cgroup"));
        let hybrid = "hybrid: v1 controllers, v2 at /sys/fs/cgroup/unified";
        assert_eq!(
            hierarchies(&format!("{v1}{beside}")).as_deref(),
            Some(hybrid)
        );
        assert_eq!(hierarchies("22 1 8:1 / / rw - ext4 /dev/sda rw\n"), None);
    }
}
