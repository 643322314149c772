//! What a capture yields: stacks with names, counted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Samples of running threads.
    OnCpu,
    /// Waits: from leaving a CPU to coming back to one.
    OffCpu,
}

/// Stacks of one capture, or of the part of it since the last one taken.
///
/// Stacks name frames, frames name modules, by index.
#[derive(Clone, Debug)]
pub struct Profile {
    /// What `Stack::count` counts.
    pub kind: Kind,
    /// Time between two samples of one CPU; zero for [`Kind::OffCpu`].
    pub period: Duration,
    /// When the first of it was captured.
    pub started: SystemTime,
    /// How long it was captured for.
    pub duration: Duration,
    /// Whose stacks these are.
    pub processes: Vec<Process>,
    /// Files that code was mapped from.
    pub modules: Vec<Module>,
    /// Every place in code that occurs in a stack, once.
    pub frames: Vec<Frame>,
    /// Each stack of each process once.
    pub stacks: Vec<Stack>,
    /// How good it is and what it cost.
    pub summary: Summary,
}

/// A process in a profile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// As the host's PID namespace sees it.
    pub pid: u32,
    /// The kernel's short name of it (`comm`).
    pub name: String,
}

/// A file that code was mapped from, by the addresses that the file itself uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Module {
    /// As in `/proc/PID/maps`; `[kernel]` and `[vdso]` for what is no file.
    pub path: String,
    /// Hexadecimal.
    pub build_id: Option<String>,
    /// First address of the executable segment.
    pub start: u64,
    /// One past its last address.
    pub end: u64,
    /// Where the segment begins in the file.
    pub offset: u64,
}

/// A place in code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The function, demangled; `module+0xoffset` where nobody names it, `0xaddress` without a module.
    pub name: Arc<str>,
    /// Whether it is the kernel's.
    pub kernel: bool,
    /// Index into [`Profile::modules`].
    pub module: Option<u32>,
    /// In the module's own addresses; as the process saw it where there is no module.
    pub address: u64,
}

/// A stack and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Index into [`Profile::processes`].
    pub process: u32,
    /// The kernel's part, innermost frame first: indices into [`Profile::frames`].
    pub kernel: Vec<u32>,
    /// The program's part, innermost frame first.
    pub user: Vec<u32>,
    /// Samples, or waits.
    pub count: u64,
    /// CPU time that the samples stand for, or time waited, in nanoseconds.
    pub nanos: u64,
    /// Whether the frames go down to where the thread began.
    pub complete: bool,
    /// Whether the thread was ready to run all the while (a wait that the scheduler imposed).
    pub preempted: bool,
}

/// How good a profile is and what it cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Samples, or waits, that the stacks hold.
    pub samples: u64,
    /// Of them, those whose stack does not go down to the thread's start.
    pub incomplete: u64,
    /// Samples that were taken and could not be kept.
    pub lost: u64,
    /// CPU time of our own process meanwhile.
    pub own_cpu: Duration,
    /// CPU time of our programs in the kernel, where `kernel.bpf_stats_enabled` tells it.
    pub kernel_cpu: Option<Duration>,
}

impl Profile {
    /// Nothing, of no time.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            kind: Kind::OnCpu,
            period: Duration::ZERO,
            started: SystemTime::now(),
            duration: Duration::ZERO,
            processes: Vec::new(),
            modules: Vec::new(),
            frames: Vec::new(),
            stacks: Vec::new(),
            summary: Summary::default(),
        }
    }

    /// A stack from its innermost frame outwards, the kernel's part first.
    pub fn frames_of<'a>(&'a self, stack: &'a Stack) -> impl DoubleEndedIterator<Item = &'a Frame> {
        let indices = stack.kernel.iter().chain(&stack.user);
        indices.filter_map(|index| self.frames.get(*index as usize))
    }
}
