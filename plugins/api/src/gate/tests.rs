//! What a gate does with one waiter and with several.

use std::sync::Arc;
use std::task::{Wake, Waker};

use super::*;

mod fair;

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
fn as_many_are_woken_as_there_is_room_for() {
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
    assert_eq!(wakes(&all), [0, 1, 1]);
    gate.give_back(20);
    assert_eq!(wakes(&all), [1, 1, 1], "nobody is woken twice");
}

#[test]
fn room_that_is_not_taken_is_passed_on_without_a_further_release() {
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
    gate.give_back(5);
    assert_eq!(wakes(&all), [1, 0, 0, 0]);
    assert!(poll(0, 2).is_ready(), "it wants less by now");
    assert_eq!(wakes(&all), [1, 1, 0, 0]);
    gate.forget(all[1].0);
    assert_eq!(wakes(&all), [1, 1, 1, 0], "one that gives up passes it on");
    assert!(poll(2, 6).is_pending());
    assert_eq!(wakes(&all), [1, 1, 1, 1], "and one that wants more by now");
    assert!(poll(3, 3).is_ready());
    assert_eq!(gate.level(), 80);
}

#[test]
fn room_that_is_kept_for_the_called_is_not_for_newcomers() {
    let gate = Gate::new(8);
    let [
        (first, _, waker),
        (second, second_woken, second_waker),
        (new, ..),
    ] = waiters::<3>();
    let mut cx = Context::from_waker(&waker);
    gate.take(8);
    assert!(gate.poll_take(first, 4, &mut cx).is_pending());
    gate.give_back(5);
    assert!(gate.poll_take(new, 2, &mut cx).is_pending(), "one is free");
    assert!(gate.poll_take(new, 1, &mut cx).is_ready());
    let mut second_cx = Context::from_waker(&second_waker);
    assert!(gate.poll_take(second, 2, &mut second_cx).is_pending());
    assert!(gate.poll_take(first, 4, &mut cx).is_ready());
    assert_eq!(
        (gate.level(), second_woken.0.load(Ordering::SeqCst)),
        (8, 0)
    );
}

#[test]
fn one_that_is_passed_over_is_asked_first_when_there_is_more() {
    let gate = Gate::new(8);
    let all = waiters::<3>();
    let poll = |at: usize, amount| {
        let (waiter, _, waker) = &all[at];
        gate.poll_take(*waiter, amount, &mut Context::from_waker(waker))
    };
    gate.take(8);
    for (at, amount) in [(0, 4), (1, 1), (2, 1)] {
        assert!(poll(at, amount).is_pending());
    }
    gate.give_back(1);
    assert_eq!(wakes(&all), [0, 1, 0]);
    assert!(poll(1, 1).is_ready());
    gate.give_back(4);
    assert_eq!(wakes(&all), [1, 1, 0], "the last one's turn is later");
}

#[test]
fn a_called_waiter_finds_its_room_taken_without_asking_and_waits_on() {
    let gate = Gate::new(8);
    let [(waiter, woken, waker)] = waiters::<1>();
    let mut cx = Context::from_waker(&waker);
    gate.take(8);
    assert!(gate.poll_room(waiter, 2, &mut cx).is_pending());
    gate.give_back(2);
    gate.take(1);
    assert!(gate.poll_room(waiter, 2, &mut cx).is_pending());
    gate.give_back(1);
    assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    assert!(gate.poll_room(waiter, 2, &mut cx).is_ready());
    assert!(!gate.is_waiting(waiter) && !gate.has_waiters());
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
