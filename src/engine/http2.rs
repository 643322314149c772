//! The engine on the `h2` crate, one thread a connection (`performance.md`, design D).

mod bond;
pub(super) mod channel;
pub(super) mod front;
mod gather;
mod io;
pub(super) mod live;
mod outbox;
mod queued;

/// Budget for small DATA frames that a node has sent and nobody has read: nodes are trusted.
const DATA_FRAME_BUDGET: usize = usize::MAX / 2;
