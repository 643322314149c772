//! Limits on whom we serve: how much CPU is used of what we may use, and what one source may have.
//!
//! [`CpuWatch`] measures once a second and writes into the books, where readiness and the exporter
//! look. What is measured is our own control group, or our own process where the group is the whole
//! machine's: a busy neighbour must not keep agents away from us.
//!
//! # Decisions
//! - A mean over five seconds, as Satellite's; the limit ends a tenth below itself, so that a load
//!   around the limit does not turn readiness on and off.
//! - Above the limit, not at it, and never above 100 percent: a limit of 100 is none, which is what
//!   Satellite's users set to get rid of its own.
//! - What cannot be measured is no limit: after a window without a measurement it ends, and what there
//!   is to read is looked up anew.
//! - `available_parallelism` is not used: it rounds a quota down to whole cores.

pub(crate) mod cgroup;
mod cpu;
pub(crate) mod descriptors;
mod meter;
pub(crate) mod sources;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::telemetry::books::{Books, CpuBooks};
use crate::telemetry::log::RateLimited;
use cgroup::Groups;
use cpu::Usage;
use meter::{Meter, WINDOW};

/// Between two looks. The quota is read at each, as it may change while we run.
const EVERY: Duration = Duration::from_secs(1);

/// The limit ends below this part of it.
const END: f64 = 0.9;

/// Measures for as long as it lives.
#[derive(Debug)]
pub(crate) struct CpuWatch {
    /// The thread ends when this is dropped.
    _stop: mpsc::Sender<()>,
}

impl CpuWatch {
    /// Starts to measure, on a thread of its own: files take longer than a worker may be held.
    ///
    /// # Errors
    /// There is no thread.
    pub(crate) fn start(books: Arc<Books>, max_percent: u32) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let mut sampler = Sampler::new(f64::from(max_percent));
        books.front.cpu.limit.set(sampler.max_percent);
        sampler.look(Instant::now(), &books.front.cpu);
        let run = move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                sampler.look(Instant::now(), &books.front.cpu);
            }
        };
        std::thread::Builder::new()
            .name("cpu-limit".to_owned())
            .spawn(run)?;
        Ok(Self { _stop: stop })
    }
}

/// Looks at files and decides.
struct Sampler {
    max_percent: f64,
    /// What all paths are looked up under.
    root: PathBuf,
    /// What our groups were called at the last look.
    names: String,
    groups: Groups,
    usage: Usage,
    meter: Meter,
    /// When there was a percentage, or began to be none.
    measured: Option<Instant>,
}

impl Sampler {
    fn new(max_percent: f64) -> Self {
        Self {
            max_percent,
            root: PathBuf::from("/"),
            names: String::new(),
            groups: Groups::default(),
            usage: Usage::Process,
            meter: Meter::default(),
            measured: None,
        }
    }

    fn look(&mut self, now: Instant, books: &CpuBooks) {
        self.find();
        if let Some(percent) = self.measure(now, books) {
            self.measured = Some(now);
            books.percent.set(percent);
            self.judge(percent, books);
            return;
        }
        let since = *self.measured.get_or_insert(now);
        if now.saturating_duration_since(since) >= WINDOW {
            self.give_up(books);
        }
    }

    /// Where to measure, after we have been moved.
    fn find(&mut self) {
        // What cannot be read now has not changed for all we know.
        let Ok(names) = cgroup::names(&self.root) else {
            return;
        };
        if names != self.names {
            self.groups = Groups::find(&self.root, &names);
            self.usage = Usage::of(&self.groups);
            self.meter = Meter::default();
            self.names = names;
            info!(usage = ?self.usage, cores = cpu::cores(&self.groups), "measuring our use of CPU");
        }
    }

    fn measure(&mut self, now: Instant, books: &CpuBooks) -> Option<f64> {
        let used = self.usage.read()?;
        let cores = cpu::cores(&self.groups);
        books.cores.set(cores);
        self.meter.look(now, used, cores)
    }

    /// Nobody knows whether the limit still holds.
    fn give_up(&mut self, books: &CpuBooks) {
        self.measured = None;
        self.names.clear();
        if books.is_at_limit() {
            books.set_at_limit(false);
            warn!(usage = ?self.usage, "our use of CPU cannot be measured, the limit ends");
        }
    }

