//! What the programs and we agree on: `bpf/profiler.h` in Rust.

use aya::Pod;

use crate::unwind::{Mapping, Rule};

/// Elements of the map of mappings.
pub const MAX_MAPPINGS: u32 = 1 << 14;
/// Arenas at the most.
pub const MAX_ARENAS: u32 = 64;

/// How the walk of a stack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the thread's first frame.
    Bottom,
    /// At a rule that we do not have.
    NoRule,
    /// At memory that could not be read.
    Unreadable,
    /// There are more frames than we keep.
    Depth,
    /// Frame pointers led nowhere.
    Lost,
    /// At an address outside of all mappings that we knew.
    Unmapped,
    /// It is the kernel's.
    Kernel,
    /// The kernel walked by frame pointers and does not say.
    Unknown,
}

impl End {
    /// From `enum` in `profiler.h`.
    #[must_use]
    pub fn of(number: u32) -> Self {
        match number {
            1 => Self::Bottom,
            2 => Self::NoRule,
            3 => Self::Unreadable,
            4 => Self::Depth,
            6 => Self::Unmapped,
            7 => Self::Kernel,
            8 => Self::Unknown,
            _ => Self::Lost,
        }
    }

    /// Whether the whole stack is there.
    #[must_use]
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Bottom | Self::Kernel)
    }
}

/// `struct process`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// First of its mappings.
    pub first: u32,
    /// How many there are.
    pub count: u32,
    /// The programs' own.
    pub asked: u64,
}

impl Process {
    /// One that may not be looked at.
    pub const DENIED: Self = Self {
        first: u32::MAX,
        count: 0,
        asked: 0,
    };
}

/// `struct target_key`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TargetKey {
    /// The process; 0 is all.
    pub pid: u32,
    /// Nanoseconds between samples; 0 is off-CPU.
    pub period: u32,
}

/// `struct target`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Target {
    /// Shorter waits are left out, in nanoseconds.
    pub minimum: u64,
    /// Waits that began before are left out, in nanoseconds of the kernel's monotonic clock.
    pub since: u64,
}

/// In the flags of [`CountKey`]: the thread was ready to run.
const PREEMPTED: u32 = 1;
/// From this bit on the flags hold [`CountKey::program`].
const EXEC_SHIFT: u32 = 8;

/// `struct count_key`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CountKey {
    /// The process.
    pub pid: u32,
    /// Nanoseconds between samples; 0 is off-CPU.
    pub period: u32,
    /// Its user stack in the dictionary; 0 is none.
    pub user: u64,
    /// Its kernel stack in the dictionary; 0 is none.
    pub kernel: u64,
    /// What [`CountKey::is_preempted`] and [`CountKey::program`] say.
    pub flags: u32,
    /// Which collection it is for.
    pub epoch: u32,
}

impl CountKey {
    /// Whether the thread that waited was ready to run.
    #[must_use]
    pub fn is_preempted(&self) -> bool {
        self.flags & PREEMPTED != 0
    }

    /// Which of the process's programs it was: one more with each `exec`.
    #[must_use]
    pub fn program(&self) -> u32 {
        self.flags >> EXEC_SHIFT
    }

    /// The number of the program before.
    #[must_use]
    pub fn program_before(program: u32) -> u32 {
        program.wrapping_sub(1) & (u32::MAX >> EXEC_SHIFT)
    }
}

/// `struct count`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Samples or waits.
    pub count: u64,
    /// Time that they stand for.
    pub nanos: u64,
}

/// `struct wait`, which only the programs read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Wait([u64; 4]);

/// `struct settings`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Which collection samples are for.
    pub epoch: u32,
    /// Whether starts of programs are told.
    pub watch_exec: u32,
    /// Whether there is a target with pid 0.
    pub every: u32,
    /// Never part of that target.
    pub own_pid: u32,
}

/// `struct counters`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Samples of targets.
    pub samples: u64,
    /// Stacks lost because the ring was full.
    pub ring_full: u64,
    /// Samples that found no room.
    pub counts_full: u64,
    /// Waits that found no room.
    pub waits_full: u64,
    /// Stacks left to user space.
    pub copies: u64,
    /// Walks that ended at memory that could not be read.
    pub unreadable: u64,
    /// Walks that ended at a rule that we do not have.
    pub no_rule: u64,
    /// Walks by frame pointers that led nowhere.
    pub lost: u64,
    /// Stacks that were counted for the first time.
    pub inserted: u64,
    /// Samples of unknown processes that were not copied because there were too many.
    pub too_many: u64,
    /// Starts and ends of programs that we were not told of.
    pub untold: u64,
}

