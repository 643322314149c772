//! What happens when there is no room.

use std::task::Poll;

use super::*;

#[test]
fn a_blocking_queue_lets_writers_wait_for_messages_and_for_bytes() {
    for (messages, bytes) in [(10, 1 << 20), (1 << 20, 130)] {
        let mut bench = Bench::new(messages, bytes, WhenFull::Block);
        let writer = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&writer));
        let mut cx = Context::from_waker(&waker);
        let waiter = WaiterId::next();
        assert!(bench.queue.poll_ready(0, waiter, ONE, &mut cx).is_ready());
        assert_eq!(bench.push(&lane(0), &[8; 10]), Dropped::default());
        assert!(bench.queue.poll_ready(0, waiter, ONE, &mut cx).is_pending());
        assert_eq!(
            bench.push(&lane(0), &[8; 2]),
            Dropped::default(),
            "readiness is no reservation"
        );
        let batch = bench.batch(&LIMITS);
        assert!(
            bench.queue.poll_ready(0, waiter, ONE, &mut cx).is_pending(),
            "what is in flight counts"
        );
        bench.settle(&batch);
        assert_eq!(writer.0.load(Ordering::SeqCst), 1);
        assert!(bench.queue.poll_ready(0, waiter, ONE, &mut cx).is_ready());
    }
}

#[test]
fn a_writer_that_gave_up_is_not_woken() {
    let mut bench = Bench::new(10, 1 << 20, WhenFull::Block);
    bench.push(&lane(0), &[8; 10]);
    let waiter = WaiterId::next();
    let mut cx = Context::from_waker(&bench.waker);
    assert!(bench.queue.poll_ready(0, waiter, ONE, &mut cx).is_pending());
    bench.queue.forget(0, waiter);
    let batch = bench.batch(&LIMITS);
    bench.settle(&batch);
    assert_eq!(bench.wakes(), 0);
}

/// Waiters with a bell of their own, and what they want.
struct Writer {
    waiter: WaiterId,
    woken: Arc<Woken>,
    arriving: Settled,
}

impl Writer {
    fn new(count: u64, bytes: u64) -> Self {
        Self {
            waiter: WaiterId::next(),
            woken: Arc::default(),
            arriving: Settled { count, bytes },
        }
    }

    fn poll(&self, bench: &Bench) -> Poll<()> {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut cx = Context::from_waker(&waker);
        let queue = &bench.queue;
        queue.poll_ready(0, self.waiter, self.arriving, &mut cx)
    }

    fn wakes(&self) -> usize {
        self.woken.0.load(Ordering::SeqCst)
    }
}

#[test]
fn a_run_may_overfill_the_messages_and_counts_as_a_whole() {
    let mut bench = Bench::new(10, 1 << 20, WhenFull::Block);
    bench.push(&lane(0), &[8; 10]);
    let writers = [(); 3].map(|()| Writer::new(4, 52));
    assert!(
        writers
            .iter()
            .all(|writer| writer.poll(&bench).is_pending())
    );
    let batch = bench.batch(&LIMITS);
    let part = |count| Settled {
        count,
        bytes: count * ONE.bytes,
    };
    bench.queue.settle(0, &batch.lane, part(4), false);
    assert_eq!(writers.each_ref().map(Writer::wakes), [1, 0, 0]);
    assert!(writers[0].poll(&bench).is_ready());
    bench.push(&lane(0), &[8; 4]);
    bench.queue.settle(0, &batch.lane, part(5), false);
    assert_eq!(
        writers.each_ref().map(Writer::wakes),
        [1, 1, 1],
        "the second would leave one free"
    );
}

#[test]
fn room_for_messages_that_one_has_no_bytes_for_is_offered_to_the_next() {
    let mut bench = Bench::new(1, 1000, WhenFull::Block);
    bench.push(&lane(0), &[8]);
    bench.budget.gate().take(900);
    let (large, small) = (Writer::new(1, 500), Writer::new(1, 13));
    assert!(large.poll(&bench).is_pending() && small.poll(&bench).is_pending());
    bench.now += LINGER;
    let batch = bench.batch(&LIMITS);
    bench.settle(&batch);
    assert_eq!((large.wakes(), small.wakes()), (1, 0));
    assert!(large.poll(&bench).is_pending());
    assert_eq!(small.wakes(), 1);
    assert!(small.poll(&bench).is_ready());
}

