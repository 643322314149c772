//! The process-wide byte budget.
//!
//! Everything a client has handed over and no OAP has confirmed is charged here: queued bytes,
//! batches in flight, and messages of which only a part has arrived.
//!
//! Half-read messages are the delicate part. If every connection held a part and waited for room
//! for the rest, nobody could finish. So one of them at a time, the *finisher*, may go on above the
//! limit until its message is whole; whole messages never may. The seat is a gate of its own: who
//! waits for room waits for the seat too. Otherwise, with nearly all of the budget held by parts,
//! nobody would be told that the finisher is done.

use std::task::{Context, Poll};

use crate::gate::{Gate, WaiterId};

/// Bytes that the process may hold for its clients.
#[derive(Debug)]
pub struct Budget {
    gate: Gate,
    finisher: Gate,
}

impl Budget {
    /// A budget of `bytes`.
    pub fn new(bytes: u64) -> Self {
        Self {
            gate: Gate::new(bytes),
            finisher: Gate::new(1),
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
        let Budget { gate, finisher } = &*self.budget;
        if self.finisher {
            gate.take(bytes);
        } else if gate.poll_take(self.waiter, bytes, cx).is_ready() {
            finisher.forget(self.waiter);
        } else {
            if finisher.poll_take(self.waiter, 1, cx).is_pending() {
                return Poll::Pending;
            }
            gate.forget(self.waiter);
            self.finisher = true;
            gate.take(bytes);
        }
        self.bytes += bytes;
        Poll::Ready(())
    }

    /// The message is whole and looks for room: `poll` sees the budget without this charge, which
    /// would otherwise stand in its own way. Once it is ready the charge is gone.
    pub fn poll_hand_over<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        if self.bytes == 0 {
            return poll();
        }
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
            self.budget.finisher.give_back(1);
        }
    }
}

impl Drop for PartCharge {
    fn drop(&mut self) {
        self.budget.gate.forget(self.waiter);
        self.budget.finisher.forget(self.waiter);
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

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

    #[test]
    fn a_waiter_learns_that_the_finisher_is_done_though_the_budget_stays_full() {
        let budget = Arc::new(Budget::new(100));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut parts: Vec<_> = (0..10)
            .map(|_| PartCharge::new(Arc::clone(&budget)))
            .collect();
        for part in &mut parts {
            assert!(part.poll_grow(10, &mut cx).is_ready());
        }
        let mut finisher = parts.remove(0);
        assert!(finisher.poll_grow(1, &mut cx).is_ready());
        assert!(parts[0].poll_grow(1, &mut cx).is_pending());
        finisher.clear();
        assert_eq!(budget.gate().level(), 90, "above the level of waking");
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(parts[0].poll_grow(11, &mut cx).is_ready());
    }
}
