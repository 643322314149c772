//! Used CPU time in percent of what may be used, over a sliding window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What the percentage is taken over. A second at full load in an otherwise idle window counts for a
/// fifth, so it ends no readiness by itself; a lasting load is seen within the window.
pub(super) const WINDOW: Duration = Duration::from_secs(5);

/// Looks at a counter of CPU time from time to time.
#[derive(Debug, Default)]
pub(super) struct Meter {
    looks: VecDeque<Look>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    /// CPU time that was used until then.
    used: Duration,
    /// CPU time in seconds that might have been used since the first look.
    allowed: f64,
}

impl Meter {
    /// One more look at what has been `used`, with so many `cores` allowed since the last one.
    /// Percent over the last window; `None` before the first window is whole. Never above 100: what
    /// a quota lets through beside its periods is no overload.
    pub(super) fn look(&mut self, at: Instant, used: Duration, cores: f64) -> Option<f64> {
        // A counter that has been set back is another one.
        if self.looks.back().is_some_and(|last| used < last.used) {
            self.looks.clear();
        }
        let allowed = self.looks.back().map_or(0.0, |last| {
            let passed = at.saturating_duration_since(last.at);
            last.allowed + passed.as_secs_f64() * cores
        });
        self.looks.push_back(Look { at, used, allowed });
        while self.looks.get(1).is_some_and(|look| is_old(look, at)) {
            self.looks.pop_front();
        }
        let base = self.looks.front().filter(|look| is_old(look, at))?;
        let used = used.saturating_sub(base.used).as_secs_f64();
        Some((100.0 * used / (allowed - base.allowed)).clamp(0.0, 100.0))
    }
}

fn is_old(look: &Look, now: Instant) -> bool {
    now.saturating_duration_since(look.at) >= WINDOW
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Percent after each second of these CPU milliseconds, with so many cores.
    fn percents(cores: f64, milliseconds: &[u64]) -> Vec<Option<f64>> {
        let start = Instant::now();
        let mut meter = Meter::default();
        let mut used = Duration::from_secs(7);
        assert_eq!(meter.look(start, used, cores), None);
        let seconds = (1..).zip(milliseconds);
        seconds
            .map(|(second, milliseconds)| {
                used += Duration::from_millis(*milliseconds);
                let percent = meter.look(start + Duration::from_secs(second), used, cores);
                percent.map(|percent| (percent * 10.0).round() / 10.0)
            })
            .collect()
    }

    #[test]
    fn a_percentage_is_of_the_cores_that_may_be_used() {
        for (cores, each, percent) in [
            (1.0, 500, 50.0),
            (2.0, 500, 25.0),
            (2.0, 2000, 100.0),
            (0.2, 150, 75.0),
            (0.2, 220, 100.0),
            (2.5, 0, 0.0),
        ] {
            let all = percents(cores, &[each; 8]);
            assert_eq!(all[..4], [None; 4], "the first window is not whole");
            assert_eq!(all[4..], [Some(percent); 4], "{each} ms of {cores} cores");
        }
    }

    #[test]
    fn a_spike_of_a_second_counts_for_a_fifth_and_is_forgotten() {
        let all = percents(
            1.0,
            &[100, 100, 100, 100, 100, 1000, 100, 100, 100, 100, 100],
        );
        let spike = [Some(28.0); 5];
        assert_eq!(all[4], Some(10.0));
        assert_eq!(all[5..10], spike);
        assert_eq!(all[10], Some(10.0));
    }

    #[test]
    fn cores_that_change_count_from_then_on() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let second = Duration::from_secs(1);
        let mut look =
            |number: u32, cores| meter.look(start + second * number, second * number, cores);
        for number in 0..=5 {
            look(number, 1.0);
        }
        // Five seconds of one core, of which the last was allowed two.
        assert_eq!(look(6, 2.0).map(f64::round), Some(83.0));
    }

    #[test]
    fn a_counter_that_is_set_back_begins_a_window() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let at = |second| start + Duration::from_secs(second);
        meter.look(at(0), Duration::from_secs(100), 1.0);
        assert_eq!(meter.look(at(5), Duration::from_secs(100), 1.0), Some(0.0));
        assert_eq!(meter.look(at(6), Duration::from_secs(3), 1.0), None);
        assert_eq!(meter.look(at(11), Duration::from_secs(8), 1.0), Some(100.0));
    }

    #[test]
    fn a_late_look_stretches_the_window() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.look(start, Duration::ZERO, 1.0);
        let late = start + Duration::from_secs(20);
        assert_eq!(meter.look(late, Duration::from_secs(5), 1.0), Some(25.0));
    }
}
