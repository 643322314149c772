//! Behaviour of the whole queue, with a passed clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use perigee_plugin_api::budget::Budget;
use perigee_plugin_api::gate::WaiterId;
use perigee_plugin_api::queue::{
    Batch, Dropped, LaneKey, Limits, Next, Queue, Record, Settled, WhenFull,
};

use crate::{MemoryQueue, Options, wire};

mod full;
mod model;
mod shares;
mod threads;

const LINGER: Duration = Duration::from_secs(1);
const LIMITS: Limits = Limits {
    count: 10,
    bytes: 1 << 20,
    linger: LINGER,
    shares: 1,
    smallest_share: 1,
};

/// One message of eight bytes with its prefix.
const ONE: Settled = Settled {
    count: 1,
    bytes: 13,
};

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A queue of one partition with all that a test asks about.
struct Bench {
    queue: MemoryQueue,
    budget: Arc<Budget>,
    woken: Arc<Woken>,
    waker: Waker,
    now: Instant,
    pushed: u64,
}

impl Bench {
    fn new(messages: u64, bytes: u64, when_full: WhenFull) -> Self {
        let budget = Arc::new(Budget::new(bytes));
        let options = Options {
            partitions: 1,
            messages_per_partition: messages,
            when_full,
        };
        let woken = Arc::new(Woken::default());
        Self {
            queue: MemoryQueue::new(options, Arc::clone(&budget)),
            budget,
            waker: Waker::from(Arc::clone(&woken)),
            woken,
            now: Instant::now(),
            pushed: 0,
        }
    }

    fn wide() -> Self {
        Self::new(1 << 20, 1 << 40, WhenFull::Block)
    }

    /// Pushes messages with bodies of these sizes, at least 8, which start with their number.
    fn push(&mut self, lane: &LaneKey, sizes: &[usize]) -> Dropped {
        let mut messages = Vec::new();
        for size in sizes {
            let size = (*size).max(8);
            messages.push(0);
            messages.extend_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
            messages.extend_from_slice(&self.pushed.to_be_bytes());
            messages.resize(messages.len() + size - 8, 7);
            self.pushed += 1;
        }
        let record = Record {
            lane,
            messages: &messages,
            count: u32::try_from(sizes.len()).unwrap(),
            now: self.now,
        };
        self.queue.push(0, &record)
    }

    fn next(&self, limits: &Limits) -> Next {
        self.queue.next(0, limits, self.now, &self.waker)
    }

    fn batch(&self, limits: &Limits) -> Batch {
        match self.next(limits) {
            Next::Batch(batch) => batch,
            other => panic!("no batch but {other:?}"),
        }
    }

    /// Asserts that nothing is due, and says when something will be.
    fn wait(&self, limits: &Limits) -> Option<Duration> {
        match self.next(limits) {
            Next::Wait(until) => until.map(|until| until - self.now),
            other => panic!("no wait but {other:?}"),
        }
    }

    fn settle(&self, batch: &Batch) {
        self.queue.settle(0, &batch.lane, weight(batch), true);
    }

    fn wakes(&self) -> usize {
        self.woken.0.swap(0, Ordering::SeqCst)
    }

    fn lanes(&self) -> usize {
        self.queue.partitions[0].lanes.lock().len()
    }

    fn assert_empty(&self) {
        let level = self.queue.level(0);
        assert_eq!(
            (level.queued, level.queued_bytes, level.in_flight),
            (0, 0, 0)
        );
        assert_eq!(level.oldest, None);
        assert_eq!(self.queue.partitions[0].gate.level(), 0);
        assert_eq!(self.budget.gate().level(), 0);
        assert_eq!(self.lanes(), 0);
    }
}

fn weight(batch: &Batch) -> Settled {
    Settled {
        count: u64::from(batch.count),
        bytes: batch.bytes,
    }
}

