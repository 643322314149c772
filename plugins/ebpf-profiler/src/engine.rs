//! Sampling: what is asked for, what runs, what comes out.

mod budget;
mod commands;
mod dictionary;
mod kernel;
mod maps;
mod naming;
mod open;
mod permit;
mod placement;
mod ranges;
pub mod raw;
pub mod ring;
mod sampling;
mod session;
mod targets;
mod worker;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

pub use kernel::Kernel;
pub use open::{Opened, open};
pub use sampling::Sampling;

use crate::access::Access;
use crate::profile::{Kind, Profile};

/// Which processes a session is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// Every process of the node but our own.
    All,
    /// These, as the host's PID namespace sees them.
    Processes(BTreeSet<u32>),
}

/// What a session shall capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Samples or waits.
    pub kind: Kind,
    /// Of whom.
    pub targets: Targets,
    /// Time between two samples of one CPU; of no effect on [`Kind::OffCpu`].
    pub period: Duration,
    /// Shorter waits are not counted; of no effect on [`Kind::OnCpu`].
    pub minimum: Duration,
    /// Whether the CPU budget may lengthen the period.
    pub elastic: bool,
}

/// A session that could not be started or changed: what was tried, why not, what to grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not possible: {because}{}", missing.as_ref().map(|it| format!("; needs {it}")).unwrap_or_default())]
pub struct Refused {
    /// For example `off-CPU profiling`.
    pub what: String,
    /// The kernel's answer in plain words, or our own reason.
    pub because: String,
    /// Capabilities or settings that would help.
    pub missing: Option<String>,
}

/// Something that captures: the kernel's programs in the product, fakes in tests of what lies above.
pub trait Capture: Send + Sync {
    /// Begins to capture.
    ///
    /// # Errors
    /// The machine or the configuration forbids it.
    fn start(&self, request: &Request) -> Result<Box<dyn Session>, Refused>;
}

/// A running capture; it ends when dropped.
pub trait Session: Send {
    /// What has come since the last call, with names. Takes milliseconds to seconds: not for a runtime thread.
    fn take(&mut self) -> Profile;

    /// Sets the processes anew.
    ///
    /// # Errors
    /// The configuration forbids one, or there are more than the kernel's map holds.
    fn retarget(&mut self, targets: &Targets) -> Result<(), Refused>;
}

/// How to capture.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the kernel tells of processes: `/proc`, or where the host's is mounted.
    pub proc: PathBuf,
    /// Share of one core that capturing may take, in percent; 0 is no limit.
    pub cpu_percent: f64,
    /// Memory that capturing may take, the kernel's maps included. With BPF: three eighths for unwind tables, an eighth
    /// for what each session has collected; with rings a quarter for tables, one for the rings, one for sessions.
    /// A quarter is left to what has been taken and not been sent ([`crate::oap::Settings::memory`]).
    pub memory_bytes: u64,
    /// Who may be looked at.
    pub access: Access,
    /// Whether the kernel measures what our programs cost it.
    pub measure: bool,
}

impl Settings {
    /// So much of the memory.
    fn memory_share(&self, divisor: u64) -> usize {
        usize::try_from(self.memory_bytes / divisor).unwrap_or(usize::MAX)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            cpu_percent: 1.0,
            memory_bytes: 64 << 20,
            access: Access::default(),
            measure: false,
        }
    }
}

/// Something that happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It began another program.
    Exec(u32),
    /// It ended.
    Exit(u32),
}
