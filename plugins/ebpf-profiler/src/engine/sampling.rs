//! Capturing without programs in the kernel: stacks are copied out by perf events and walked here.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::warn;

use super::budget::Budget;
use super::commands::{self, Command, Serve, WAITING, gone};
use super::dictionary::Addresses;
use super::naming::{self, Naming, StackOf};
use super::permit;
use super::ring::{self, Change, How, Losses, Sampler};
use super::session::{Costs, Named, Running};
use super::targets::period_of;
use super::{Capture, Refused, Request, Session, Settings, Targets};
use crate::bpf::layout::{Count, CountKey, End};
use crate::profile::{Kind, Profile};
use crate::tier::Tier;

mod walker;

use walker::Walker;

/// A thread that reads rings.
pub struct Sampling {
    commands: Sender<Command>,
    tier: Tier,
}

/// Commands are obeyed at least this often.
const POLL: Duration = Duration::from_millis(50);
/// What became of processes, so many times at the most before commands are obeyed.
const CHANGES_AT_ONCE: usize = 4096;
/// Stacks are named this often, so that most of them are while their process is there.
const COLLECT_EVERY: Duration = Duration::from_secs(5);

impl Sampling {
    /// Starts the thread.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn open(settings: Settings, tier: Tier) -> Result<Self, Refused> {
        let (commands, received) = bounded(WAITING);
        let worker = Worker::new(settings, tier);
        let spawned = thread::Builder::new()
            .name("capture".into())
            .spawn(move || worker.run(&received));
        spawned.map_err(|e| Refused {
            because: e.to_string(),
            ..gone("a capture")
        })?;
        Ok(Self { commands, tier })
    }
}

impl Capture for Sampling {
    fn start(&self, request: &Request) -> Result<Box<dyn Session>, Refused> {
        if request.kind == Kind::OffCpu {
            return Err(Refused {
                what: "off-CPU profiling".into(),
                because: format!(
                    "it needs programs in the kernel, and this capture is by {}",
                    self.tier
                ),
                missing: Some("CAP_BPF and CAP_PERFMON (or root)".into()),
            });
        }
        commands::start(Arc::new(self.commands.clone()), request)
    }
}

struct Worker {
    tier: Tier,
    memory: usize,
    walker: Walker,
    naming: Naming,
    budget: Budget,
    sessions: HashMap<u64, (Sampler, Running)>,
    last_session: u64,
    due: Instant,
}

impl Worker {
    fn new(settings: Settings, tier: Tier) -> Self {
        let memory = settings.memory_share(4);
        let Settings {
            proc,
            cpu_percent,
            memory_bytes,
            access,
            ..
        } = settings;
        Self {
            tier,
            memory,
            walker: Walker::new(proc, access, memory_bytes / 4),
            naming: Naming::default(),
            budget: Budget::new(cpu_percent),
            sessions: HashMap::new(),
            last_session: 0,
            due: Instant::now(),
        }
    }

    fn run(mut self, commands: &Receiver<Command>) {
        loop {
            let command = if self.sessions.is_empty() {
                let Ok(command) = commands.recv() else {
                    return;
                };
                Some(command)
            } else {
                self.read();
                if Instant::now() >= self.due {
                    self.collect();
                }
                match commands.try_recv() {
                    Ok(command) => Some(command),
                    Err(crossbeam_channel::TryRecvError::Empty) => None,
                    Err(crossbeam_channel::TryRecvError::Disconnected) => return,
                }
            };
            if let Some(command) = command {
                self.obey(command);
            }
        }
    }

    /// Reads the rings of all sessions.
    fn read(&mut self) {
        let timeout = POLL
            / u32::try_from(self.sessions.len())
                .unwrap_or(u32::MAX)
                .max(1);
        for session in self.numbers() {
            self.read_rings_of(session, timeout);
        }
    }

    fn numbers(&self) -> Vec<u64> {
        self.sessions.keys().copied().collect()
    }

    fn read_rings_of(&mut self, session: u64, mut timeout: Duration) {
        for _ in 0..CHANGES_AT_ONCE {
            let Some((sampler, _)) = self.sessions.get_mut(&session) else {
                return;
            };
            match sampler.poll(timeout, &mut self.walker) {
                Ok(Some(change)) => self.take_in(session, change),
                Ok(None) => return,
                Err(error) => {
                    warn!(%error, "capture: cannot wait for samples");
                    return;
                }
            }
            timeout = Duration::ZERO;
        }
    }

    /// Hears from a session's rings what became of a process.
    fn take_in(&mut self, session: u64, change: Change) {
        let Change { pid, time, how } = change;
        match how {
            How::Forked(parent) => self.walker.forked(parent, pid),
            How::Exited => self.walker.exited(pid),
            How::Exec => {
                // The same addresses will have other names.
                if self.sessions.values().any(|(it, _)| it.has_stacks_of(pid)) {
                    self.count_all();
                }
                self.walker.forget(pid);
                for (other, (sampler, _)) in &mut self.sessions {
                    if *other != session {
                        sampler.began(pid, time);
                    }
                }
            }
        }
    }