fn lane(method: u16) -> LaneKey {
    LaneKey {
        method,
        route: None,
        group: None,
        token: None,
    }
}

fn routed(route: u32) -> LaneKey {
    LaneKey {
        method: 0,
        route: Some(Arc::from(route.to_be_bytes().as_slice())),
        group: None,
        token: None,
    }
}

/// The numbers of a batch's messages; asserts that its chunks hold whole ones and its sums agree.
fn numbers(batch: &Batch) -> Vec<u64> {
    let mut numbers = Vec::new();
    for chunk in &batch.chunks {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let body = u32::from_be_bytes(rest[1..5].try_into().unwrap()) as usize;
            assert!(rest.len() >= 5 + body, "a message spans two chunks");
            numbers.push(u64::from_be_bytes(rest[5..13].try_into().unwrap()));
            rest = &rest[wire::first_len(rest)..];
        }
    }
    assert_eq!(numbers.len(), batch.count as usize);
    let bytes: usize = batch.chunks.iter().map(bytes::Bytes::len).sum();
    assert_eq!(bytes as u64, batch.bytes);
    numbers
}

#[test]
fn a_batch_is_due_when_its_oldest_message_has_lingered() {
    let mut bench = Bench::wide();
    assert_eq!(bench.wait(&LIMITS), None);
    bench.push(&lane(0), &[100]);
    bench.now += LINGER / 4;
    bench.push(&lane(0), &[100]);
    assert_eq!(bench.wait(&LIMITS), Some(LINGER / 4 * 3));
    bench.now += LINGER / 4 * 3;
    let batch = bench.batch(&LIMITS);
    assert_eq!(numbers(&batch), [0, 1]);
    assert_eq!(batch.oldest + LINGER, bench.now);
    assert_eq!(bench.queue.level(0).in_flight, 2);
    assert_eq!(bench.budget.gate().level(), 210);
    bench.settle(&batch);
    bench.assert_empty();
}

#[test]
fn a_batch_is_due_when_count_or_bytes_are_reached() {
    let mut bench = Bench::wide();
    bench.push(&lane(0), &[8; 9]);
    bench.push(&lane(1), &[95; 2]);
    assert!(bench.wait(&LIMITS).is_some());
    assert_eq!(
        numbers(&bench.batch(&Limits {
            bytes: 200,
            ..LIMITS
        })),
        [9, 10]
    );
    assert!(bench.wait(&LIMITS).is_some());
    bench.push(&lane(0), &[8; 3]);
    assert_eq!(bench.batch(&LIMITS).count, 10);
    assert!(bench.wait(&LIMITS).is_some(), "two are left");
}

#[test]
fn due_lanes_are_served_oldest_first() {
    let mut bench = Bench::wide();
    for method in [3, 1, 2] {
        bench.push(&lane(method), &[8]);
        bench.now += LINGER / 8;
    }
    bench.push(&lane(2), &[8; 9]);
    assert_eq!(bench.batch(&LIMITS).lane.method, 2, "the only full one");
    bench.now += LINGER;
    assert_eq!(bench.batch(&LIMITS).lane.method, 3);
    assert_eq!(bench.batch(&LIMITS).lane.method, 1);
    assert_eq!(bench.wait(&LIMITS), None);
}

#[test]
fn callers_tokens_never_mix() {
    let mut bench = Bench::wide();
    for token in ["a", "b", "a"] {
        let key = LaneKey {
            token: Some(Arc::from(token)),
            ..lane(0)
        };
        bench.push(&key, &[8]);
    }
    bench.now += LINGER;
    assert_eq!(numbers(&bench.batch(&LIMITS)), [0, 2]);
    assert_eq!(numbers(&bench.batch(&LIMITS)), [1]);
}

