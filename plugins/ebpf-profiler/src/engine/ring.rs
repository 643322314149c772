//! Sampling without BPF: the kernel copies registers and stacks into rings, and we walk them.
//!
//! For machines where programs cannot be loaded. It costs what it copies, up to 16 KiB a sample, and it
//! sees on-CPU time only. Whoever owns a [`Sampler`] calls [`Sampler::poll`] from a thread of its own;
//! rings hold a second or so.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::raw::{Counts, Key, RawStack};
use super::{Refused, Targets};
use crate::bpf::errno::{Errno, Failure};
use crate::bpf::perf::{self, Clock, Record, Ring, Sample, Whom};
use crate::tier::Tier;

mod follow;
mod frame;

pub use crate::bpf::perf::{Change, How, Registers};
use follow::Followed;
pub use frame::FramePointers;

/// Time between two looks for new processes, where there is a clock for each.
const SCAN: Duration = Duration::from_millis(250);
/// Most of a stack that is copied.
const MOST_STACK: usize = 16 << 10;
/// A ring below this does not hold two samples.
const SMALLEST_RING: usize = 32 << 10;
/// A ring above this does not lose less.
const LARGEST_RING: usize = 2 << 20;

/// Finds callers in a copy of a stack.
pub trait Unwinder {
    /// The addresses from `at` on, innermost first, and whether they go down to where the thread began.
    /// `stack` is the memory from `at.sp` on, as much as was copied.
    fn unwind(&mut self, pid: u32, at: Registers, stack: &[u8]) -> (Vec<u64>, bool);
}

/// What to sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// [`Tier::PerfRing`] or [`Tier::OwnProcesses`].
    pub tier: Tier,
    /// Where the kernel tells of processes: `/proc`, or where the host's is mounted.
    pub proc: PathBuf,
    /// Of whom.
    pub targets: Targets,
    /// Time between two samples of one CPU.
    pub period: Duration,
    /// Bytes that rings and counts may take, half of it each.
    pub memory: usize,
}

/// Samples that were taken and could not be kept, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// A ring was full. Whose they were is not known.
    pub ring: u64,
    /// There were more different stacks than memory for them.
    pub counts: u64,
    /// Their process was just ending and had no number any more, or is another program by now.
    pub ended: u64,
    /// Times that the kernel held a clock back.
    pub throttled: u64,
    /// Records that were not as they should be.
    pub strange: u64,
    /// Processes of which a thread has no clock, for want of descriptors or of permission.
    pub unfollowed: u64,
}

/// Samples as they come.
#[derive(Debug)]
pub struct Sampler {
    rings: Vec<Ring>,
    /// Where each thread has a clock of its own.
    followed: Option<Followed>,
    scanned: Instant,
    kept: Kept,
    kernel: bool,
}

/// What samples become.
#[derive(Debug)]
struct Kept {
    targets: Targets,
    own: u32,
    /// What a sample stands for.
    nanos: u64,
    /// What one stands for that was taken before this time of the monotonic clock.
    former: (u64, u64),
    /// Processes that are another program since this time, which others have told.
    began: HashMap<u32, u64>,
    /// Whose stacks are in `counts`.
    counted: HashSet<u32>,
    counts: Counts,
    losses: Losses,
}

