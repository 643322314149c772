//! How long to wait before trying again: a connection, or a batch.

use std::time::Duration;

use fastrand::Rng;

/// Longest pause between two attempts to connect unless configured.
///
/// gRPC's own default is 120 s, meant for thousands of clients that must not trample on one
/// server. An OAP has few gateways, each of which fills its queue while it waits and drops what is
/// older than 5 minutes. After an outage data should flow again within seconds.
pub const MAX_CONNECT_PAUSE: Duration = Duration::from_secs(5);

/// Source: gRPC's connection-backoff.md, INITIAL_BACKOFF.
const FIRST_CONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Source: gRPC's connection-backoff.md, MULTIPLIER.
const GROWTH: f64 = 1.6;
/// Source: gRPC's connection-backoff.md, JITTER.
const JITTER: f64 = 0.2;

/// Pauses between attempts to connect to one node.
#[derive(Clone, Debug)]
pub struct ConnectBackoff {
    next: Duration,
    max: Duration,
}

impl ConnectBackoff {
    /// Starts at 1 s, or at `max` where that is less.
    pub fn new(max: Duration) -> Self {
        Self {
            next: FIRST_CONNECT_PAUSE.min(max),
            max,
        }
    }

    /// The pause after another failure, with its jitter: up to a fifth longer than the maximum.
    pub fn pause(&mut self, rng: &mut Rng) -> Duration {
        let pause = self.next.mul_f64(1.0 - JITTER + 2.0 * JITTER * rng.f64());
        self.next = self.next.mul_f64(GROWTH).min(self.max);
        pause
    }

    /// Begins anew. To be called once a connection has proved itself, not when it is merely
    /// accepted: a node that accepts and closes would else be tried in a tight loop.
    pub fn reset(&mut self) {
        self.next = FIRST_CONNECT_PAUSE.min(self.max);
    }
}

impl Default for ConnectBackoff {
    fn default() -> Self {
        Self::new(MAX_CONNECT_PAUSE)
    }
}

/// Pauses between attempts to deliver one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPause {
    first: Duration,
    max: Duration,
}

impl RetryPause {
    /// Pauses between `first` and `max`; `max` is raised to `first`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max: max.max(first),
        }
    }

    /// The pause after `failures` failures in a row, 1 or more: anything from the first pause up to
    /// a bound that doubles with every failure. All batches of a lost node fail together, so the
    /// jitter covers the whole range, from the first failure on.
    pub fn pause(&self, failures: u32, rng: &mut Rng) -> Duration {
        let factor = 2_u32.saturating_pow(failures);
        let bound = self.first.saturating_mul(factor).min(self.max);
        self.first + (bound - self.first).mul_f64(rng.f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert, proptest};

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Asserts that `pause` is within a fifth of `middle`.
    #[track_caller]
    fn assert_near(pause: Duration, middle: f64) {
        let ratio = pause.as_secs_f64() / middle;
        assert!((0.8..=1.2).contains(&ratio), "{pause:?} of {middle} s");
    }

    #[test]
    fn connecting_backs_off_as_grpc_does_up_to_the_longest_pause() {
        let mut rng = Rng::with_seed(1);
        let mut backoff = ConnectBackoff::default();
        for middle in [1.0, 1.6, 2.56, 4.096] {
            assert_near(backoff.pause(&mut rng), middle);
        }
        for _ in 0..100 {
            assert_near(backoff.pause(&mut rng), MAX_CONNECT_PAUSE.as_secs_f64());
        }
    }

    #[test]
    fn the_longest_pause_is_configurable_also_below_a_second() {
        let mut rng = Rng::with_seed(1);
        let mut short = ConnectBackoff::new(100 * MILLISECOND);
        let mut long = ConnectBackoff::new(Duration::from_secs(2));
        assert_near(short.pause(&mut rng), 0.1);
        assert_near(short.pause(&mut rng), 0.1);
        assert_near(long.pause(&mut rng), 1.0);
        assert_near(long.pause(&mut rng), 1.6);
        assert_near(long.pause(&mut rng), 2.0);
    }

    #[test]
    fn a_connection_that_proved_itself_starts_the_backoff_anew() {
        let mut rng = Rng::with_seed(1);
        let mut backoff = ConnectBackoff::default();
        for _ in 0..10 {
            backoff.pause(&mut rng);
        }
        backoff.reset();
        assert_near(backoff.pause(&mut rng), 1.0);
    }

    #[test]
    fn jitter_uses_its_whole_range() {
        let mut rng = Rng::with_seed(1);
        let mut backoff = ConnectBackoff::new(Duration::from_secs(1));
        let pauses: Vec<_> = (0..1000).map(|_| backoff.pause(&mut rng)).collect();
        assert!(pauses.iter().any(|pause| *pause < 820 * MILLISECOND));
        assert!(pauses.iter().any(|pause| *pause > 1180 * MILLISECOND));
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let pauses = |seed| {
            let mut rng = Rng::with_seed(seed);
            let mut backoff = ConnectBackoff::default();
            [backoff.pause(&mut rng), backoff.pause(&mut rng)]
        };
        assert_eq!(pauses(3), pauses(3));
        assert_ne!(pauses(3), pauses(4));
    }

    #[test]
    fn a_retry_pause_doubles_its_bound_up_to_the_maximum() {
        let pause = RetryPause::new(100 * MILLISECOND, 1000 * MILLISECOND);
        let mut rng = Rng::with_seed(1);
        for (failures, bound) in [(1, 200), (2, 400), (3, 800), (4, 1000), (99, 1000)] {
            let pauses = (0..1000).map(|_| pause.pause(failures, &mut rng));
            let longest = pauses.max().unwrap();
            assert!(longest <= bound * MILLISECOND, "{failures}: {longest:?}");
            assert!(
                longest > bound * 9 / 10 * MILLISECOND,
                "{failures}: {longest:?}"
            );
        }
    }

    #[test]
    fn a_maximum_below_the_first_pause_is_raised_to_it() {
        let pause = RetryPause::new(MILLISECOND, Duration::ZERO);
        assert_eq!(pause.pause(5, &mut Rng::with_seed(1)), MILLISECOND);
    }

    proptest! {
        /// For all numbers of failures: a retry pause lies between its bounds.
        #[test]
        fn a_retry_pause_stays_within_its_bounds(
            first in 0_u64..10_000,
            max in 0_u64..100_000,
            failures: u32,
            seed: u64,
        ) {
            let first = Duration::from_millis(first);
            let max = Duration::from_millis(max);
            let pause = RetryPause::new(first, max).pause(failures, &mut Rng::with_seed(seed));
            prop_assert!(first <= pause && pause <= max.max(first));
        }
    }
}
