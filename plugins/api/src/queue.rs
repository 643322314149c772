//! The contract of a queue between the front and the senders.
//!
//! A queue holds wire bytes: runs of whole length-prefixed gRPC messages with their count, never a
//! list of messages. It is split into *partitions*, each with one consumer, and a partition into
//! *lanes*: what may travel together. Order is kept within a lane.
//!
//! Nothing leaves the books when it is taken: a [`Batch`] stays charged until it is settled.

use std::fmt::Debug;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::gate::WaiterId;

/// What may travel together in one batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LaneKey {
    /// Index of the method within the pipe, in the pipe's own numbering.
    pub method: u16,
    /// The route key; `None` for messages that any node may have. Of a route at most one batch is
    /// in flight, whatever else its lanes differ in.
    pub route: Option<Arc<[u8]>>,
    /// What messages of one call must have in common, where they must.
    pub group: Option<Arc<[u8]>>,
    /// The caller's token, where callers' tokens are forwarded: a batch never mixes them.
    pub token: Option<Arc<str>>,
}

/// A run of messages on its way into a queue.
#[derive(Debug)]
pub struct Record<'a> {
    /// Where it belongs.
    pub lane: &'a LaneKey,
    /// Whole length-prefixed messages.
    pub messages: &'a [u8],
    /// How many.
    pub count: u32,
    /// When they arrived.
    pub now: Instant,
}

/// A run of messages on its way out.
#[derive(Debug)]
pub struct Batch {
    /// Where it came from.
    pub lane: LaneKey,
    /// Whole length-prefixed messages; a message never spans two chunks.
    pub chunks: Vec<Bytes>,
    /// How many messages.
    pub count: u32,
    /// How many bytes, prefixes included.
    pub bytes: u64,
    /// When the oldest of them arrived, or earlier: a queue may keep one time for several messages.
    pub oldest: Instant,
}

/// When a lane's messages are due to leave. The caller may change them from take to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most messages in a batch.
    pub count: u32,
    /// Most bytes in a batch; a single larger message still goes, alone.
    pub bytes: u64,
    /// Longest wait for company before a batch is due.
    pub linger: Duration,
    /// How many nodes are ready: a batch is at most its share of what the lane holds, so that a
    /// burst reaches all of them.
    pub shares: u32,
    /// A share is never cut below this many messages.
    pub smallest_share: u32,
}

/// What the consumer of a partition should do.
#[derive(Debug)]
pub enum Next {
    /// Deliver this and settle it.
    Batch(Batch),
    /// Nothing is due. Come back at this time, or when woken.
    Wait(Option<Instant>),
    /// Closed and empty.
    Closed,
}

/// What became of a message that found the queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Messages that were let go.
    pub count: u64,
}

/// What to do with a message when there is no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Stop reading that client.
    #[default]
    Block,
    /// Let go of the arriving messages.
    DropNewest,
    /// Let go of the oldest queued ones.
    DropOldest,
}

/// What a partition holds, batches in flight included where it says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level {
    /// Messages waiting.
    pub queued: u64,
    /// Bytes waiting.
    pub queued_bytes: u64,
    /// Messages taken and not settled.
    pub in_flight: u64,
    /// Arrival of the oldest waiting message.
    pub oldest: Option<Instant>,
}

/// A queue. All methods are called from several threads; none blocks. A partition is named by its
/// index, below [`partitions`](Queue::partitions).
pub trait Queue: Debug + Send + Sync {
    /// How many partitions there are; at least one.
    fn partitions(&self) -> usize;

    /// Messages that the whole queue may hold.
    fn capacity(&self) -> u64;

    /// Whether what is `arriving` may be pushed to the partition now. Pending registers the waiter,
    /// which is woken when there is room again and it is its turn. Always ready unless the queue
    /// blocks when full.
    ///
    /// Readiness is not a reservation: several writers that were ready together may all push, so a
    /// queue can exceed its limits by what its writers hold in their hands.
    fn poll_ready(
        &self,
        partition: usize,
        waiter: WaiterId,
        arriving: Settled,
        cx: &mut Context<'_>,
    ) -> Poll<()>;

    /// Stops waiting.
    fn forget(&self, partition: usize, waiter: WaiterId);

    /// Takes the messages; says how many were let go instead: the arriving ones, all together, or
    /// older ones. After [`close`](Queue::close) the arriving ones are.
    fn push(&self, partition: usize, record: &Record<'_>) -> Dropped;

    /// The next batch of a partition, if one is due. The waker is kept until the answer changes.
    fn next(&self, partition: usize, limits: &Limits, now: Instant, waker: &Waker) -> Next;

    /// Takes messages off the books: a batch may be settled at once or in parts. The lane's
    /// following batch becomes due when `last` is set.
    fn settle(&self, partition: usize, lane: &LaneKey, part: Settled, last: bool);

    /// No more will be pushed; everything left is due at once.
    fn close(&self);

    /// What a partition holds.
    fn level(&self, partition: usize) -> Level;
}

/// What a settled part of a batch weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Messages.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}
