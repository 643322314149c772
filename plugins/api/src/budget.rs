//! The process-wide byte budget.
//!
//! Everything a client has handed over and no OAP has confirmed is charged here: queued bytes and
//! batches in flight at one gate, messages of which only a part has arrived at another.
//!
//! Half-read messages are the delicate part, because only their clients can end them. If they
//! shared a gate with whole messages, the two could wait for each other for ever, and a few
//! clients that never go on could stop everybody. So whole messages wait for whole messages alone,
//! which leave by themselves. And if every connection held a part and waited for room for the rest,
//! nobody could finish: one of them at a time, the *finisher*, may go on above the parts' limit
//! until its message is whole. Its seat is a gate of its own: who waits for room waits for the seat
//! too. Otherwise, with nearly all of the room held by parts, nobody would be told that the
//! finisher is done. A finisher that does not go on while others wait has to be sent away by its
//! reader ([`PartCharge::is_in_the_way`]).
//!
//! What is kept until the rest of it comes, such as a meter until its set is whole, has a gate of its
//! own too. Nobody waits there: only its client can end the waiting, so who finds no room has to let
//! go of what it keeps.
//!
//! Who waits still holds what its client may send without being asked to go on. So only so many may
//! wait, and the next is sent away ([`Crowded`]).

use std::task::{Context, Poll};

use crate::gate::{Gate, WaiterId};

/// One part in so many of the budget is for half-read messages.
const PARTS: u64 = 5;

/// One part in so many is for what is kept until the rest of it comes.
const HELD: u64 = 8;

/// What one waiter is taken to hold besides what it is charged: a stream's window.
const WAITER: u64 = 64 * 1024;

/// One in so many of the parts' bytes is what all waiters may hold.
const WAITERS: u64 = 4;

/// So many may wait however small the budget is.
const LEAST_WAITERS: u64 = 64;

/// Bytes that the process may hold for its clients.
#[derive(Debug)]
pub struct Budget {
    whole: Gate,
    parts: Gate,
    finisher: Gate,
    waiters: Gate,
    held: Gate,
}

/// Too many half-read messages wait for room already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded;

impl Budget {
    /// A budget of `bytes` for whole messages, and more beside it for others.
    pub fn new(bytes: u64) -> Self {
        Self::of(bytes, bytes / (PARTS - 1), bytes / HELD)
    }

    /// A budget of `bytes` in all.
    pub fn within(bytes: u64) -> Self {
        let (parts, held) = (bytes / PARTS, bytes / HELD);
        Self::of(bytes - parts - held, parts, held)
    }

    fn of(whole: u64, parts: u64, held: u64) -> Self {
        Self {
            whole: Gate::new(whole),
            parts: Gate::new(parts),
            finisher: Gate::new(1),
            waiters: Gate::new((parts / WAITERS / WAITER).max(LEAST_WAITERS)),
            held: Gate::new(held),
        }
    }

    /// The level and its waiters, for whole messages.
    pub fn gate(&self) -> &Gate {
        &self.whole
    }

    /// The level of what is kept until the rest of it comes.
    pub fn held(&self) -> &Gate {
        &self.held
    }

    /// Bytes that are charged now.
    pub fn used(&self) -> u64 {
        self.whole.level() + self.parts.level() + self.held.level()
    }

    /// Bytes that may be charged, the finisher's aside.
    pub fn limit(&self) -> u64 {
        self.whole.limit() + self.parts.limit() + self.held.limit()
    }
}

/// What one inbound stream has been charged for the part of a message that it holds.
#[derive(Debug)]
pub struct PartCharge {
    budget: std::sync::Arc<Budget>,
    waiter: WaiterId,
    bytes: u64,
    finisher: bool,
    waits: bool,
}

impl PartCharge {
    /// Nothing charged yet. The waiter is its name where it has to wait, and no other's.
    pub fn new(budget: std::sync::Arc<Budget>, waiter: WaiterId) -> Self {
        Self {
            budget,
            waiter,
            bytes: 0,
            finisher: false,
            waits: false,
        }
    }

    /// What is charged now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether this is the finisher, and others wait for it.
    pub fn is_in_the_way(&self) -> bool {
        self.finisher && self.budget.finisher.has_waiters()
    }

    /// Whether this is the finisher.
    pub fn is_finisher(&self) -> bool {
        self.finisher
    }

    /// Charges `bytes` more; pending while there is no room and another stream is the finisher.
    ///
    /// # Errors
    /// There is no room, not even for one who waits.
    pub fn poll_grow(&mut self, bytes: u64, cx: &mut Context<'_>) -> Poll<Result<(), Crowded>> {
        let Budget {
            parts,
            finisher,
            waiters,
            ..
        } = &*self.budget;
        if self.finisher {
            parts.take(bytes);
        } else if parts.poll_take(self.waiter, bytes, cx).is_ready() {
            finisher.forget(self.waiter);
        } else if finisher.poll_take(self.waiter, 1, cx).is_ready() {
            parts.forget(self.waiter);
            self.finisher = true;
            parts.take(bytes);
        } else if self.waits || waiters.try_take(1) {
            self.waits = true;
            return Poll::Pending;
        } else {
            parts.forget(self.waiter);
            finisher.forget(self.waiter);
            return Poll::Ready(Err(Crowded));
        }
        self.stop_waiting();
        self.bytes += bytes;
        Poll::Ready(Ok(()))
    }

