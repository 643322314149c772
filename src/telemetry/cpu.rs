//! The process's share of the CPU it may use.
//!
//! "May use" is [`std::thread::available_parallelism`]: the cores of our affinity mask, cut to the
//! cgroup's quota where there is one.

use std::time::{Duration, Instant};

/// Shortest time a share is taken over; a shorter one jumps with every batch.
const WINDOW: Duration = Duration::from_secs(5);

/// Ticks a second in `/proc/self/stat`. The kernel's `USER_HZ`, which is 100 in the user-space ABI
/// of x86_64 and arm64 whatever the kernel's own tick is.
const USER_HZ: u64 = 100;

/// CPU share over windows of at least 5 seconds. Observe it from time to time; a window ends with
/// the first observation after its 5 seconds.
#[derive(Debug)]
pub struct CpuShare {
    cores: f64,
    since: Instant,
    used_then: Duration,
    percent: f64,
}

impl CpuShare {
    /// Begins the first window, with the CPU time used so far.
    pub fn new(cores: usize, now: Instant, used: Duration) -> Self {
        Self {
            cores: cores.max(1) as f64,
            since: now,
            used_then: used,
            percent: 0.0,
        }
    }

    /// The share of this process, from now on.
    pub fn of_this_process(now: Instant) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores, now, process_time().unwrap_or_default())
    }

    /// Percent in the last whole window; 0 before the first has ended.
    pub fn observe(&mut self, now: Instant, used: Duration) -> f64 {
        let window = now.saturating_duration_since(self.since);
        if window >= WINDOW {
            let busy = used.saturating_sub(self.used_then);
            self.percent = 100.0 * busy.as_secs_f64() / (window.as_secs_f64() * self.cores);
            self.since = now;
            self.used_then = used;
        }
        self.percent
    }
}

/// CPU time that this process has used, in user space and in the kernel; `None` without `/proc`.
pub fn process_time() -> Option<Duration> {
    parse_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15 of proc(5)'s `stat`. The second field is the program's name in parentheses and
/// may itself hold blanks and parentheses, so counting begins after the last of them.
fn parse_stat(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    let ticks = user.checked_add(system)?;
    Some(Duration::from_millis(ticks.checked_mul(1000 / USER_HZ)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_taken_over_whole_windows() {
        let start = Instant::now();
        let mut share = CpuShare::new(2, start, Duration::from_secs(3));
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(share.observe(at(4), Duration::from_secs(7)), 0.0);
        assert_eq!(share.observe(at(5), Duration::from_secs(8)), 50.0);
        assert_eq!(share.observe(at(9), Duration::from_secs(8)), 50.0);
        assert_eq!(share.observe(at(15), Duration::from_secs(8)), 0.0);
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(parse_stat(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_stat("42 (short) S 1 2"), None);
    }

    #[test]
    fn the_own_time_can_be_read() {
        assert!(process_time().is_some());
    }
}
