//! At most one line an interval for what happens again and again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one line through an interval and counts the others.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use perigee::telemetry::log::RateLimited;
/// static REFUSED: RateLimited = RateLimited::new(Duration::from_secs(10));
/// if let Some(suppressed) = REFUSED.permit(Instant::now()) {
///     tracing::warn!(suppressed, "node refused a batch");
/// }
/// ```
#[derive(Debug)]
pub struct RateLimited {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last: Option<Instant>,
    suppressed: u64,
}

impl RateLimited {
    /// One line an interval.
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            state: Mutex::new(State {
                last: None,
                suppressed: 0,
            }),
        }
    }

    /// Whether a line may be written now, and how many were not since the last one.
    pub fn permit(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        let recent = state
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < self.interval);
        if recent {
            state.suppressed += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_an_interval_passes_with_the_count_of_the_others() {
        let limited = RateLimited::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| limited.permit(start + Duration::from_secs(seconds));
        assert_eq!(at(0), Some(0));
        assert_eq!(at(1), None);
        assert_eq!(at(9), None);
        assert_eq!(at(10), Some(2));
        assert_eq!(at(19), None);
        assert_eq!(at(30), Some(1));
    }
}
