//! The process-wide byte budget.
//!
//! Everything a client has handed over and no OAP has confirmed is charged here: queued bytes,
//! batches in flight, and messages of which only a part has arrived.
//!
//! Half-read messages are the delicate part. If every connection held a part and waited for room
//! for the rest, nobody could finish. So one of them at a time, the *finisher*, may go on above the
//! limit until its message is whole; whole messages never may.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use crate::gate::{Gate, WaiterId};

/// Bytes that the process may hold for its clients.
#[derive(Debug)]
pub struct Budget {
    gate: Gate,
    finisher_taken: AtomicBool,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: u64) -> Self {
        Self {
            gate: Gate::new(bytes),
            finisher_taken: AtomicBool::new(false),
        }
    }

    /// The level and its waiters, for whole messages.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }
}

/// What one inbound stream has been charged for the part of a message that it holds.
#[derive(Debug)]
pub struct PartCharge {
    budget: std::sync::Arc<Budget>,
    waiter: WaiterId,
    bytes: u64,
    finisher: bool,
}

impl PartCharge {
    /// Nothing charged yet.
    pub fn new(budget: std::sync::Arc<Budget>) -> Self {
        Self {
            budget,
            waiter: WaiterId::next(),
            bytes: 0,
            finisher: false,
        }
    }

    /// What is charged now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Charges `bytes` more; pending while there is no room and another stream is the finisher.
    pub fn poll_grow(&mut self, bytes: u64, cx: &mut Context<'_>) -> Poll<()> {
        if self.finisher {
            self.budget.gate.take(bytes);
        } else if self
            .budget
            .gate
            .poll_take(self.waiter, bytes, cx)
            .is_pending()
        {
            if self.budget.finisher_taken.swap(true, Ordering::SeqCst) {
                return Poll::Pending;
            }
            self.budget.gate.forget(self.waiter);
            self.finisher = true;
            self.budget.gate.take(bytes);
        }
        self.bytes += bytes;
        Poll::Ready(())
    }

    /// The message is whole and looks for room: `poll` sees the budget without this charge, which
    /// would otherwise stand in its own way. Once it is ready the charge is gone.
    pub fn poll_hand_over<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        self.budget.gate.lend(self.bytes);
        let polled = poll();
        self.budget.gate.take(self.bytes);
        if polled.is_ready() {
            self.clear();
        }
        polled
    }

    /// The message is gone, or has been charged elsewhere.
    pub fn clear(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0 {
            self.budget.gate.give_back(bytes);
        }
        if std::mem::take(&mut self.finisher) {
            self.budget.finisher_taken.store(false, Ordering::SeqCst);
            // What is left may all be parts, none of which will ever give back enough to wake the
            // others: one of them must become the next finisher.
            self.budget.gate.wake_all();
        }
    }
}

impl Drop for PartCharge {
    fn drop(&mut self) {
        self.budget.gate.forget(self.waiter);
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Waker;

    #[test]
    fn one_half_read_message_may_finish_above_the_limit() {
        let budget = Arc::new(Budget::new(100));
        budget.gate().take(100);
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = PartCharge::new(Arc::clone(&budget));
        let mut second = PartCharge::new(Arc::clone(&budget));
        assert!(first.poll_grow(60, &mut cx).is_ready());
        assert!(second.poll_grow(1, &mut cx).is_pending());
        assert!(first.poll_grow(60, &mut cx).is_ready());
        assert_eq!(budget.gate().level(), 220);
        let handed_over = first.poll_hand_over(|| {
            assert_eq!(
                budget.gate().level(),
                100,
                "its own charge is not in its way"
            );
            Poll::Ready(())
        });
        assert!(handed_over.is_ready());
        assert_eq!(budget.gate().level(), 100);
        assert!(second.poll_grow(1, &mut cx).is_ready());
    }
}