#[test]
fn a_batch_takes_its_share_but_never_cuts_a_routed_lane() {
    let mut bench = Bench::wide();
    let limits = Limits {
        shares: 3,
        smallest_share: 2,
        ..LIMITS
    };
    bench.push(&lane(0), &[8; 10]);
    bench.push(&routed(0), &[8; 10]);
    bench.now += LINGER;
    let counts: Vec<_> = (0..5).map(|_| bench.batch(&limits).count).collect();
    assert_eq!(counts, [4, 2, 2, 2, 10]);
}

#[test]
fn a_message_larger_than_the_limit_goes_alone() {
    let mut bench = Bench::wide();
    let limits = Limits {
        bytes: 50,
        ..LIMITS
    };
    bench.push(&lane(0), &[8, 100, 8, 200_000, 8]);
    let batches: Vec<_> = (0..4).map(|_| numbers(&bench.batch(&limits))).collect();
    assert_eq!(batches, [vec![0], vec![1], vec![2], vec![3]]);
    assert!(bench.wait(&limits).is_some());
}

#[test]
fn a_routed_lane_has_one_batch_in_flight() {
    let mut bench = Bench::wide();
    bench.push(&routed(1), &[8; 10]);
    let first = bench.batch(&LIMITS);
    bench.push(&routed(1), &[8; 10]);
    assert_eq!(bench.wait(&LIMITS), None);
    let part = Settled {
        count: 4,
        bytes: 4 * 13,
    };
    bench.queue.settle(0, &first.lane, part, false);
    assert_eq!(bench.wait(&LIMITS), None);
    assert_eq!(bench.wakes(), 0);
    let rest = Settled {
        count: 6,
        bytes: 6 * 13,
    };
    bench.queue.settle(0, &first.lane, rest, true);
    assert_eq!(bench.wakes(), 1);
    let second = bench.batch(&LIMITS);
    assert_eq!(numbers(&second), (10..20).collect::<Vec<_>>());
    assert_eq!(bench.lanes(), 0, "it is empty, and its route is remembered");
    bench.settle(&second);
    bench.assert_empty();
}

/// An Envoy that comes back with another identifier, or an instance that reports on `collect` and
/// `collectBatch`.
#[test]
fn lanes_of_one_route_are_in_flight_one_after_the_other() {
    let mut bench = Bench::wide();
    let lane = |group: &[u8]| LaneKey {
        method: 0,
        route: Some(Arc::from(b"envoy".as_slice())),
        group: Some(Arc::from(group)),
        token: None,
    };
    bench.push(&lane(b"before"), &[8]);
    bench.push(&lane(b"after"), &[8]);
    bench.now += LINGER;
    let first = bench.batch(&LIMITS);
    assert_eq!(first.lane, lane(b"before"));
    let next = bench.next(&LIMITS);
    assert!(matches!(next, Next::Wait(_)), "{next:?}");
}

#[test]
fn the_consumer_is_woken_only_when_the_answer_changes() {
    let mut bench = Bench::wide();
    bench.wait(&LIMITS);
    bench.push(&lane(0), &[8]);
    assert_eq!(bench.wakes(), 1, "from empty");
    bench.push(&lane(0), &[8]);
    assert_eq!(bench.wakes(), 0, "it has not looked since");
    bench.wait(&LIMITS);
    bench.now += LINGER / 2;
    bench.push(&lane(0), &[8; 7]);
    bench.push(&lane(1), &[8]);
    assert_eq!(bench.wakes(), 0, "nothing is due earlier");
    bench.push(&lane(0), &[8]);
    assert_eq!(bench.wakes(), 1, "ten are a batch");
    let batch = bench.batch(&LIMITS);
    bench.wait(&LIMITS);
    bench.settle(&batch);
    assert_eq!(
        bench.wakes(),
        0,
        "a lane without a route does not wait for it"
    );
    bench.queue.close();
    assert_eq!(bench.wakes(), 1);
}

