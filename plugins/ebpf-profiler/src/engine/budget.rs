//! How fast we may sample: what our own work costs is held against what it may cost.

use std::time::{Duration, Instant};

use tracing::info;

use super::Request;
use super::session::Costs;
use crate::profile::Kind;

/// Less than this is no measurement.
const SHORTEST: Duration = Duration::from_secs(1);
/// Measurements in a row before anything changes: one look at a large program is no trend.
const PATIENCE: u32 = 2;
/// Periods are not lengthened beyond this many times what was asked for.
const MOST: u32 = 16;

/// Lengthens periods while we use more CPU time than we may.
#[derive(Debug)]
pub(super) struct Budget {
    /// Share of one core, 0.01 for one percent; 0 is no limit.
    share: f64,
    factor: u32,
    /// Whether the beginning is over, when programs are loaded and tables made.
    settled: bool,
    above: u32,
    below: u32,
    /// When the measurement under way began, and what we had used by then.
    since: Option<(Instant, Costs)>,
}

impl Budget {
    pub(super) fn new(cpu_percent: f64) -> Self {
        Self {
            share: cpu_percent / 100.0,
            factor: 1,
            settled: false,
            above: 0,
            below: 0,
            since: None,
        }
    }

    /// Says what we have used by now; yields the factor if it has changed.
    pub(super) fn keep(&mut self, costs: Costs, now: Instant) -> Option<u32> {
        let (began, before) = *self.since.get_or_insert((now, costs));
        let elapsed = now.saturating_duration_since(began);
        if elapsed < SHORTEST {
            return None;
        }
        self.since = Some((now, costs));
        let used = costs.since(&before);
        if !self.observe(used, elapsed) {
            return None;
        }
        let factor = self.factor;
        info!(
            factor,
            "capture: took {:.2} % of a core, may take {} %: samples are taken at 1/{factor} of the rate asked for",
            100.0 * used.as_secs_f64() / elapsed.as_secs_f64(),
            100.0 * self.share,
        );
        Some(factor)
    }

    /// A request as we may serve it now.
    pub(super) fn stretched(&self, request: &Request) -> Request {
        let mut request = request.clone();
        if request.elastic && request.kind == Kind::OnCpu {
            request.period *= self.factor;
        }
        request
    }

    /// By how much elastic periods are lengthened.
    #[cfg(test)]
    fn factor(&self) -> u32 {
        self.factor
    }

    /// Says what was `used` of `elapsed`; yields whether the factor has changed.
    fn observe(&mut self, used: Duration, elapsed: Duration) -> bool {
        if self.share <= 0.0 || elapsed.is_zero() || !std::mem::replace(&mut self.settled, true) {
            return false;
        }
        let share = used.as_secs_f64() / elapsed.as_secs_f64();
        self.above = if share > self.share {
            self.above + 1
        } else {
            0
        };
        // Twice the rate must still fit, with room to spare.
        self.below = if share < self.share / 4.0 {
            self.below + 1
        } else {
            0
        };
        let factor = if self.above >= PATIENCE {
            (self.factor * 2).min(MOST)
        } else if self.below >= PATIENCE {
            (self.factor / 2).max(1)
        } else {
            self.factor
        };
        if factor == self.factor {
            return false;
        }
        self.factor = factor;
        (self.above, self.below) = (0, 0);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn observe(budget: &mut Budget, percents: &[u32]) -> Vec<u32> {
        budget.observe(SECOND, SECOND);
        let factors = percents.iter().map(|percent| {
            budget.observe(SECOND * *percent / 100, SECOND);
            budget.factor()
        });
        factors.collect()
    }

    #[test]
    fn two_measurements_above_the_budget_halve_the_rate_and_one_does_not() {
        let mut budget = Budget::new(1.0);
        assert_eq!(
            observe(&mut budget, &[5, 0, 5, 5, 5, 5]),
            [1, 1, 1, 2, 2, 4]
        );
    }

    #[test]
    fn the_rate_comes_back_only_where_twice_of_it_fits() {
        let mut budget = Budget::new(8.0);
        assert_eq!(
            observe(&mut budget, &[9, 9, 7, 7, 7, 1, 1]),
            [1, 2, 2, 2, 2, 2, 1]
        );
    }

    #[test]
    fn the_rate_does_not_sink_for_ever() {
        let mut budget = Budget::new(1.0);
        assert_eq!(observe(&mut budget, &[50; 20]).last(), Some(&MOST));
    }

    #[test]
    fn a_measurement_takes_a_second_however_often_we_ask() {
        let mut budget = Budget::new(10.0);
        let began = Instant::now();
        let mut factors = Vec::new();
        // A fifth of a core, asked for four times a second.
        for quarter in 0..=20 {
            let costs = Costs {
                own_cpu: SECOND / 20 * quarter,
                kernel_cpu: None,
            };
            let factor = budget.keep(costs, began + SECOND / 4 * quarter);
            factors.extend(factor.map(|it| (quarter, it)));
        }
        assert_eq!(factors, [(12, 2), (20, 4)]);
    }

    #[test]
    fn only_elastic_samples_are_taken_less_often() {
        let mut budget = Budget::new(1.0);
        observe(&mut budget, &[5, 5]);
        let request = |kind, elastic| Request {
            kind,
            targets: crate::engine::Targets::All,
            period: SECOND,
            minimum: SECOND,
            elastic,
        };
        let period = |kind, elastic| budget.stretched(&request(kind, elastic)).period;
        assert_eq!(period(Kind::OnCpu, true), 2 * SECOND);
        assert_eq!(period(Kind::OnCpu, false), SECOND);
        assert_eq!(period(Kind::OffCpu, true), SECOND);
    }

    #[test]
    fn without_a_budget_nothing_changes() {
        let mut budget = Budget::new(0.0);
        assert_eq!(observe(&mut budget, &[90, 90, 90]), [1, 1, 1]);
    }
}