#[test]
fn who_waits_for_bytes_keeps_its_turn_for_messages() {
    let mut bench = Bench::new(1, 1000, WhenFull::Block);
    bench.budget.gate().take(1000);
    let (first, second) = (Writer::new(1, 13), Writer::new(1, 13));
    assert!(first.poll(&bench).is_pending());
    bench.push(&lane(0), &[8]);
    assert!(second.poll(&bench).is_pending());
    bench.now += LINGER;
    let batch = bench.batch(&LIMITS);
    bench.settle(&batch);
    assert_eq!((first.wakes(), second.wakes()), (0, 1));
    bench.budget.gate().give_back(13);
    assert_eq!(first.wakes(), 1);
    assert!(first.poll(&bench).is_ready());
}

#[test]
fn drop_newest_lets_go_of_what_arrives() {
    for (messages, bytes) in [(3, 1 << 20), (1 << 20, 39)] {
        let mut bench = Bench::new(messages, bytes, WhenFull::DropNewest);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(bench.push(&lane(0), &[8; 2]), Dropped::default());
        assert_eq!(bench.push(&lane(1), &[8; 2]), Dropped { count: 2 });
        assert_eq!(bench.push(&lane(0), &[8]), Dropped::default());
        assert_eq!(bench.push(&lane(0), &[8]), Dropped { count: 1 });
        assert!(
            bench
                .queue
                .poll_ready(0, WaiterId::next(), ONE, &mut cx)
                .is_ready()
        );
        bench.now += LINGER;
        let batch = bench.batch(&LIMITS);
        assert_eq!(numbers(&batch), [0, 1, 4]);
        bench.settle(&batch);
        bench.assert_empty();
    }
}

#[test]
fn drop_oldest_lets_go_of_the_oldest_across_lanes() {
    for (messages, bytes) in [(4, 1 << 20), (1 << 20, 52)] {
        let mut bench = Bench::new(messages, bytes, WhenFull::DropOldest);
        for method in [1, 0] {
            bench.push(&lane(method), &[8; 2]);
            bench.now += LINGER / 8;
        }
        assert_eq!(bench.push(&lane(0), &[8]), Dropped { count: 1 });
        assert_eq!(bench.push(&lane(0), &[8; 2]), Dropped { count: 2 });
        assert_eq!(bench.lanes(), 1);
        bench.now += LINGER;
        let batch = bench.batch(&LIMITS);
        assert_eq!(numbers(&batch), [3, 4, 5, 6]);
        bench.settle(&batch);
        bench.assert_empty();
    }
}

#[test]
fn drop_oldest_spares_what_is_in_flight() {
    let mut bench = Bench::new(3, 1 << 20, WhenFull::DropOldest);
    bench.push(&routed(0), &[8; 2]);
    bench.now += LINGER;
    let first = bench.batch(&LIMITS);
    assert_eq!(bench.push(&routed(0), &[8]), Dropped::default());
    assert_eq!(
        bench.push(&routed(0), &[8; 2]),
        Dropped { count: 2 },
        "only one may go"
    );
    assert_eq!(bench.push(&routed(1), &[8]), Dropped { count: 1 });
    bench.settle(&first);
    bench.now += LINGER;
    let second = bench.batch(&LIMITS);
    assert_eq!(numbers(&second), [5]);
    bench.settle(&second);
    bench.assert_empty();
}

#[test]
fn one_writer_at_a_time_may_push_more_than_a_queue_holds() {
    for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
        let mut bench = Bench::new(3, 50, when_full);
        assert_eq!(bench.push(&lane(0), &[8; 4]), Dropped::default());
        bench.now += LINGER;
        assert_eq!(bench.batch(&LIMITS).count, 4);
    }
}