#[test]
fn a_lane_that_can_leave_wakes_though_another_one_is_held() {
    let mut bench = Bench::wide();
    bench.push(&routed(1), &[8; 10]);
    let _in_flight = bench.batch(&LIMITS);
    bench.push(&routed(1), &[8; 20]);
    assert_eq!(bench.wait(&LIMITS), None);
    bench.push(&routed(1), &[8; 20]);
    assert_eq!(bench.wakes(), 0);
    bench.push(&routed(2), &[8]);
    assert_eq!(bench.wakes(), 1);
}

#[test]
fn closing_makes_all_due_and_ends() {
    let mut bench = Bench::wide();
    bench.push(&lane(0), &[8]);
    bench.push(&routed(0), &[8]);
    bench.queue.close();
    assert_eq!(bench.push(&lane(0), &[8; 2]), Dropped { count: 2 });
    let first = bench.batch(&LIMITS);
    let second = bench.batch(&LIMITS);
    assert!(matches!(bench.next(&LIMITS), Next::Closed));
    bench.settle(&first);
    bench.settle(&second);
    bench.assert_empty();
}

#[test]
fn a_closed_queue_waits_for_a_held_lane() {
    let mut bench = Bench::wide();
    bench.push(&routed(0), &[8; 11]);
    let first = bench.batch(&LIMITS);
    bench.queue.close();
    assert_eq!(bench.wait(&LIMITS), None);
    bench.settle(&first);
    assert_eq!(bench.wakes(), 1);
    assert_eq!(numbers(&bench.batch(&LIMITS)), [10]);
    assert!(matches!(bench.next(&LIMITS), Next::Closed));
}

#[test]
fn thousands_of_routed_lanes_leave_in_order_of_age_and_leave_nothing_behind() {
    const LANES: u32 = 5000;
    let mut bench = Bench::wide();
    for round in 0..2 {
        for route in 0..LANES {
            assert_eq!(bench.push(&routed(route), &[200]), Dropped::default());
            bench.now += Duration::from_micros(1);
        }
        assert_eq!(bench.lanes(), 5000);
        bench.now += LINGER;
        let batches: Vec<_> = (0..LANES).map(|_| bench.batch(&LIMITS)).collect();
        assert_eq!(bench.wait(&LIMITS), None);
        for (number, batch) in batches.iter().enumerate() {
            assert_eq!(numbers(batch), [number as u64 + round * u64::from(LANES)]);
            bench.settle(batch);
        }
        bench.assert_empty();
    }
}

#[test]
fn chunks_waste_little() {
    let mut bench = Bench::wide();
    bench.push(&lane(0), &[8]);
    for _ in 0..1000 {
        bench.push(&lane(0), &[1019]);
    }
    let limits = Limits {
        count: 2000,
        linger: Duration::ZERO,
        ..LIMITS
    };
    let batch = bench.batch(&limits);
    assert_eq!(batch.count, 1001);
    let sizes: Vec<_> = batch.chunks.iter().map(bytes::Bytes::len).collect();
    assert_eq!(sizes[0], 3 * 1024 + 13);
    assert!(sizes.len() < 24, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 64 * 1024));
    let mid = &sizes[6..sizes.len() - 1];
    assert!(mid.iter().all(|size| *size > 63 * 1024), "{sizes:?}");
}

#[test]
fn partitions_are_apart_and_share_the_budget() {
    let budget = Arc::new(Budget::new(100));
    let options = Options {
        partitions: 2,
        messages_per_partition: 7,
        when_full: WhenFull::Block,
    };
    let queue = MemoryQueue::new(options, Arc::clone(&budget));
    assert_eq!((queue.partitions(), queue.capacity()), (2, 14));
    let key = lane(0);
    let messages = [0_u8, 0, 0, 0, 1, 42];
    let record = Record {
        lane: &key,
        messages: &messages,
        count: 1,
        now: Instant::now(),
    };
    queue.push(1, &record);
    assert_eq!((queue.level(0).queued, queue.level(1).queued), (0, 1));
    assert_eq!(budget.gate().level(), 6);
}