    /// Names what has been read, and keeps to the budget.
    fn collect(&mut self) {
        let now = Instant::now();
        self.due = now + COLLECT_EVERY;
        self.count_all();
        self.walker.sweep(now);
        if self.budget.keep(Costs::now(None), now).is_some() {
            self.change_periods();
        }
    }

    fn count_all(&mut self) {
        for session in self.numbers() {
            self.count(session);
        }
    }

    fn change_periods(&mut self) {
        for (sampler, running) in self.sessions.values_mut() {
            let request = self.budget.stretched(&running.request);
            if period_of(&request) == running.period() {
                continue;
            }
            match sampler.set_period(request.period) {
                Ok(()) => running.set_period(period_of(&request)),
                Err(error) => warn!(%error, "capture: cannot change the period"),
            }
        }
    }

    /// Names what a session's rings have brought.
    fn count(&mut self, session: u64) {
        let Some((sampler, running)) = self.sessions.get_mut(&session) else {
            return;
        };
        let (mut stacks, losses) = sampler.take();
        stacks.retain(|raw| !self.walker.is_denied(raw.pid));
        let Losses {
            ring,
            counts,
            ended,
            ..
        } = losses;
        running.lose(ring + counts + ended);
        let now = Instant::now();
        let processes = &mut self.walker.processes;
        for part in stacks.chunks(naming::AT_ONCE / 2) {
            // Numbers for this batch only: the naming forgets them below.
            let numbered: Vec<(StackOf, StackOf)> = (1..)
                .zip(part)
                .map(|(at, raw)| ((raw.pid, 2 * at), (0, 2 * at + 1)))
                .collect();
            let addresses: Vec<_> = numbered
                .iter()
                .zip(part)
                .flat_map(|((user, kernel), raw)| {
                    let end = if raw.complete { End::Bottom } else { End::Lost };
                    let of = |frames: &[u64], end| {
                        Arc::new(Addresses {
                            frames: frames.into(),
                            end,
                        })
                    };
                    [
                        (*user, of(&raw.user, end)),
                        (*kernel, of(&raw.kernel, End::Kernel)),
                    ]
                })
                .collect();
            self.naming.prepare(processes, &addresses, false, now);
            let none = Named::default();
            for ((user, kernel), raw) in numbered.iter().zip(part) {
                let process = processes.described(raw.pid);
                let key = CountKey {
                    pid: raw.pid,
                    ..CountKey::default()
                };
                let count = Count {
                    count: raw.count,
                    nanos: raw.nanos,
                };
                let (user, kernel) = (self.naming.get(*user), self.naming.get(*kernel));
                let (user, kernel) = (user.as_deref(), kernel.as_deref());
                running.add(
                    &key,
                    count,
                    &process,
                    kernel.unwrap_or(&none),
                    user.unwrap_or(&none),
                );
            }
            self.naming.clear();
        }
    }
}

impl Serve for Worker {
    fn narrow(&self, targets: &Targets) -> Result<Targets, Refused> {
        let Walker { access, proc, .. } = &self.walker;
        let targets = permit::narrow(access, proc, targets)?;
        match &targets {
            Targets::Processes(pids) if self.tier == Tier::OwnProcesses => {
                let own = rustix::process::geteuid().as_raw();
                let foreign = pids.iter().find(|pid| {
                    let owner = fs::metadata(proc.join(pid.to_string()));
                    owner.is_ok_and(|it| it.uid() != own)
                });
                match foreign {
                    Some(pid) if pids.len() == 1 => Err(Refused {
                        what: format!("a profile of process {pid}"),
                        because: "it is another user's".into(),
                        missing: Some("CAP_BPF and CAP_PERFMON (or root)".into()),
                    }),
                    _ => Ok(targets),
                }
            }
            _ => Ok(targets),
        }
    }

    fn start(&mut self, request: Request) -> Result<u64, Refused> {
        // What was used before is not its doing.
        self.collect();
        let slower = self.budget.stretched(&request);
        let sampler = Sampler::open(ring::Options {
            tier: self.tier,
            proc: self.walker.proc.clone(),
            targets: request.targets.clone(),
            period: slower.period,
            memory: self.memory / (self.sessions.len() + 1),
        })?;
        self.last_session += 1;
        let mut running = Running::new(
            request,
            (SystemTime::now(), Instant::now()),
            Costs::now(None),
            self.memory,
        );
        running.set_period(period_of(&slower));
        self.sessions.insert(self.last_session, (sampler, running));
        Ok(self.last_session)
    }

    fn retarget(&mut self, session: u64, targets: Targets) -> Result<(), Refused> {
        self.count(session);
        if let Some((sampler, running)) = self.sessions.get_mut(&session) {
            sampler.retarget(&targets);
            running.request.targets = targets;
        }
        Ok(())
    }

    fn take(&mut self, session: u64) -> Option<Profile> {
        self.read();
        self.collect();
        let (_, running) = self.sessions.get_mut(&session)?;
        Some(running.take((SystemTime::now(), Instant::now()), Costs::now(None)))
    }

    fn stop(&mut self, session: u64) {
        self.sessions.remove(&session);
    }
}
