//! The bounded in-memory queue (`memory-queue`).
//!
//! Wire bytes lie in chunks of up to 64 KiB that leave the queue without being copied, so the
//! process holds little more than what its byte budget counts. Writers and the one consumer of a
//! partition meet at the partition's lock, which is held for a copy of the messages at most; wakers
//! are called and charges given back outside of it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use perigee_plugin_api::budget::Budget;
use perigee_plugin_api::gate::{Gate, WaiterId};
use perigee_plugin_api::queue::{
    Dropped, LaneKey, Level, Limits, Next, Queue, Record, Settled, WhenFull,
};

use crate::lanes::Lanes;

mod lane;
mod lanes;
mod order;
#[cfg(test)]
mod tests;
mod wire;

/// What a queue is made to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many partitions; 0 means 1.
    pub partitions: usize,
    /// Messages that each of them may hold, batches in flight included.
    pub messages_per_partition: u64,
    /// What becomes of messages that find no room.
    pub when_full: WhenFull,
}

/// A queue in memory.
#[derive(Debug)]
pub struct MemoryQueue {
    options: Options,
    partitions: Box<[Partition]>,
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct Partition {
    /// Messages queued and in flight.
    gate: Gate,
    lanes: Mutex<Lanes>,
}

impl MemoryQueue {
    /// An empty queue whose bytes are charged to `budget`.
    pub fn new(options: Options, budget: Arc<Budget>) -> Self {
        let partition = |_| Partition {
            gate: Gate::new(options.messages_per_partition),
            lanes: Mutex::new(Lanes::new()),
        };
        Self {
            options,
            partitions: (0..options.partitions.max(1)).map(partition).collect(),
            budget,
        }
    }

    /// Charges arriving messages, letting go of older ones where that is asked for and makes room:
    /// says what of. `None`: the arriving ones have to go.
    fn admit(
        &self,
        partition: &Partition,
        lanes: &mut Lanes,
        arriving: Settled,
    ) -> Option<Settled> {
        let (messages, bytes) = (&partition.gate, self.budget.gate());
        let mut shed = Settled { count: 0, bytes: 0 };
        match self.options.when_full {
            WhenFull::Block => {
                messages.take(arriving.count);
                bytes.take(arriving.bytes);
            }
            WhenFull::DropNewest => {
                if !messages.try_take(arriving.count) {
                    return None;
                }
                if !bytes.try_take(arriving.bytes) {
                    messages.give_back(arriving.count);
                    return None;
                }
            }
            WhenFull::DropOldest => {
                let need = Settled {
                    count: messages.shortage(arriving.count),
                    bytes: bytes.shortage(arriving.bytes),
                };
                let queued = lanes.queued();
                if need.count > queued.count || need.bytes > queued.bytes {
                    return None;
                }
                shed = lanes.shed(need);
                // Nobody waits at the gate of a queue that never blocks.
                messages.give_back(shed.count);
                messages.take(arriving.count);
                bytes.take(arriving.bytes);
            }
        }
        Some(shed)
    }
}

impl Queue for MemoryQueue {
    fn partitions(&self) -> usize {
        self.partitions.len()
    }

    fn capacity(&self) -> u64 {
        let partitions = self.partitions.len() as u64;
        self.options
            .messages_per_partition
            .saturating_mul(partitions)
    }

    fn poll_ready(
        &self,
        partition: usize,
        waiter: WaiterId,
        arriving: Settled,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if self.options.when_full != WhenFull::Block {
            return Poll::Ready(());
        }
        let (messages, bytes) = (&self.partitions[partition].gate, self.budget.gate());
        // Who waits for bytes has had its turn for messages: having to wait for both turns at the
        // same time, nobody might ever pass.
        let had_turn = bytes.is_waiting(waiter) && messages.has_room(1);
        // A run may overfill the messages, not the bytes: a batch that waits for a full queue would
        // wait for the room that is too small for the next run.
        if !had_turn && messages.poll_open(waiter, arriving.count, cx).is_pending() {
            // Who does not look at a gate must not be the one that it wakes.
            bytes.forget(waiter);
            return Poll::Pending;
        }
        bytes.poll_room(waiter, arriving.bytes, cx)
    }

    fn forget(&self, partition: usize, waiter: WaiterId) {
        self.partitions[partition].gate.forget(waiter);
        self.budget.gate().forget(waiter);
    }

    fn push(&self, partition: usize, record: &Record<'_>) -> Dropped {
        let arriving = Settled {
            count: u64::from(record.count),
            bytes: record.messages.len() as u64,
        };
        let all = Dropped {
            count: arriving.count,
        };
        if record.messages.is_empty() {
            return all;
        }
        let partition = &self.partitions[partition];
        let mut lanes = partition.lanes.lock();
        if lanes.is_closed() {
            return all;
        }
        let Some(shed) = self.admit(partition, &mut lanes, arriving) else {
            return all;
        };
        let waker = lanes.push(record);
        drop(lanes);
        if shed.bytes > 0 {
            self.budget.gate().give_back(shed.bytes);
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        Dropped { count: shed.count }
    }

    fn next(&self, partition: usize, limits: &Limits, now: Instant, waker: &Waker) -> Next {
        self.partitions[partition]
            .lanes
            .lock()
            .next(limits, now, waker)
    }

    fn settle(&self, partition: usize, lane: &LaneKey, part: Settled, last: bool) {
        let partition = &self.partitions[partition];
        let waker = partition.lanes.lock().settle(lane, part.count, last);
        partition.gate.give_back(part.count);
        self.budget.gate().give_back(part.bytes);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn close(&self) {
        for partition in &self.partitions {
            let waker = partition.lanes.lock().close();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    fn level(&self, partition: usize) -> Level {
        self.partitions[partition].lanes.lock().level()
    }
}
