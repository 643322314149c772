//! The engine on the `h2` crate, one thread a connection (`performance.md`, design D).

mod bond;
pub(super) mod channel;
pub(super) mod front;
mod io;
pub(super) mod live;
mod outbox;
mod queued;

/// Budget for small DATA frames that are received but unread. The crate's own default ends a
/// connection with ENHANCE_YOUR_CALM once clients with 160-byte messages have been paused for a
/// few seconds (`performance.md` 7.1); our windows already bound what can pile up.
const DATA_FRAME_BUDGET: usize = usize::MAX / 2;