    fn stop_waiting(&mut self) {
        if std::mem::take(&mut self.waits) {
            self.budget.waiters.give_back(1);
        }
    }

    /// The message is whole and looks for room among the others of its kind. Once `poll` is ready
    /// the charge is gone.
    pub fn poll_hand_over<T>(&mut self, poll: impl FnOnce() -> Poll<T>) -> Poll<T> {
        let polled = poll();
        if polled.is_ready() {
            self.clear();
        }
        polled
    }

    /// The message is gone, or has been charged elsewhere.
    pub fn clear(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes > 0 {
            self.budget.parts.give_back(bytes);
        }
        if std::mem::take(&mut self.finisher) {
            self.budget.finisher.give_back(1);
        }
    }
}

impl Drop for PartCharge {
    fn drop(&mut self) {
        self.budget.parts.forget(self.waiter);
        self.budget.finisher.forget(self.waiter);
        self.stop_waiting();
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    fn part(budget: &Arc<Budget>) -> PartCharge {
        PartCharge::new(Arc::clone(budget), WaiterId::next())
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn one_half_read_message_may_finish_above_the_limit() {
        let budget = Arc::new(Budget::new(400));
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = part(&budget);
        let mut second = part(&budget);
        assert!(first.poll_grow(60, &mut cx).is_ready());
        assert!(second.poll_grow(40, &mut cx).is_ready());
        assert!(first.poll_grow(60, &mut cx).is_ready());
        assert!(second.poll_grow(1, &mut cx).is_pending());
        assert_eq!(budget.used(), 160);
        assert!(first.poll_hand_over(|| Poll::Ready(())).is_ready());
        assert_eq!(budget.used(), 40);
        assert!(second.poll_grow(1, &mut cx).is_ready());
    }

    #[test]
    fn a_whole_message_does_not_wait_for_half_read_ones() {
        let budget = Arc::new(Budget::new(400));
        let mut cx = Context::from_waker(Waker::noop());
        let mut parts: Vec<_> = (0..4).map(|_| part(&budget)).collect();
        for part in &mut parts {
            assert!(part.poll_grow(25, &mut cx).is_ready());
        }
        assert!(parts[0].poll_grow(300, &mut cx).is_ready());
        let push = || {
            let room = budget.gate().has_room(325);
            if room { Poll::Ready(()) } else { Poll::Pending }
        };
        assert!(parts[0].poll_hand_over(push).is_ready());
        assert!(budget.gate().has_room(400));
    }

    #[test]
    fn only_so_many_may_wait() {
        let budget = Arc::new(Budget::new(400));
        let mut cx = Context::from_waker(Waker::noop());
        let mut parts: Vec<_> = (0..66).map(|_| part(&budget)).collect();
        assert_eq!(parts[0].poll_grow(200, &mut cx), Poll::Ready(Ok(())));
        assert_eq!(parts[1].poll_grow(1, &mut cx), Poll::Ready(Ok(())));
        assert!(parts[1].is_finisher() && !parts[1].is_in_the_way());
        let (finisher, rest) = parts[1..].split_first_mut().expect("66");
        for part in rest.iter_mut() {
            assert!(part.poll_grow(1, &mut cx).is_pending());
            assert!(part.poll_grow(1, &mut cx).is_pending());
        }
        assert!(finisher.is_in_the_way());
        let mut late = part(&budget);
        assert_eq!(late.poll_grow(1, &mut cx), Poll::Ready(Err(Crowded)));
        parts.pop();
        assert!(late.poll_grow(1, &mut cx).is_pending());
    }

    #[test]
    fn half_read_messages_of_a_flood_leave_others_their_turn() {
        let budget = Arc::new(Budget::new(400));
        let mut cx = Context::from_waker(Waker::noop());
        let of = |last, connection| {
            let source = std::net::Ipv4Addr::new(10, 0, 0, last).into();
            PartCharge::new(Arc::clone(&budget), WaiterId::of(source, connection))
        };
        let mut held = of(1, 1);
        let mut finisher = of(1, 1);
        assert!(held.poll_grow(100, &mut cx).is_ready());
        assert!(finisher.poll_grow(1, &mut cx).is_ready());
        let mut flood: Vec<_> = (0..10).map(|_| of(1, 1)).collect();
        for part in &mut flood {
            assert!(part.poll_grow(49, &mut cx).is_pending());
        }
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut modest_cx = Context::from_waker(&waker);
        let mut modest = of(2, 2);
        assert!(modest.poll_grow(49, &mut modest_cx).is_pending());
        drop(held);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(modest.poll_grow(49, &mut modest_cx).is_ready());
    }

    #[test]
    fn the_whole_is_within_what_was_asked_for() {
        assert_eq!(Budget::within(1 << 30).limit(), 1 << 30);
        assert_eq!(Budget::new(400).limit(), 550);
    }

    #[test]
    fn a_waiter_learns_that_the_finisher_is_done_though_the_parts_stay_full() {
        let budget = Arc::new(Budget::new(400));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let mut parts: Vec<_> = (0..10).map(|_| part(&budget)).collect();
        for part in &mut parts {
            assert!(part.poll_grow(10, &mut cx).is_ready());
        }
        let mut finisher = parts.remove(0);
        assert!(finisher.poll_grow(1, &mut cx).is_ready());
        assert!(parts[0].poll_grow(11, &mut cx).is_pending());
        finisher.clear();
        assert_eq!(budget.used(), 90, "too little room for it");
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(parts[0].poll_grow(11, &mut cx).is_ready());
    }
}
