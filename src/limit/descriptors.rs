//! How many files this process may have open, which every connection is one of.
//!
//! Above the limit a connection cannot even be refused: it waits in the backlog, and the client for
//! its deadline.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// What is kept free of agents' connections: refused ones on their way out, connections to nodes and
/// of the admin server, files.
const RESERVE: u64 = 256;

/// Of each worker's own: its event queue and its connections to a few nodes.
const PER_WORKER: u64 = 8;

/// Raises the soft limit to the hard one; what it is then, `None`: there is none.
///
/// The soft one is low by tradition, for programs that use `select(2)`, which we do not.
pub(crate) fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(error) => {
            warn!(%error, limit = limit.current, "cannot raise the limit of open files");
            limit.current
        }
    }
}

/// As many of `wanted` connections as `limit` open files leave room for, and never less than a quarter
/// of them.
pub(crate) fn connections(wanted: usize, limit: Option<u64>, workers: usize) -> usize {
    let Some(limit) = limit else {
        return wanted;
    };
    let reserve = RESERVE + PER_WORKER * workers as u64;
    let room = limit.saturating_sub(reserve).max(limit / 4).max(1);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_as_many_as_files_leave_room_for() {
        for (wanted, limit, workers, connections_then) in [
            (4000, None, 2, 4000),
            (4000, Some(20_000), 2, 4000),
            (4000, Some(4272), 2, 4000),
            (4000, Some(4271), 2, 3999),
            (4000, Some(1024), 2, 752),
            (4000, Some(1024), 64, 256),
            (4000, Some(64), 2, 16),
            (4000, Some(0), 2, 1),
            (10, Some(64), 2, 10),
        ] {
            assert_eq!(
                connections(wanted, limit, workers),
                connections_then,
                "{wanted} of {limit:?} with {workers} workers"
            );
        }
    }
}
