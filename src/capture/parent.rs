//! A child and the gateway that started it: the child ends with it, however that ends, and the gateway has the
//! off-switch, so that it stands for the next child as it stood for this one.

use std::io;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};

use super::switch::Switch;

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

/// Lines on a child's standard input.
const OFF: &str = "off\n";
const ON: &str = "on\n";

/// What a gateway says of the off-switch.
pub(super) fn line(paused: bool) -> &'static str {
    if paused { OFF } else { ON }
}

/// Does what the gateway says of the off-switch, on a thread of its own.
///
/// # Errors
/// There is no thread to be had.
pub(super) fn follow(switch: Switch) -> io::Result<()> {
    let run = move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            switch.set(line == OFF.trim_end());
            switch.log();
        }
    };
    let name = "orders".to_owned();
    std::thread::Builder::new().name(name).spawn(run).map(drop)
}

/// A signal that was for the gateway: it turns its switch over, and tells us.
pub(super) fn pass_on(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::USR1)) {
        tracing::warn!(%error, "cannot tell the gateway of SIGUSR1");
    }
}
