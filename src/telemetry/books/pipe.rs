//! The books of one pipe.

use std::iter::Sum;

use super::count::Count;

/// Why messages were let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// They found the queue full (`drop_newest`).
    QueueFull,
    /// They made room for newer ones (`drop_oldest`).
    Evicted,
    /// Too old.
    Expired,
    /// The OAP refused these very messages, in a batch of their own.
    Rejected,
    /// The OAP does not know the method.
    Unimplemented,
    /// As many attempts as the file allows.
    Attempts,
    /// Still there when the time for the shutdown was over.
    Shutdown,
    /// The bytes are no message, on a method whose messages we have to read.
    Malformed,
    /// An event without layer, which an OAP refuses.
    Layerless,
    /// Its call had not said whose it is, which an OAP would have to know.
    Unattributed,
    /// The rest of what it belongs to never came.
    Incomplete,
    /// What it belongs to is longer than an OAP takes.
    Oversized,
    /// There was no room to keep it until the rest of what it belongs to came.
    NoRoom,
}

impl DropReason {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::QueueFull,
        Self::Evicted,
        Self::Expired,
        Self::Rejected,
        Self::Unimplemented,
        Self::Attempts,
        Self::Shutdown,
        Self::Malformed,
        Self::Layerless,
        Self::Unattributed,
        Self::Incomplete,
        Self::Oversized,
        Self::NoRoom,
    ];

    /// Value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::Rejected => "rejected",
            Self::Unimplemented => "unimplemented",
            Self::Attempts => "attempts",
            Self::Shutdown => "shutdown",
            Self::Malformed => "malformed",
            Self::Layerless => "layerless",
            Self::Unattributed => "unattributed",
            Self::Incomplete => "incomplete",
            Self::Oversized => "oversized",
            Self::NoRoom => "no_room",
        }
    }

    /// Whether the queue let go of the messages for want of room; otherwise delivery gave up.
    pub const fn is_for_room(self) -> bool {
        match self {
            Self::QueueFull | Self::Evicted | Self::NoRoom => true,
            Self::Expired
            | Self::Rejected
            | Self::Unimplemented
            | Self::Attempts
            | Self::Shutdown
            | Self::Malformed
            | Self::Layerless
            | Self::Unattributed
            | Self::Incomplete
            | Self::Oversized => false,
        }
    }
}

/// What became of the messages of one pipe.
#[derive(Debug)]
pub struct PipeBooks {
    name: String,
    sniff_type: &'static str,
    received: Count,
    received_bytes: Count,
    acknowledged: Count,
    taken: Count,
    delivered: Count,
    merged: Count,
    dropped: [Count; DropReason::ALL.len()],
    resent: Count,
    passthrough_calls: Count,
    passthrough_failures: Count,
}

impl PipeBooks {
    pub(super) fn new(name: impl Into<String>, sniff_type: &'static str) -> Self {
        Self {
            name: name.into(),
            sniff_type,
            received: Count::default(),
            received_bytes: Count::default(),
            acknowledged: Count::default(),
            taken: Count::default(),
            delivered: Count::default(),
            merged: Count::default(),
            dropped: Default::default(),
            resent: Count::default(),
            passthrough_calls: Count::default(),
            passthrough_failures: Count::default(),
        }
    }

