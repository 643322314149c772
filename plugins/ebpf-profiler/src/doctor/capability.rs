//! Capabilities by name.

use std::fs;

use super::{Finding, Thing};
use crate::bpf::errno::Failure;

/// One that some part of a capture asks for. Numbers: `include/uapi/linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Capability {
    DacReadSearch = 2,
    SysPtrace = 19,
    SysAdmin = 21,
    Syslog = 34,
    Perfmon = 38,
    Bpf = 39,
    CheckpointRestore = 40,
}

use Capability::{Bpf, CheckpointRestore, DacReadSearch, Perfmon, SysAdmin, SysPtrace, Syslog};

/// What a capture uses, by what is lost without: programs, samples, others' mappings and files, the
/// kernel's names, files that were deleted.
const WANTED: [Capability; 6] = [
    Bpf,
    Perfmon,
    SysPtrace,
    DacReadSearch,
    Syslog,
    CheckpointRestore,
];

impl Capability {
    pub(super) fn name(self) -> &'static str {
        match self {
            DacReadSearch => "CAP_DAC_READ_SEARCH",
            SysPtrace => "CAP_SYS_PTRACE",
            SysAdmin => "CAP_SYS_ADMIN",
            Syslog => "CAP_SYSLOG",
            Perfmon => "CAP_PERFMON",
            Bpf => "CAP_BPF",
            CheckpointRestore => "CAP_CHECKPOINT_RESTORE",
        }
    }
}

/// Those in effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capabilities(u64);

impl Capabilities {
    /// None, if `/proc` does not tell.
    pub(super) fn of_self() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Capabilities(parse(&status).unwrap_or(0))
    }

    /// Whether the kernel takes us for a holder.
    pub(super) fn hold(self, one: Capability) -> bool {
        // It splits these off CAP_SYS_ADMIN and takes that for them still.
        let part_of_admin = matches!(one, Bpf | Perfmon | CheckpointRestore);
        self.has(one) || (part_of_admin && self.has(SysAdmin))
    }

    fn has(self, one: Capability) -> bool {
        self.0 >> (one as u32) & 1 == 1
    }

    /// What to grant so that a call that failed succeeds, of those that it asks for.
    pub(super) fn grant(self, failure: Failure, asked: &[Capability]) -> String {
        if !failure.errno.is_refusal() {
            return "a kernel that has it".to_owned();
        }
        let missing: Vec<_> = asked.iter().copied().filter(|it| !self.hold(*it)).collect();
        if missing.is_empty() {
            let held = joined(asked, "+");
            return format!(
                "{held} is held: a seccomp filter, security module or user namespace that allows it"
            );
        }
        joined(&missing, "+")
    }

    pub(super) fn finding(self) -> Finding {
        let all = [WANTED.as_slice(), &[SysAdmin]].concat();
        let held: Vec<_> = all.into_iter().filter(|it| self.has(*it)).collect();
        let because = match held.as_slice() {
            [] => "none that is of use is held".to_owned(),
            held => format!("held: {}", joined(held, ", ")),
        };
        let missing: Vec<_> = WANTED.into_iter().filter(|it| !self.hold(*it)).collect();
        if missing.is_empty() {
            return Finding::works(Thing::Capabilities).because(because);
        }
        Finding::fails(Thing::Capabilities, because, Some(joined(&missing, "+")))
    }
}

fn joined(list: &[Capability], by: &str) -> String {
    let names: Vec<_> = list.iter().map(|it| it.name()).collect();
    names.join(by)
}

fn parse(status: &str) -> Option<u64> {
    let digits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::errno::Errno;

    fn with(list: &[Capability]) -> Capabilities {
        Capabilities(list.iter().map(|it| 1 << *it as u32).sum())
    }

    #[test]
    fn capabilities_are_read_from_the_effective_set() {
        let status = "Name:\tcat\nCapPrm:\t0000000000000000\nCapEff:\t000000c000000000\n";
        assert_eq!(parse(status).map(Capabilities), Some(with(&[Bpf, Perfmon])));
        assert_eq!(parse("Name:\tcat\n"), None);
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_else() {
        let finding = with(&[Bpf, Perfmon, SysPtrace]).finding();
        assert!(!finding.works);
        let rest = "CAP_DAC_READ_SEARCH+CAP_SYSLOG+CAP_CHECKPOINT_RESTORE";
        assert_eq!(finding.grant.as_deref(), Some(rest));
        let because = finding.because.unwrap_or_default();
        assert_eq!(because, "held: CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE");
        let because = with(&[]).finding().because.unwrap_or_default();
        assert_eq!(because, "none that is of use is held");
    }

    #[test]
    fn an_administrator_needs_none_of_what_was_split_off() {
        let admin = with(&[SysAdmin]);
        assert!(admin.hold(Bpf) && admin.hold(Perfmon) && !admin.hold(Syslog));
    }

    #[test]
    fn a_refusal_asks_for_what_is_missing_only() {
        let refused = Failure {
            call: "bpf(PROG_LOAD)",
            errno: Errno(libc::EPERM),
        };
        assert_eq!(with(&[Perfmon]).grant(refused, &[Bpf, Perfmon]), "CAP_BPF");
        let grant = with(&[Bpf, Perfmon]).grant(refused, &[Bpf, Perfmon]);
        assert!(grant.starts_with("CAP_BPF+CAP_PERFMON is held"), "{grant}");
        let unknown = Failure {
            errno: Errno(libc::EINVAL),
            ..refused
        };
        assert_eq!(with(&[]).grant(unknown, &[Bpf]), "a kernel that has it");
    }
}
