//! Clocks on threads, for those who may not have a CPU's: processes are looked for again and again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::bpf::errno::Errno;
use crate::bpf::perf::{Clock, Ring, Whom};
use crate::engine::Targets;
use crate::process::proc::Proc;

/// Processes that are sampled, each by a clock for every thread and CPU.
#[derive(Debug)]
pub(super) struct Followed {
    processes: HashMap<u32, Process>,
    /// Where the kernel tells of processes.
    proc: PathBuf,
    cpus: Vec<u32>,
    /// What all clocks have in common.
    clock: Clock,
    /// Whether the kernel gives a process's new threads clocks by itself.
    inherits: bool,
    /// Descriptors, now and at most.
    open: usize,
    max_open: usize,
    /// Processes of which a thread could not be followed.
    pub(super) unfollowed: u64,
}

#[derive(Debug, Default)]
struct Process {
    /// In clock ticks since boot: another one, and the PID is another process.
    started: u64,
    threads: HashMap<u32, Vec<OwnedFd>>,
    /// Not ours to observe.
    refused: bool,
    /// Whether it is in [`Followed::unfollowed`].
    counted: bool,
}

impl Followed {
    pub(super) fn new(proc: PathBuf, cpus: Vec<u32>, clock: Clock) -> Self {
        // The other half is for the files of those processes.
        let max_open = getrlimit(Resource::Nofile)
            .current
            .map_or(4096, |it| it as usize / 2);
        let processes = HashMap::new();
        Followed {
            processes,
            proc,
            cpus,
            clock,
            inherits: true,
            open: 0,
            max_open,
            unfollowed: 0,
        }
    }

    /// Follows what has come and lets go of what has gone. `rings` are in the order of the CPUs.
    pub(super) fn scan(&mut self, targets: &Targets, rings: &[Ring]) {
        let proc = Proc::at(&self.proc);
        let found: HashMap<u32, u64> = wanted(&self.proc, targets)
            .into_iter()
            .filter_map(|pid| Some((pid, proc.identity(pid).ok()?.started)))
            .collect();
        self.processes
            .retain(|pid, known| found.get(pid) == Some(&known.started));
        self.open = self
            .processes
            .values()
            .flat_map(|it| it.threads.values())
            .map(Vec::len)
            .sum();
        for (pid, started) in found {
            let fresh = || Process {
                started,
                ..Process::default()
            };
            let mut process = self.processes.remove(&pid).unwrap_or_else(fresh);
            let followed = process.refused || (self.inherits && !process.threads.is_empty());
            if !followed {
                self.follow(pid, &mut process, rings);
            }
            self.processes.insert(pid, process);
        }
    }

    fn follow(&mut self, pid: u32, process: &mut Process, rings: &[Ring]) {
        let threads = threads(&self.proc, pid);
        if !self.inherits {
            process.threads.retain(|tid, _| threads.contains(tid));
        }
        for tid in threads {
            if process.threads.contains_key(&tid) {
                continue;
            }
            match self.open(tid, rings) {
                Ok(clocks) => {
                    self.open += clocks.len();
                    process.threads.insert(tid, clocks);
                }
                // It has just ended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => {
                    self.unfollowed += u64::from(!process.counted);
                    process.counted = true;
                    process.refused |= Errno::of(&error).is_refusal();
                    return;
                }
            }
        }
    }

    fn open(&mut self, tid: u32, rings: &[Ring]) -> io::Result<Vec<OwnedFd>> {
        if self.open + self.cpus.len() > self.max_open {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        if self.inherits {
            match self.open_as(Whom::ThreadAndItsThreads(tid), rings) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => self.inherits = false,
                result => return result,
            }
        }
        self.open_as(Whom::Thread(tid), rings)
    }

    fn open_as(&self, whom: Whom, rings: &[Ring]) -> io::Result<Vec<OwnedFd>> {
        let on = |(&cpu, ring): (&u32, &Ring)| {
            let clock = Clock {
                whom,
                cpu: Some(cpu),
                ..self.clock
            }
            .open()?;
            ring.write_to(clock.as_fd())?;
            Ok(clock)
        };
        self.cpus.iter().zip(rings).map(on).collect()
    }

    /// Lets go of everything, to be followed at another rate with the next scan: a clock that a thread
    /// got by inheritance does not take a new period.
    pub(super) fn set_period(&mut self, period: Duration) {
        self.clock.period = period;
        self.processes.clear();
    }
}

fn wanted(proc: &Path, targets: &Targets) -> HashSet<u32> {
    let entries = match targets {
        Targets::Processes(pids) => return pids.iter().copied().collect(),
        Targets::All => fs::read_dir(proc).into_iter().flatten().flatten(),
    };
    // Of other users we would be refused all; their number shall not cost us.
    let ours = rustix::process::geteuid().as_raw();
    let own = std::process::id();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            (pid != own && entry.metadata().ok()?.uid() == ours).then_some(pid)
        })
        .collect()
}

fn threads(proc: &Path, pid: u32) -> HashSet<u32> {
    let entries = fs::read_dir(proc.join(pid.to_string()).join("task"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