    /// Value of the label `pipe`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Value of Satellite's label `type`.
    pub fn sniff_type(&self) -> &'static str {
        self.sniff_type
    }

    /// Whole messages arrived. Count them before they go into the queue, where they can be
    /// delivered at once.
    pub fn received(&self, messages: u64, bytes: u64) {
        self.received.add(messages);
        self.received_bytes.add(bytes);
    }

    /// The client was told that its messages are taken.
    pub fn acknowledged(&self, messages: u64) {
        self.acknowledged.add(messages);
    }

    /// Messages left the queue with a batch, for the first time.
    pub fn taken_from_queue(&self, messages: u64) {
        self.taken.add(messages);
    }

    /// The OAP confirmed messages.
    pub fn delivered(&self, messages: u64) {
        self.delivered.add(messages);
    }

    /// Messages were replaced by later ones that say the same.
    pub fn merged(&self, messages: u64) {
        self.merged.add(messages);
    }

    /// Messages were let go.
    pub fn dropped(&self, reason: DropReason, messages: u64) {
        self.dropped[reason as usize].add(messages);
    }

    /// Messages were sent that had been sent before.
    pub fn resent(&self, messages: u64) {
        self.resent.add(messages);
    }

    /// A passthrough call was begun.
    pub fn passthrough_call(&self) {
        self.passthrough_calls.add(1);
    }

    /// A passthrough call ended by a fault of ours, the connection's or the node's; an error
    /// status from the OAP's own code is an answer and no failure.
    pub fn passthrough_failed(&self) {
        self.passthrough_failures.add(1);
    }

    /// All numbers. Messages may move while it is taken, but none is seen leaving that is not seen
    /// arriving.
    pub fn snapshot(&self) -> PipeSnapshot {
        let delivered = self.delivered.value();
        let merged = self.merged.value();
        let dropped = std::array::from_fn(|index| self.dropped[index].value());
        PipeSnapshot {
            delivered,
            merged,
            dropped,
            taken: self.taken.value(),
            resent: self.resent.value(),
            acknowledged: self.acknowledged.value(),
            passthrough_calls: self.passthrough_calls.value(),
            passthrough_failures: self.passthrough_failures.value(),
            // Last: see `Count`.
            received: self.received.value(),
            received_bytes: self.received_bytes.value(),
        }
    }
}

/// The numbers of a pipe, or of all pipes, at one time. In messages, unless named otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipeSnapshot {
    /// Arrived whole.
    pub received: u64,
    /// Their bytes, prefixes included.
    pub received_bytes: u64,
    /// Taken over: the client was told so.
    pub acknowledged: u64,
    /// Left the queue with a batch.
    pub taken: u64,
    /// Confirmed by an OAP.
    pub delivered: u64,
    /// Replaced by later ones.
    pub merged: u64,
    /// Let go, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Sent again.
    pub resent: u64,
    /// Passthrough calls.
    pub passthrough_calls: u64,
    /// Passthrough calls that failed.
    pub passthrough_failures: u64,
}

impl PipeSnapshot {
    /// What must still be queued or in flight.
    pub fn outstanding(&self) -> u64 {
        let gone = self.delivered + self.merged + self.dropped_in_all();
        self.received.saturating_sub(gone)
    }

    /// Let go for any reason.
    pub fn dropped_in_all(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Let go for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Let go by the queue for want of room: Satellite's `abandoned`.
    pub fn dropped_for_room(&self) -> u64 {
        self.dropped_where(DropReason::is_for_room)
    }

    /// Let go because delivery gave up: Satellite's `failure`.
    pub fn given_up(&self) -> u64 {
        self.dropped_where(|reason| !reason.is_for_room())
    }

    fn dropped_where(&self, wanted: impl Fn(DropReason) -> bool) -> u64 {
        let reasons = DropReason::ALL.into_iter().filter(|reason| wanted(*reason));
        reasons.map(|reason| self.dropped_for(reason)).sum()
    }
}

impl Sum for PipeSnapshot {
    fn sum<I: Iterator<Item = Self>>(snapshots: I) -> Self {
        snapshots.fold(Self::default(), |sum, one| Self {
            received: sum.received + one.received,
            received_bytes: sum.received_bytes + one.received_bytes,
            acknowledged: sum.acknowledged + one.acknowledged,
            taken: sum.taken + one.taken,
            delivered: sum.delivered + one.delivered,
            merged: sum.merged + one.merged,
            dropped: std::array::from_fn(|index| sum.dropped[index] + one.dropped[index]),
            resent: sum.resent + one.resent,
            passthrough_calls: sum.passthrough_calls + one.passthrough_calls,
            passthrough_failures: sum.passthrough_failures + one.passthrough_failures,
        })
    }
}
