//! A counting gate: takers wait when it is full and are woken when it has room again.
//!
//! Taking and giving back are single atomic operations as long as nobody waits. Waiters are woken
//! together once an eighth of the limit is free (at any release when the limit is below eight):
//! waking them all at every single release would make hundreds of blocked streams run for each
//! message delivered. One that still finds no room for what it wants registers again.
//!
//! Above that mark, which is never left when stuck messages hold more, a release wakes one waiter
//! whose amount fits. It stays registered until it has looked or has given up, and then the next
//! that fits is woken, so room never lies idle for want of a further release.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Names a waiter, so that polling twice registers once. Unique within the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaiterId(u64);

impl WaiterId {
    /// The name as bytes, for those who need a unique key.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// A new name.
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// What somebody waits for.
#[derive(Debug)]
struct Waiting {
    amount: u64,
    waker: Waker,
}

/// A level with a limit.
#[derive(Debug)]
pub struct Gate {
    level: AtomicU64,
    limit: u64,
    waiting: AtomicUsize,
    waiters: Mutex<BTreeMap<WaiterId, Waiting>>,
}

impl Gate {
    /// An empty gate.
    pub fn new(limit: u64) -> Self {
        Self {
            level: AtomicU64::new(0),
            limit,
            waiting: AtomicUsize::new(0),
            waiters: Mutex::new(BTreeMap::new()),
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

    /// Takes `amount` if it fits.
    pub fn try_take(&self, amount: u64) -> bool {
        self.level
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |level| {
                (level == 0 || level.saturating_add(amount) <= self.limit)
                    .then(|| level.saturating_add(amount))
            })
            .is_ok()
    }

    /// Takes `amount`, or registers the waiter and is woken when there is room again.
    pub fn poll_take(&self, waiter: WaiterId, amount: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_until(waiter, amount, cx, || self.try_take(amount))
    }

    /// Whether `amount` fits, without taking it; registers the waiter, which is woken when there is
    /// room again, if it does not.
    pub fn poll_room(&self, waiter: WaiterId, amount: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_until(waiter, amount, cx, || self.has_room(amount))
    }

    fn poll_until(
        &self,
        waiter: WaiterId,
        amount: u64,
        cx: &mut Context<'_>,
        passes: impl Fn() -> bool,
    ) -> Poll<()> {
        if passes() {
            self.forget(waiter);
            return Poll::Ready(());
        }
        {
            let mut waiters = self.waiters.lock();
            let waker = cx.waker().clone();
            let known = waiters.insert(waiter, Waiting { amount, waker });
            self.waiting.store(waiters.len(), Ordering::SeqCst);
            // It may have been woken for room that is too small for it by now.
            if known.is_some() {
                self.wake_one(&waiters, Some(waiter));
            }
        }
        // A release between the first look and the registration has woken nobody: look again.
        if passes() {
            self.forget(waiter);
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Gives `amount` back and wakes the waiters when enough has become free.
    pub fn give_back(&self, amount: u64) {
        let before = self.level.fetch_sub(amount, Ordering::SeqCst);
        debug_assert!(before >= amount, "gave back {amount} of {before}");
        let now = before.saturating_sub(amount);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        if now <= self.limit - self.limit / 8 {
            self.wake_all();
        } else {
            self.wake_one(&self.waiters.lock(), None);
        }
    }

    /// Whether anybody waits.
    pub fn has_waiters(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Stops waiting.
    pub fn forget(&self, waiter: WaiterId) {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut waiters = self.waiters.lock();
        let known = waiters.remove(&waiter);
        self.waiting.store(waiters.len(), Ordering::SeqCst);
        if known.is_some() {
            self.wake_one(&waiters, None);
        }
    }

    /// Wakes the first waiter, this one aside, whose amount fits.
    fn wake_one(&self, waiters: &BTreeMap<WaiterId, Waiting>, aside: Option<WaiterId>) {
        // Nearly always: nothing is free.
        if !self.has_room(1) {
            return;
        }
        let fitting = waiters
            .iter()
            .find(|(id, waiting)| Some(**id) != aside && self.has_room(waiting.amount));
        if let Some((_, waiting)) = fitting {
            waiting.waker.wake_by_ref();
        }
    }

    fn wake_all(&self) {
        let woken = {
            let mut waiters = self.waiters.lock();
            self.waiting.store(0, Ordering::SeqCst);
            std::mem::take(&mut *waiters)
        };
        for waiting in woken.into_values() {
            waiting.waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Each with a bell of its own.
    fn waiters<const N: usize>() -> [(WaiterId, Arc<Woken>, Waker); N] {
        std::array::from_fn(|_| {
            let woken = Arc::new(Woken::default());
            let waker = Waker::from(Arc::clone(&woken));
            (WaiterId::next(), woken, waker)
        })
    }

    fn wakes<const N: usize>(waiters: &[(WaiterId, Arc<Woken>, Waker); N]) -> [usize; N] {
        std::array::from_fn(|at| waiters[at].1.0.load(Ordering::SeqCst))
    }

    #[test]
    fn all_are_woken_once_an_eighth_is_free_and_one_that_fits_before() {
        let gate = Gate::new(80);
        let all = waiters::<3>();
        let poll = |at: usize, amount| {
            let (waiter, _, waker) = &all[at];
            gate.poll_take(*waiter, amount, &mut Context::from_waker(waker))
        };
        gate.take(80);
        for (at, amount) in [(0, 20), (1, 5), (2, 5)] {
            assert!(poll(at, amount).is_pending());
            assert!(poll(at, amount).is_pending(), "twice registers once");
        }
        gate.give_back(9);
        assert_eq!(wakes(&all), [0, 1, 0], "the first that fits");
        gate.give_back(1);
        assert_eq!(wakes(&all), [1, 2, 1]);
    }

    #[test]
    fn room_above_the_mark_is_passed_on_without_a_further_release() {
        let gate = Gate::new(80);
        let all = waiters::<4>();
        let poll = |at: usize, amount| {
            let (waiter, _, waker) = &all[at];
            gate.poll_take(*waiter, amount, &mut Context::from_waker(waker))
        };
        gate.take(80);
        for at in 0..4 {
            assert!(poll(at, 3).is_pending());
        }
        gate.give_back(8);
        assert_eq!(wakes(&all), [1, 0, 0, 0]);
        assert!(poll(0, 3).is_ready());
        assert_eq!(wakes(&all), [1, 1, 0, 0]);
        gate.forget(all[1].0);
        assert_eq!(wakes(&all), [1, 1, 1, 0], "one that gives up passes it on");
        assert!(poll(2, 6).is_pending());
        assert_eq!(wakes(&all), [1, 1, 1, 1], "and one that wants more by now");
        assert!(poll(3, 3).is_ready());
        assert_eq!(gate.level(), 78);
    }

    #[test]
    fn what_is_larger_than_the_gate_passes_an_empty_one() {
        let gate = Gate::new(10);
        assert!(gate.try_take(11));
        assert!(!gate.try_take(1));
        gate.give_back(11);
        assert!(gate.try_take(1));
        assert!(!gate.try_take(11));
    }

    #[test]
    fn asking_for_room_takes_nothing_and_is_woken() {
        let gate = Gate::new(3);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let waiter = WaiterId::next();
        assert!(gate.poll_room(waiter, 3, &mut cx).is_ready());
        assert_eq!(gate.level(), 0);
        gate.take(3);
        assert_eq!(gate.shortage(1), 1);
        assert_eq!(gate.shortage(9), 3, "fits when empty");
        assert!(gate.poll_room(waiter, 1, &mut cx).is_pending());
        gate.give_back(1);
        assert_eq!(
            woken.0.load(Ordering::SeqCst),
            1,
            "a small gate wakes at once"
        );
        assert!(gate.poll_room(waiter, 1, &mut cx).is_ready());
        assert_eq!(gate.level(), 2);
    }

    #[test]
    fn a_forgotten_waiter_is_not_woken() {
        let gate = Gate::new(8);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let waiter = WaiterId::next();
        gate.take(8);
        assert!(
            gate.poll_take(waiter, 1, &mut Context::from_waker(&waker))
                .is_pending()
        );
        gate.forget(waiter);
        gate.give_back(8);
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
    }
}
