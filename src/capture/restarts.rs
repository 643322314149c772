//! When a child that has ended is started again. Pure: times and randomness are arguments.

use std::time::Duration;

use fastrand::Rng;

use crate::balance::backoff::ConnectBackoff;

/// Longest pause, before its jitter of a fifth.
const LONGEST: Duration = Duration::from_secs(60);

/// A child that ran for so long was well: its end is a new matter.
const HEALTHY: Duration = Duration::from_secs(60);

/// Pauses between a child's end and its next start: 1 s, growing to a minute.
#[derive(Debug)]
pub(super) struct Restarts(ConnectBackoff);

impl Restarts {
    /// Nothing has ended yet.
    pub(super) fn new() -> Self {
        Self(ConnectBackoff::new(LONGEST))
    }

    /// The pause after a child that ran for that long.
    pub(super) fn pause(&mut self, ran: Duration, rng: &mut Rng) -> Duration {
        if ran >= HEALTHY {
            self.0.reset();
        }
        self.0.pause(rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    #[test]
    fn pauses_grow_from_a_second_to_a_minute() {
        let mut restarts = Restarts::new();
        let mut rng = Rng::with_seed(1);
        let first = restarts.pause(SOON, &mut rng).as_secs_f64();
        assert!((0.8..=1.2).contains(&first), "{first}");
        let pauses: Vec<_> = (0..20).map(|_| restarts.pause(SOON, &mut rng)).collect();
        for pause in &pauses[10..] {
            let pause = pause.as_secs_f64();
            assert!((48.0..=72.0).contains(&pause), "{pause}");
        }
    }

    #[test]
    fn a_minute_of_health_starts_anew_and_less_does_not() {
        let mut restarts = Restarts::new();
        let mut rng = Rng::with_seed(1);
        for _ in 0..20 {
            restarts.pause(SOON, &mut rng);
        }
        let unwell = restarts.pause(Duration::from_secs(59), &mut rng);
        assert!(unwell > Duration::from_secs(40), "{unwell:?}");
        let well = restarts.pause(Duration::from_secs(60), &mut rng);
        assert!(well < Duration::from_secs(2), "{well:?}");
    }
}