impl Sampler {
    /// Begins to sample.
    ///
    /// # Errors
    /// The kernel refuses, or the memory is too little for this many CPUs.
    pub fn open(options: Options) -> Result<Self, Refused> {
        let cpus = perf::online_cpus().map_err(|error| refused(error.to_string(), None))?;
        let Options {
            tier,
            proc,
            targets,
            period,
            memory,
        } = options;
        let mut pages = ring_pages(memory, cpus.len()).ok_or_else(|| {
            let because = format!("{memory} bytes make no rings for {} CPUs", cpus.len());
            refused(
                because,
                Some(format!("{} bytes", SMALLEST_RING * 4 * cpus.len())),
            )
        })?;
        let follows = tier == Tier::OwnProcesses;
        let whom = if follows {
            Whom::Thread(std::process::id())
        } else {
            Whom::Everyone
        };
        let kernel = may_sample_kernel(whom, cpus[0]);
        let (clock, rings) = loop {
            let stack = stack_bytes(pages);
            let clock = Clock {
                whom,
                cpu: None,
                period,
                kernel,
                stack,
            };
            match open_rings(&clock, &cpus, pages, follows) {
                Ok(rings) => break (clock, rings),
                // The bound of locked memory is a user's, of all CPUs together.
                Err(error) if lacks_memory(&error) && pages * perf::page_size() > SMALLEST_RING => {
                    pages /= 2;
                }
                Err(error) => return Err(not_open(&error)),
            }
        };
        let nanos = nanos(period);
        let (own, counts) = (std::process::id(), Counts::new(memory / 2));
        let kept = Kept {
            targets,
            own,
            nanos,
            former: (0, nanos),
            began: HashMap::new(),
            counted: HashSet::new(),
            counts,
            losses: Losses::default(),
        };
        let followed = follows.then(|| Followed::new(proc, cpus, clock));
        let mut sampler = Sampler {
            rings,
            followed,
            scanned: Instant::now(),
            kept,
            kernel,
        };
        sampler.scan();
        Ok(sampler)
    }

    /// Whether stacks have the kernel's part.
    pub fn sees_kernel(&self) -> bool {
        self.kernel
    }

    /// Bytes of the rings.
    pub fn ring_bytes(&self) -> usize {
        self.rings.iter().map(Ring::bytes).sum()
    }

    /// Waits until there is something to read, at most so long, and reads it, in the order in which it was
    /// written. Stops behind what became of a process: what follows is to be walked by what is known then.
    ///
    /// # Errors
    /// The kernel has no memory left for waiting.
    pub fn poll(
        &mut self,
        timeout: Duration,
        unwinder: &mut dyn Unwinder,
    ) -> io::Result<Option<Change>> {
        let follows = self.followed.is_some();
        let timeout = if follows { timeout.min(SCAN) } else { timeout };
        perf::wait(&mut self.rings, timeout)?;
        if self.scanned.elapsed() >= SCAN {
            self.scan();
        }
        let Sampler { rings, kept, .. } = self;
        // What is written while we read is for the next time.
        let until = monotonic();
        let mut next = BinaryHeap::new();
        for (at, ring) in rings.iter_mut().enumerate() {
            next.extend(ring.next_time().map(|time| Reverse((time, at))));
        }
        while let Some(Reverse((time, at))) = next.pop()
            && time <= until
        {
            let ring = &mut rings[at];
            let change = ring.next_record().and_then(|it| kept.add(it, unwinder));
            if change.is_some() {
                return Ok(change);
            }
            next.extend(ring.next_time().map(|time| Reverse((time, at))));
        }
        kept.began.clear();
        Ok(None)
    }

    /// Whether stacks of this process wait to be taken.
    pub fn has_stacks_of(&self, pid: u32) -> bool {
        self.kept.counted.contains(&pid)
    }

    /// The process is another program since then: what this one has not yet read of it cannot be walked.
    pub fn began(&mut self, pid: u32, time: u64) {
        self.kept.began.insert(pid, time);
    }

    /// The stacks since the last time, and the losses since then.
    pub fn take(&mut self) -> (Vec<RawStack>, Losses) {
        self.kept.counted.clear();
        let (stacks, dropped) = self.kept.counts.take();
        let losses = Losses {
            counts: dropped,
            ..std::mem::take(&mut self.kept.losses)
        };
        (stacks, losses)
    }

    /// Sets the processes anew.
    pub fn retarget(&mut self, targets: &Targets) {
        self.kept.targets = targets.clone();
        self.scan();
    }

    /// Samples at another rate from now on.
    ///
    /// # Errors
    /// The kernel refuses the period.
    pub fn set_period(&mut self, period: Duration) -> io::Result<()> {
        if let Some(followed) = &mut self.followed {
            followed.set_period(period);
            self.scan();
        } else {
            for ring in &self.rings {
                perf::set_period(ring.event(), period)?;
            }
        }
        // The first sample at the new rate is a period away.
        let former = std::mem::replace(&mut self.kept.nanos, nanos(period));
        self.kept.former = (monotonic(), former);
        Ok(())
    }