    fn judge(&self, percent: f64, books: &CpuBooks) {
        static CHANGED: RateLimited = RateLimited::new(Duration::from_secs(10));
        let was = books.is_at_limit();
        let is = is_at_limit(percent, self.max_percent, was);
        if is == was {
            return;
        }
        books.set_at_limit(is);
        let Some(suppressed) = CHANGED.permit(Instant::now()) else {
            return;
        };
        let (percent, limit) = (percent.round(), self.max_percent);
        if is {
            warn!(
                percent,
                limit, suppressed, "at the limit of CPU, new connections are refused"
            );
        } else {
            info!(percent, limit, suppressed, "below the limit of CPU again");
        }
    }
}

/// Whether the limit holds, given whether it did.
fn is_at_limit(percent: f64, max_percent: f64, was: bool) -> bool {
    match was {
        false => percent > max_percent,
        true => percent > max_percent * END,
    }
}

#[cfg(test)]
mod tests {
    use super::cgroup::recorded::{Machine, version_1};
    use super::*;

    #[test]
    fn the_limit_begins_above_it_and_ends_a_tenth_below() {
        for (percent, max, was, is) in [
            (75.0, 75.0, false, false),
            (75.1, 75.0, false, true),
            (70.0, 75.0, true, true),
            (67.5, 75.0, true, false),
            (70.0, 75.0, false, false),
            (100.0, 100.0, false, false),
            (2.0, 1.0, false, true),
        ] {
            assert_eq!(
                is_at_limit(percent, max, was),
                is,
                "{percent} of {max}, {was}"
            );
        }
    }

    #[test]
    fn the_first_whole_window_is_written_into_the_books() {
        let books = CpuBooks::default();
        let mut sampler = Sampler::new(1.0);
        let start = Instant::now();
        sampler.look(start, &books);
        assert!(books.cores.value() > 0.0);
        assert!(!books.is_at_limit());
        // Busy for a tick of the counter at least; the clock that is passed says when.
        let began = sampler.usage.read().unwrap();
        while sampler.usage.read().unwrap() - began < Duration::from_millis(20) {
            std::hint::black_box(0);
        }
        sampler.max_percent = 0.01;
        sampler.look(start + Duration::from_secs(5), &books);
        assert!(books.percent.value() > 0.0);
        assert!(books.is_at_limit());
    }

    #[test]
    fn a_limit_does_not_hold_for_ever_when_there_is_nothing_to_read_any_more() {
        let books = CpuBooks::default();
        let mut sampler = Sampler::new(1.0);
        let start = Instant::now();
        sampler.look(start, &books);
        books.set_at_limit(true);
        sampler.usage = Usage::Statistics("/nowhere/cpu.stat".into());
        for second in 1..60 {
            sampler.look(start + Duration::from_secs(second), &books);
        }
        assert!(!books.is_at_limit(), "nobody has measured for a minute");
    }

    /// A sampler on this machine that has looked once.
    fn on(machine: &Machine, now: Instant, books: &CpuBooks) -> Sampler {
        let mut sampler = Sampler::new(100.0);
        sampler.root = machine.root().to_owned();
        sampler.look(now, books);
        sampler
    }

    #[test]
    fn the_groups_are_kept_while_their_names_cannot_be_read() {
        let books = CpuBooks::default();
        let machine = version_1();
        let start = Instant::now();
        let mut sampler = on(&machine, start, &books);
        let usage = sampler.usage.read();
        assert_eq!(usage, Some(Duration::from_secs(3)));
        machine.remove("proc/self/cgroup");
        sampler.look(start + EVERY, &books);
        assert_eq!(sampler.usage.read(), usage);
        assert_eq!(sampler.groups, machine.groups());
    }

    #[test]
    fn where_to_measure_is_looked_up_anew_after_a_window_without() {
        let books = CpuBooks::default();
        let machine = version_1();
        let start = Instant::now();
        let mut sampler = on(&machine, start, &books);
        machine.remove("sys/fs/cgroup/cpu,cpuacct/cpuacct.usage");
        let at = |second| start + Duration::from_secs(second);
        for second in 1..=4 {
            sampler.look(at(second), &books);
        }
        assert_ne!(sampler.usage, Usage::Process);
        for second in 5..=6 {
            sampler.look(at(second), &books);
        }
        assert_eq!(sampler.usage, Usage::Process);
    }
}
