//! Random operations against a list of what each lane should hold.

use std::collections::{HashMap, VecDeque};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Push {
        lane: u32,
        sizes: Vec<usize>,
    },
    Take {
        count: u32,
        bytes: u64,
        linger: u64,
        shares: u32,
    },
    Settle {
        which: usize,
        part: bool,
    },
    Pass {
        millis: u64,
    },
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![6 => 8..300_usize, 3 => 300..5000_usize, 2 => 5000..70_000_usize]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_u32, vec(size(), 1..8)).prop_map(|(lane, sizes)| Step::Push { lane, sizes }),
        4 => (1..40_u32, 1..200_000_u64, 0..300_u64, 0..4_u32).prop_map(
            |(count, bytes, linger, shares)| Step::Take { count, bytes, linger, shares }
        ),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, part)| Step::Settle { which, part }),
        1 => (0..200_u64).prop_map(|millis| Step::Pass { millis }),
    ]
}

/// Lanes 0 to 2 have no route.
fn key(lane: u32) -> LaneKey {
    if lane < 3 {
        super::lane(u16::try_from(lane).unwrap())
    } else {
        routed(lane)
    }
}

/// A batch in flight and what of it is not settled.
struct Flight {
    batch: Batch,
    left: Settled,
}

struct Model {
    bench: Bench,
    queued: HashMap<LaneKey, VecDeque<u64>>,
    flights: Vec<Flight>,
}

impl Model {
    fn push(&mut self, lane: u32, sizes: &[usize]) {
        let first = self.bench.pushed;
        assert_eq!(self.bench.push(&key(lane), sizes), Dropped::default());
        self.queued
            .entry(key(lane))
            .or_default()
            .extend(first..self.bench.pushed);
    }

    fn take(&mut self, limits: &Limits) -> bool {
        let batch = match self.bench.next(limits) {
            Next::Batch(batch) => batch,
            Next::Wait(until) => {
                assert!(until.is_none_or(|until| until > self.bench.now));
                return false;
            }
            Next::Closed => return false,
        };
        assert!(batch.count > 0 && batch.count <= limits.count);
        assert!(batch.bytes <= limits.bytes || batch.count == 1);
        let queued = self.queued.get_mut(&batch.lane).unwrap();
        for number in numbers(&batch) {
            assert_eq!(queued.pop_front(), Some(number), "in order, once");
        }
        if batch.lane.route.is_some() {
            assert!(
                self.flights
                    .iter()
                    .all(|flight| flight.batch.lane != batch.lane)
            );
        }
        let left = weight(&batch);
        self.flights.push(Flight { batch, left });
        true
    }

    fn settle(&mut self, which: usize, part: bool) {
        if self.flights.is_empty() {
            return;
        }
        let which = which % self.flights.len();
        let flight = &mut self.flights[which];
        if part {
            let half = Settled {
                count: flight.left.count / 2,
                bytes: flight.left.bytes / 2,
            };
            flight.left.count -= half.count;
            flight.left.bytes -= half.bytes;
            self.bench.queue.settle(0, &flight.batch.lane, half, false);
        } else {
            let flight = self.flights.swap_remove(which);
            self.bench
                .queue
                .settle(0, &flight.batch.lane, flight.left, true);
        }
    }

    fn check(&self) {
        let level = self.bench.queue.level(0);
        let queued: usize = self.queued.values().map(VecDeque::len).sum();
        let in_flight: u64 = self.flights.iter().map(|flight| flight.left.count).sum();
        let flying_bytes: u64 = self.flights.iter().map(|flight| flight.left.bytes).sum();
        assert_eq!((level.queued, level.in_flight), (queued as u64, in_flight));
        assert_eq!(level.oldest.is_some(), queued > 0);
        let messages = &self.bench.queue.partitions[0].gate;
        assert_eq!(messages.level(), level.queued + in_flight);
        assert_eq!(
            self.bench.budget.gate().level(),
            level.queued_bytes + flying_bytes
        );
    }

    fn finish(&mut self) {
        self.bench.queue.close();
        loop {
            while self.take(&LIMITS) {}
            self.check();
            if self.flights.is_empty() {
                break;
            }
            self.settle(0, false);
        }
        assert!(matches!(self.bench.next(&LIMITS), Next::Closed));
        assert!(self.queued.values().all(VecDeque::is_empty));
        self.bench.assert_empty();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// For all operations: every message leaves once, in order within its lane, whole, and the
    /// books agree at every step.
    #[test]
    fn every_message_leaves_once_in_order_and_the_books_agree(steps in vec(step(), 1..120)) {
        let mut model = Model {
            bench: Bench::wide(),
            queued: HashMap::new(),
            flights: Vec::new(),
        };
        for step in steps {
            match step {
                Step::Push { lane, sizes } => model.push(lane, &sizes),
                Step::Take { count, bytes, linger, shares } => {
                    let linger = Duration::from_millis(linger);
                    let limits = Limits { count, bytes, linger, shares, smallest_share: 2 };
                    model.take(&limits);
                }
                Step::Settle { which, part } => model.settle(which, part),
                Step::Pass { millis } => model.bench.now += Duration::from_millis(millis),
            }
            model.check();
        }
        model.finish();
    }

    /// For all pushes into a full queue that drops: what arrived either left or was let go, lanes
    /// stay in order, and the limits hold.
    #[test]
    fn what_a_dropping_queue_lets_go_is_counted(
        steps in vec((0..6_u32, vec(size(), 1..4), any::<bool>()), 1..120),
        oldest in any::<bool>(),
    ) {
        let when_full = if oldest { WhenFull::DropOldest } else { WhenFull::DropNewest };
        let mut bench = Bench::new(20, 100_000, when_full);
        let limits = Limits { linger: Duration::ZERO, shares: 2, ..LIMITS };
        let (mut dropped, mut left) = (0, 0);
        let mut last = HashMap::new();
        let mut take = |bench: &Bench| {
            let Next::Batch(batch) = bench.next(&limits) else { return false };
            for number in numbers(&batch) {
                let before = last.insert(batch.lane.clone(), number);
                assert!(before.is_none_or(|before| before < number));
                left += 1;
            }
            bench.settle(&batch);
            true
        };
        for (lane, sizes, takes) in steps {
            bench.now += Duration::from_millis(1);
            dropped += bench.push(&key(lane), &sizes).count;
            let level = bench.queue.level(0);
            prop_assert!(level.queued <= 20);
            prop_assert!(level.queued_bytes <= 100_000 || level.queued <= 3);
            if takes {
                take(&bench);
            }
        }
        while take(&bench) {}
        prop_assert_eq!(left + dropped, bench.pushed);
        bench.assert_empty();
    }
}