    fn scan(&mut self) {
        self.scanned = Instant::now();
        if let Some(followed) = &mut self.followed {
            followed.scan(&self.kept.targets, &self.rings);
            self.kept.losses.unfollowed += std::mem::take(&mut followed.unfollowed);
        }
    }
}

impl Kept {
    fn add(&mut self, record: Record<'_>, unwinder: &mut dyn Unwinder) -> Option<Change> {
        match record {
            Record::Change(change) => return self.wants(change.pid).then_some(change),
            Record::Thread => {}
            Record::Sample(sample) if sample.pid == u32::MAX => self.losses.ended += 1,
            Record::Sample(sample) if self.wants(sample.pid) => self.count(&sample, unwinder),
            Record::Sample(_) => {}
            Record::Lost(count) => self.losses.ring += count,
            Record::Throttled => self.losses.throttled += 1,
            Record::Other(_) => self.losses.strange += 1,
        }
        None
    }

    fn wants(&self, pid: u32) -> bool {
        match &self.targets {
            Targets::All => pid != self.own,
            Targets::Processes(pids) => pids.contains(&pid),
        }
    }

    fn count(&mut self, sample: &Sample<'_>, unwinder: &mut dyn Unwinder) {
        let pid = sample.pid;
        if self.began.get(&pid).is_some_and(|it| sample.time < *it) {
            self.losses.ended += 1;
            return;
        }
        self.counted.insert(pid);
        let (user, complete) = match sample.registers {
            Some(at) => unwinder.unwind(pid, at, sample.stack),
            // A thread of the kernel has no more; a program of 32 bits has, but not for us.
            None => (Vec::new(), sample.stack.is_empty()),
        };
        let kernel = sample.kernel().collect();
        let (changed, former) = self.former;
        let nanos = if sample.time < changed {
            former
        } else {
            self.nanos
        };
        self.counts.add(
            Key {
                pid,
                user,
                kernel,
                complete,
            },
            nanos,
        );
    }
}

fn open_rings(
    clock: &Clock,
    cpus: &[u32],
    pages: usize,
    shared: bool,
) -> Result<Vec<Ring>, io::Error> {
    let open = |&cpu: &u32| match shared {
        true => Ring::shared(cpu, pages, true),
        false => Ring::open(
            &Clock {
                cpu: Some(cpu),
                ..*clock
            },
            pages,
        ),
    };
    cpus.iter().map(open).collect()
}

fn may_sample_kernel(whom: Whom, cpu: u32) -> bool {
    let period = Duration::from_secs(1);
    Clock {
        whom,
        cpu: Some(cpu),
        period,
        kernel: true,
        stack: 0,
    }
    .open()
    .is_ok()
}

/// What mmap answers above `kernel.perf_event_mlock_kb`, or without memory.
fn lacks_memory(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOMEM))
}

/// Pages of each ring, a power of two, if half of the memory makes rings of a useful size.
fn ring_pages(memory: usize, cpus: usize) -> Option<usize> {
    let each = (memory / 2 / cpus.max(1)).min(LARGEST_RING);
    let bytes = 1_usize << each.checked_ilog2()?;
    (bytes >= SMALLEST_RING).then(|| (bytes / perf::page_size()).max(1))
}

/// Four samples fit into a ring at least.
fn stack_bytes(pages: usize) -> u32 {
    (pages * perf::page_size() / 4 - 512).min(MOST_STACK) as u32
}

fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    nanos(Duration::try_from(now).unwrap_or_default())
}

fn nanos(period: Duration) -> u64 {
    u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)
}

fn not_open(error: &io::Error) -> Refused {
    let missing = Errno::of(error)
        .is_refusal()
        .then(|| "CAP_PERFMON".to_owned());
    refused(Failure::of("perf_event_open", error).to_string(), missing)
}

fn refused(because: String, missing: Option<String>) -> Refused {
    Refused {
        what: "sampling by perf rings".to_owned(),
        because,
        missing,
    }
}

#[cfg(test)]
mod tests;
