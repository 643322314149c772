//! A child ends with the process that started it, however that ends.

use std::io;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// Why a child does not begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParentError {
    /// Nobody would end us.
    #[error("cannot be tied to the process {pid}: {source}")]
    Tie {
        /// The parent's.
        pid: u32,
        /// Why.
        source: io::Error,
    },
    /// It ended before we were tied to it, or never was our parent.
    #[error("the process {pid} is not the parent of this one (any more)")]
    Gone {
        /// The parent's.
        pid: u32,
    },
}

/// Asks the kernel to kill us when the thread that started us ends.
pub(super) fn tie_to(pid: u32) -> Result<(), ParentError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| ParentError::Tie {
        pid,
        source: error.into(),
    })?;
    // One that has ended before sends no signal.
    let is_parent =
        getppid().is_some_and(|parent| u32::try_from(Pid::as_raw(Some(parent))) == Ok(pid));
    if is_parent {
        Ok(())
    } else {
        Err(ParentError::Gone { pid })
    }
}
