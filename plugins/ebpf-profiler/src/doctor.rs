//! What this machine lets us do: each thing is tried, nothing is guessed from a kernel version.
//!
//! [`examine`] tries and gives everything back that it took; [`crate::tier`] chooses by what it found.
//! Printed by `perigee capture doctor`.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

mod btf;
mod capability;
mod clocks;
mod files;
mod programs;

use capability::Capabilities;

/// Something that a capture uses, or that explains why it may not. Each is tried on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thing {
    /// A program for perf events can be loaded.
    PerfEventProgram,
    /// A program may call `bpf_loop`, which walking by tables takes.
    Loop,
    /// A BPF ring buffer can be made.
    RingBuffer,
    /// Every other type of map that we use can be made.
    Maps,
    /// A program can be attached to a perf event.
    PerfEventAttach,
    /// A program can be loaded for and attached to `tp_btf/sched_switch`.
    Switches,
    /// The same for `tp_btf/sched_process_exec`.
    ProcessEvents,
    /// The CPU clock of every CPU, programs and kernel.
    EveryCpu,
    /// The CPU clock of every CPU, programs only.
    EveryCpuUser,
    /// The CPU clock of processes of our own user, programs only.
    OwnProcesses,
    /// The kernel's types.
    Btf,
    /// Perf tracepoints' files. We do without.
    Tracefs,
    /// Names of the kernel's functions.
    KernelSymbols,
    /// Those of our process.
    Capabilities,
    /// Mappings of processes of other users.
    OtherProcesses,
    /// Whether programs may read the kernel's memory.
    Lockdown,
    /// Which hierarchies there are.
    Cgroups,
    /// Whether the limit of locked memory holds for maps.
    LockedMemory,
    /// Whether `bpf(2)` asks for a capability.
    UnprivilegedBpf,
}

impl Thing {
    /// What it is called in messages.
    pub fn name(self) -> &'static str {
        match self {
            Thing::PerfEventProgram => "BPF program for perf events",
            Thing::Loop => "BPF program with bpf_loop",
            Thing::RingBuffer => "BPF ring buffer",
            Thing::Maps => "BPF maps",
            Thing::PerfEventAttach => "BPF program at a perf event",
            Thing::Switches => "BPF program at tp_btf/sched_switch",
            Thing::ProcessEvents => "BPF program at tp_btf/sched_process_exec",
            Thing::EveryCpu => "CPU clock of all CPUs, kernel included",
            Thing::EveryCpuUser => "CPU clock of all CPUs, programs only",
            Thing::OwnProcesses => "CPU clock of our user's processes",
            Thing::Btf => "types of the kernel (BTF)",
            Thing::Tracefs => "tracefs",
            Thing::KernelSymbols => "names of the kernel (kallsyms)",
            Thing::Capabilities => "capabilities",
            Thing::OtherProcesses => "mappings of other users' processes",
            Thing::Lockdown => "BPF reads of kernel memory (lockdown)",
            Thing::Cgroups => "cgroups",
            Thing::LockedMemory => "BPF maps above the limit of locked memory",
            Thing::UnprivilegedBpf => "bpf(2) for our user",
        }
    }

    /// What is lost where it does not work; `None`: nothing.
    pub fn lost_without(self) -> Option<&'static str> {
        Some(match self {
            Thing::Tracefs => return None,
            Thing::PerfEventProgram | Thing::PerfEventAttach => "no samples by BPF",
            Thing::Loop => "no stacks by unwind tables",
            Thing::RingBuffer | Thing::Maps | Thing::UnprivilegedBpf => "nothing by BPF",
            Thing::Switches => "no waits (off-CPU)",
            Thing::ProcessEvents => "new processes are seen seconds later",
            Thing::EveryCpu => "no samples by BPF, none of the kernel",
            Thing::EveryCpuUser => "no samples of other users' processes",
            Thing::OwnProcesses => "no samples where the lines above do not work either",
            Thing::Btf | Thing::Lockdown => "no stacks by unwind tables, no waits (off-CPU)",
            Thing::KernelSymbols => "the kernel's functions have no names",
            Thing::Capabilities => "what the other lines say",
            Thing::OtherProcesses => "other users' functions have no names",
            Thing::Cgroups => "processes are not named by unit, container and pod",
            Thing::LockedMemory => "BPF has no room",
        })
    }
}

impl Display for Thing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Thing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What came of a trial. Displayed in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was tried.
    pub thing: Thing,
    /// Whether it can be used.
    pub works: bool,
    /// Why not, in the kernel's words where they are; of what works, what was found, if it says more.
    pub because: Option<String>,
    /// What would make it work.
    pub grant: Option<String>,
}

impl Finding {
    fn works(thing: Thing) -> Self {
        Finding {
            thing,
            works: true,
            because: None,
            grant: None,
        }
    }

    fn fails(thing: Thing, because: impl Into<String>, grant: Option<String>) -> Self {
        Finding {
            thing,
            works: false,
            because: Some(because.into()),
            grant,
        }
    }

    fn because(mut self, because: impl Into<String>) -> Self {
        self.because = Some(because.into());
        self
    }

    /// Whether it works, why not and what is lost by that, in words for somebody who knows nothing of it.
    pub fn verdict(&self) -> String {
        if self.works {
            let because = self.because.as_ref().map(|it| format!(": {it}"));
            return format!("works{}", because.unwrap_or_default());
        }
        match self.thing.lost_without() {
            None => format!(
                "does not work and is not needed: {}",
                self.because.as_deref().unwrap_or_default()
            ),
            Some(lost) => format!("does not work: {}; without it: {lost}", self.reason()),
        }
    }

    /// `because; needs grant`, as far as there is either.
    pub fn reason(&self) -> String {
        let grant = self.grant.as_ref().map(|it| format!("needs {it}"));
        let parts: Vec<_> = self
            .because
            .iter()
            .chain(&grant)
            .map(String::as_str)
            .collect();
        parts.join("; ")
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.thing, self.verdict())
    }
}

/// Everything that was tried, in the order of [`Thing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// One for each thing.
    pub findings: Vec<Finding>,
}

impl Report {
    /// What came of one thing.
    pub fn of(&self, thing: Thing) -> Option<&Finding> {
        self.findings.iter().find(|it| it.thing == thing)
    }

    /// Whether a thing can be used.
    pub fn works(&self, thing: Thing) -> bool {
        self.of(thing).is_some_and(|it| it.works)
    }
}

/// Tries everything. Takes tens of milliseconds and leaves nothing behind.
pub fn examine() -> Report {
    let held = Capabilities::of_self();
    let mut findings = programs::examine(&held);
    findings.extend(clocks::examine(&held));
    findings.push(files::btf());
    findings.push(files::tracefs(&held));
    findings.push(files::kernel_symbols());
    findings.push(held.finding());
    findings.push(files::other_processes(&held));
    findings.push(files::lockdown(&findings));
    findings.push(files::cgroups());
    findings.push(programs::locked_memory(&findings));
    findings.push(files::unprivileged_bpf(&held));
    Report { findings }
}

#[cfg(test)]
mod tests;