/// Two words of an arena.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Words(pub [u32; 2]);

const _: () = assert!(size_of::<Rule>() == 16);
const _: () = assert!(size_of::<Mapping>() == 40);
const _: () = assert!(size_of::<Process>() == 16);
const _: () = assert!(size_of::<CountKey>() == 32);
const _: () = assert!(size_of::<Counters>() == 88);
const _: () = assert!(size_of::<Settings>() == 16);

/// A name of the kernel's: zeros follow it.
fn name(bytes: &[u8]) -> String {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

macro_rules! plain {
    ($($name:ty),*) => {
        $(
            // SAFETY: `repr(C)` of integers without padding: every byte is initialised. What the kernel
            // writes into them is read as integers only.
            unsafe impl Pod for $name {}
        )*
    };
}
plain!(
    Process, TargetKey, Target, CountKey, Count, Settings, Counters, Words, Wait
);
// `Rule` and `Mapping` have enums inside: we write them, and never read what the kernel has.

/// An event from the programs.
#[derive(Debug)]
pub enum Event {
    /// A stack that the dictionary lacks.
    Stack {
        /// Its name in [`CountKey`].
        id: u64,
        /// How its walk ended.
        end: End,
        /// Return addresses, innermost first.
        frames: Vec<u64>,
    },
    /// A stack that the programs could not walk because they did not know the process, or not all of it.
    Copy(Box<Copied>),
    /// A process began another program.
    Exec {
        /// The process.
        pid: u32,
        /// The program's number, as of [`CountKey::program`].
        program: u32,
        /// The kernel's short name of it.
        name: String,
    },
    /// A process ended.
    Exit(u32),
    /// A process began as a copy of another: child, parent.
    Fork(u32, u32),
    /// Many new stacks were counted.
    Counts,
}

/// Registers and stack of a thread.
#[derive(Debug)]
pub struct Copied {
    /// Of whom.
    pub pid: u32,
    /// Its name in [`CountKey`].
    pub id: u64,
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Link register.
    pub link: u64,
    /// An address that is in no mapping that the programs were told of; 0: they do not know the process.
    pub missing: u64,
    /// Code from four bytes before the instruction pointer on, if it could be read.
    pub code: Option<[u8; 16]>,
    /// The stack from the stack pointer on.
    pub stack: Vec<u8>,
}

/// `PERF_CONTEXT_MAX`: what is above is no address.
const MARKS: u64 = -4095_i64 as u64;

impl Event {
    /// Reads what a program wrote.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let u32_at = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let u64_at = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let pid = u32_at(4)?;
        Some(match u32_at(0)? {
            1 => {
                let length = 8 * u32_at(16)? as usize;
                let frames = bytes.get(24..24 + length)?.chunks_exact(8);
                let frames = frames.filter_map(|it| Some(u64::from_ne_bytes(it.try_into().ok()?)));
                // The kernel puts marks between frames where it was interrupted itself.
                let frames = frames.filter(|address| *address < MARKS);
                Self::Stack {
                    id: u64_at(8)?,
                    end: End::of(u32_at(20)?),
                    frames: frames.collect(),
                }
            }
            2 => {
                let length = u32_at(56)? as usize;
                let code = (u32_at(60)? > 0).then(|| bytes.get(64..80)).flatten();
                Self::Copy(Box::new(Copied {
                    pid,
                    id: u64_at(8)?,
                    ip: u64_at(16)?,
                    sp: u64_at(24)?,
                    fp: u64_at(32)?,
                    link: u64_at(40)?,
                    missing: u64_at(48)?,
                    code: code.and_then(|it| it.try_into().ok()),
                    stack: bytes.get(80..80 + length)?.to_vec(),
                }))
            }
            3 => Self::Exec {
                pid,
                program: u32_at(8)? >> EXEC_SHIFT,
                name: name(bytes.get(16..32)?),
            },
            4 => Self::Exit(pid),
            5 => Self::Fork(pid, u32_at(8)?),
            6 => Self::Counts,
            _ => return None,
        })
    }
}
