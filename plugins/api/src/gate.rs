//! A counting gate: takers wait when it is full and are called when it has room again.
//!
//! Taking and giving back are single atomic operations as long as nobody waits. Once somebody does,
//! room is given out by turns, over sources, over each source's connections and over each
//! connection's streams ([`WaiterId::of`]). Who is called has its room kept until it has looked, so
//! it does not matter who runs first, and nobody who has just passed or comes anew gets ahead of those
//! who wait. Calling no more than fit also keeps hundreds of blocked streams from running for each
//! message delivered.
//!
//! A stream waits for one thing at a time, so a source of one stream would get one turn of each
//! release, and one of a thousand all the rest. Hence rounds: each source is called once a round, and
//! the next round begins when all who were called have looked, so that they are back in line if they
//! want more. While half of the gate is free nothing is scarce, and all who fit are called at once.
//!
//! Who wants more than there is room for is passed over, and is the first to be asked when there is
//! more; so room never lies idle while it is enough for somebody. Messages that are stuck in the gate
//! for long thus hold up only who wants more than they leave.
//!
//! # Invariant
//! When everybody who was called has looked or given up, nobody waits for what would fit.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use parking_lot::Mutex;

mod line;
mod turns;

pub use line::WaiterId;
use line::{Line, Waiting, Wish};

/// Room is scarce while less than one part in so many is free.
const SCARCE: u64 = 2;

/// A level with a limit.
#[derive(Debug)]
pub struct Gate {
    level: AtomicU64,
    limit: u64,
    waiting: AtomicUsize,
    line: Mutex<Line>,
}

impl Gate {
    /// An empty gate.
    pub fn new(limit: u64) -> Self {
        Self {
            level: AtomicU64::new(0),
            limit,
            waiting: AtomicUsize::new(0),
            line: Mutex::default(),
        }
    }

    /// What is taken now.
    pub fn level(&self) -> u64 {
        self.level.load(Ordering::SeqCst)
    }

    /// What may be taken.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether `amount` fits. Something larger than the whole gate fits when the gate is empty.
    pub fn has_room(&self, amount: u64) -> bool {
        self.shortage(amount) == 0
    }

    /// How much has to be given back before `amount` fits.
    pub fn shortage(&self, amount: u64) -> u64 {
        let level = self.level();
        level
            .saturating_add(amount)
            .saturating_sub(self.limit)
            .min(level)
    }

    /// Takes `amount` without asking: for what is already in our hands.
    pub fn take(&self, amount: u64) {
        self.level.fetch_add(amount, Ordering::SeqCst);
    }

    /// Takes `amount` if it fits, whoever waits.
    pub fn try_take(&self, amount: u64) -> bool {
        self.level
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |level| {
                (level == 0 || level.saturating_add(amount) <= self.limit)
                    .then(|| level.saturating_add(amount))
            })
            .is_ok()
    }

    /// Takes `amount`, or registers the waiter and wakes it when it is its turn.
    pub fn poll_take(&self, waiter: WaiterId, amount: u64, cx: &mut Context<'_>) -> Poll<()> {
        let wish = Wish {
            needed: amount,
            amount,
        };
        self.poll_until(waiter, wish, cx, || self.try_take(amount))
    }

    /// Whether `amount` fits, without taking it; registers the waiter, which is woken when it is its
    /// turn, if it does not.
    pub fn poll_room(&self, waiter: WaiterId, amount: u64, cx: &mut Context<'_>) -> Poll<()> {
        let wish = Wish {
            needed: amount,
            amount,
        };
        self.poll_until(waiter, wish, cx, || self.has_room(amount))
    }

    /// Like [`poll_room`](Self::poll_room), but ready as soon as the gate is not full. All of the
    /// `amount` may be taken then, which others will not be called for.
    pub fn poll_open(&self, waiter: WaiterId, amount: u64, cx: &mut Context<'_>) -> Poll<()> {
        let wish = Wish { needed: 1, amount };
        self.poll_until(waiter, wish, cx, || self.has_room(1))
    }

    fn poll_until(
        &self,
        waiter: WaiterId,
        wish: Wish,
        cx: &mut Context<'_>,
        passes: impl Fn() -> bool,
    ) -> Poll<()> {
        if self.waiting.load(Ordering::SeqCst) == 0 && passes() {
            return Poll::Ready(());
        }
        let mut line = self.line.lock();
        let was_called = line.uncall(waiter);
        if was_called && wish.needed <= self.room(&line) && passes() {
            self.passed(&mut line);
            return Poll::Ready(());
        }
        let waker = cx.waker().clone();
        line.enter(waiter, Waiting { wish, waker }, was_called);
        // A release that does not see this has happened before, and what it freed is called for here.
        self.count(&line);
        self.call(&mut line, Some(waiter));
        if !line.is_called(waiter) {
            return Poll::Pending;
        }
        if passes() {
            line.uncall(waiter);
            self.passed(&mut line);
            return Poll::Ready(());
        }
        // Taken in the meantime by somebody who does not ask: look again.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Gives `amount` back and calls those who fit now.
    pub fn give_back(&self, amount: u64) {
        let before = self.level.fetch_sub(amount, Ordering::SeqCst);
        debug_assert!(before >= amount, "gave back {amount} of {before}");
        if self.has_waiters() {
            self.call(&mut self.line.lock(), None);
        }
    }

    /// Whether anybody waits.
    pub fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Whether this one waits.
    pub fn is_waiting(&self, waiter: WaiterId) -> bool {
        self.has_waiters() && self.line.lock().contains(waiter)
    }

    /// Stops waiting.
    pub fn forget(&self, waiter: WaiterId) {
        if !self.has_waiters() {
            return;
        }
        let mut line = self.line.lock();
        if line.uncall(waiter) {
            self.passed(&mut line);
        } else {
            line.leave(waiter);
            self.count(&line);
        }
    }

    /// One who was called is out of the line: it may have been the last of the round, and may have
    /// left room.
    fn passed(&self, line: &mut Line) {
        self.call(line, None);
        self.count(line);
    }

    /// What nobody has taken and nobody is called for.
    fn room(&self, line: &Line) -> u64 {
        match self.level().saturating_add(line.kept()) {
            0 => u64::MAX,
            taken => self.limit.saturating_sub(taken),
        }
    }

    /// Calls by turns those who fit. The one who looks just now need not be woken.
    fn call(&self, line: &mut Line, looking: Option<WaiterId>) {
        loop {
            let room = self.room(line);
            let is_scarce = room < self.limit / SCARCE;
            let Some((waiter, waker)) = line.call_next(room, is_scarce) else {
                break;
            };
            if Some(waiter) != looking {
                waker.wake();
            }
        }
    }

    fn count(&self, line: &Line) {
        self.waiting.store(line.len(), Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
