//! Turns: a model of streams that always want more, and random operations.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A stream that always has the next message in hand.
struct Stream {
    /// Number of its connection.
    connection: u64,
    waiter: WaiterId,
    amount: u64,
    woken: Arc<Woken>,
    seen: usize,
    passed: u64,
}

impl Stream {
    fn new(connection: u64, waiter: WaiterId, amount: u64) -> Self {
        Self {
            connection,
            waiter,
            amount,
            woken: Arc::default(),
            seen: 0,
            passed: 0,
        }
    }

    fn poll(&mut self, gate: &Gate) -> bool {
        let waker = Waker::from(Arc::clone(&self.woken));
        let polled = gate.poll_take(self.waiter, self.amount, &mut Context::from_waker(&waker));
        if polled.is_ready() {
            self.passed += self.amount;
        }
        polled.is_ready()
    }

    /// Whether it has been woken since it was asked last.
    fn is_awake(&mut self) -> bool {
        let woken = self.woken.0.load(Ordering::SeqCst);
        std::mem::replace(&mut self.seen, woken) != woken
    }

    fn awake(&mut self) -> Option<&mut Self> {
        self.is_awake().then_some(self)
    }
}

/// Streams of one source on each of its connections.
fn source(last: u8, connections: &[(u64, usize)], amount: u64) -> Vec<Stream> {
    let address = Ipv4Addr::new(10, 0, 0, last).into();
    let streams = connections
        .iter()
        .flat_map(|(connection, streams)| (0..*streams).map(|_| *connection));
    streams
        .map(|connection| Stream::new(connection, WaiterId::of(address, connection), amount))
        .collect()
}

/// Room for `each` is freed again and again; who is woken takes what it gets until it has to wait.
/// Whoever comes last in the list runs first.
fn flow(streams: &mut [Stream], limit: u64, each: u64, rounds: usize) {
    let gate = Gate::new(limit);
    gate.take(limit);
    for stream in &mut *streams {
        assert!(!stream.poll(&gate));
    }
    for _ in 0..rounds {
        gate.give_back(each);
        while let Some(stream) = streams.iter_mut().rev().find_map(Stream::awake) {
            while stream.poll(&gate) {}
        }
        assert_eq!(gate.level(), limit, "nothing is left");
    }
}

/// By connection.
fn passed(streams: &[Stream]) -> Vec<u64> {
    let mut sums = BTreeMap::<u64, u64>::new();
    for stream in streams {
        *sums.entry(stream.connection).or_default() += stream.passed;
    }
    sums.into_values().collect()
}

#[test]
fn a_flood_of_streams_gets_no_more_than_a_single_one() {
    for each in [1, 2, 5, 20] {
        let mut streams = source(1, &[(1, 150), (2, 150), (3, 300)], 1);
        streams.extend(source(2, &[(4, 1)], 1));
        streams.extend(source(3, &[(5, 100), (6, 1)], 1));
        flow(&mut streams, 100, each, 900);
        let shares = passed(&streams);
        let all = 900 * each;
        let is_share = |share: u64, of: u64| share.abs_diff(all / of) * 10 <= all / of + 10;
        let flood: u64 = shares[..3].iter().sum();
        assert!(is_share(flood, 3), "{each}: {shares:?}");
        assert!(
            shares[..3].iter().all(|share| is_share(*share, 9)),
            "{each}: {shares:?}"
        );
        assert!(is_share(shares[3], 3), "{each}: {shares:?}");
        assert!(
            is_share(shares[4], 6) && is_share(shares[5], 6),
            "{each}: {shares:?}"
        );
    }
}

#[test]
fn streams_of_a_connection_take_turns() {
    let mut streams = source(1, &[(1, 50)], 1);
    flow(&mut streams, 8, 3, 1000);
    for stream in &streams {
        assert!((59..=61).contains(&stream.passed), "{}", stream.passed);
    }
}

#[test]
fn waiters_without_an_origin_are_sources_of_their_own() {
    let mut streams = source(1, &[(1, 99)], 1);
    streams.push(Stream::new(0, WaiterId::next(), 1));
    flow(&mut streams, 8, 2, 1000);
    let alone = streams.pop().unwrap().passed;
    assert!((900..=1100).contains(&alone), "{alone}");
}

