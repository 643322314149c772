//! Sampling: what is asked for, what runs, what comes out.

mod access;
mod budget;
mod dictionary;
mod ranges;
mod targets;

use std::collections::BTreeSet;
use std::time::Duration;

pub use access::Access;

use crate::profile::{Kind, Profile};

pub mod raw;
pub mod ring;

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