#[test]
fn large_wishes_get_their_turn_beside_small_ones() {
    let mut streams = source(1, &[(1, 200)], 1);
    streams.extend(source(2, &[(2, 1)], 12));
    let gate = 100;
    flow(&mut streams, gate, 20, 500);
    let large = streams.pop().unwrap().passed;
    assert!(large >= 500 * 20 / 2, "{large} of {}", 500 * 20);
}

#[test]
fn while_half_of_the_gate_is_free_all_who_fit_are_called_at_once() {
    let mut streams = source(1, &[(1, 9)], 10);
    let gate = Gate::new(100);
    gate.take(100);
    for stream in &mut streams {
        assert!(!stream.poll(&gate));
    }
    let awake = |streams: &mut [Stream]| streams.iter_mut().filter_map(Stream::awake).count();
    gate.give_back(40);
    assert_eq!(
        awake(&mut streams),
        1,
        "the next round waits until it has looked"
    );
    gate.give_back(30);
    assert_eq!(awake(&mut streams), 2, "down to the half");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Poll {
        who: usize,
        amount: u64,
    },
    Forget {
        who: usize,
    },
    GiveBack {
        part: u64,
    },
    Take {
        amount: u64,
    },
    /// Everybody who was woken looks.
    Look {
        take: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12_usize, 0..30_u64).prop_map(|(who, amount)| Step::Poll { who, amount }),
        1 => (0..12_usize).prop_map(|who| Step::Forget { who }),
        4 => (0..40_u64).prop_map(|part| Step::GiveBack { part }),
        1 => (0..8_u64).prop_map(|amount| Step::Take { amount }),
        4 => any::<bool>().prop_map(|take| Step::Look { take }),
    ]
}

/// What each waiter wants, if it waits.
struct Model {
    gate: Gate,
    streams: Vec<Stream>,
    wants: Vec<bool>,
}

impl Model {
    fn new(limit: u64) -> Self {
        let mut streams = source(1, &[(1, 3), (2, 2)], 1);
        streams.extend(source(2, &[(3, 4)], 1));
        streams.extend((0..3).map(|_| Stream::new(0, WaiterId::next(), 1)));
        Self {
            gate: Gate::new(limit),
            wants: vec![false; streams.len()],
            streams,
        }
    }

    fn poll(&mut self, who: usize, take: bool) {
        let stream = &mut self.streams[who];
        self.wants[who] = if take {
            !stream.poll(&self.gate)
        } else {
            let waker = Waker::from(Arc::clone(&stream.woken));
            let mut cx = Context::from_waker(&waker);
            let room = self.gate.poll_room(stream.waiter, stream.amount, &mut cx);
            room.is_pending()
        };
    }

    fn look(&mut self, take: bool) {
        // Those who pass and take nothing pass the room on, which ends as each waits but once.
        loop {
            let awake: Vec<_> = (0..self.streams.len())
                .filter(|who| self.streams[*who].is_awake() && self.wants[*who])
                .collect();
            if awake.is_empty() {
                break;
            }
            for who in awake {
                self.poll(who, take);
            }
        }
        let free = self.gate.limit().saturating_sub(self.gate.level());
        for (stream, wants) in self.streams.iter().zip(&self.wants) {
            assert_eq!(self.gate.is_waiting(stream.waiter), *wants);
            let fits = stream.amount.max(1) <= free || self.gate.level() == 0;
            assert!(
                !*wants || !fits,
                "{} waits for {}, {free} are free",
                stream.amount,
                stream.amount
            );
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Poll { who, amount } => {
                self.streams[who].amount = amount;
                self.poll(who, true);
            }
            Step::Forget { who } => {
                self.gate.forget(self.streams[who].waiter);
                self.wants[who] = false;
            }
            Step::GiveBack { part } => self.gate.give_back(self.gate.level().min(part)),
            Step::Take { amount } => self.gate.take(amount),
            Step::Look { take } => self.look(take),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// For all operations: once those who were woken have looked, nobody waits for what would fit,
    /// and in the end everybody passes.
    #[test]
    fn nobody_waits_for_what_would_fit(limit in 1..40_u64, steps in vec(step(), 1..150)) {
        let mut model = Model::new(limit);
        for step in steps {
            model.step(step);
        }
        while model.wants.contains(&true) {
            model.look(true);
            let level = model.gate.level();
            prop_assert!(level > 0 || !model.wants.contains(&true));
            model.gate.give_back(level.min(3));
        }
        prop_assert!(!model.gate.has_waiters());
        prop_assert_eq!(model.gate.line.lock().kept(), 0);
    }
}
