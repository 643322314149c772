//! Capturing without programs in the kernel: stacks are copied out by perf events and walked here.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};
use tracing::warn;

use super::budget::Budget;
use super::commands::{self, Command, WAITING, gone};
use super::dictionary::Addresses;
use super::naming::{Naming, StackOf};
use super::placement::Placement;
use super::ring::{self, Losses, Sampler, Unwinder};
use super::session::{Costs, Named, Running};
use super::targets::period_of;
use super::{Access, Capture, Refused, Request, Session, Settings, Targets};
use crate::bpf::layout::{Count, CountKey, End};
use crate::process::proc::Proc;
use crate::process::table::{Limits, Processes};
use crate::profile::{Kind, Profile};
use crate::tier::Tier;
use crate::unwind::arena::PlainWords;
use crate::unwind::walk::{Registers, Stack};

/// A thread that reads rings.
pub struct Sampling {
    commands: Sender<Command>,
    tier: Tier,
}

/// Commands are obeyed at least this often.
const POLL: Duration = Duration::from_millis(50);
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

/// Walks by the same tables that programs in the kernel would be given.
struct Walker {
    processes: Processes,
    placement: Placement,
    words: PlainWords,
    proc: PathBuf,
    access: Access,
    /// Who may not be looked at, of those seen since the last collection.
    judged: HashMap<u32, bool>,
}

impl Unwinder for Walker {
    fn unwind(&mut self, pid: u32, at: ring::Registers, stack: &[u8]) -> (Vec<u64>, bool) {
        if self.is_denied(pid) {
            return (Vec::new(), false);
        }
        if !self.placement.covers(pid, at.ip) {
            self.look_at(pid);
        }
        let registers = Registers {
            ip: at.ip,
            sp: at.sp,
            fp: at.fp,
            link: 0,
        };
        let stack = Stack {
            start: at.sp,
            bytes: stack,
        };
        let (frames, end) = self
            .placement
            .walk(&self.words, pid, registers, &stack, None);
        (frames, end.is_complete())
    }
}

impl Walker {
    fn is_denied(&mut self, pid: u32) -> bool {
        let (access, proc) = (&self.access, &self.proc);
        *self
            .judged
            .entry(pid)
            .or_insert_with(|| access.check(proc, pid).is_err())
    }

    fn look_at(&mut self, pid: u32) {
        let now = Instant::now();
        self.processes.refresh(pid, now);
        self.placement
            .tell_of(&mut self.words, &mut self.processes, pid, now);
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
            walker: Walker {
                processes: Processes::new(Proc::at(&proc), Limits::default()),
                placement: Placement::new(memory_bytes / 2),
                words: PlainWords::default(),
                proc,
                access,
                judged: HashMap::new(),
            },
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

    fn obey(&mut self, command: Command) {
        // Who asked may have gone meanwhile.
        match command {
            Command::Start { request, answer } => {
                let _ = answer.send(self.start(&request));
            }
            Command::Retarget {
                session,
                targets,
                answer,
            } => {
                let _ = answer.send(self.retarget(session, &targets));
            }
            Command::Take { session, answer } => {
                self.read();
                self.collect();
                let _ = answer.send(self.take(session));
            }
            Command::Stop { session } => {
                self.sessions.remove(&session);
            }
        }
    }

    fn start(&mut self, request: &Request) -> Result<u64, Refused> {
        let targets = self.narrow(&request.targets)?;
        let request = Request {
            targets,
            ..request.clone()
        };
        // What was used before is not its doing.
        self.collect();
        let slower = self.budget.stretched(&request);
        let sampler = Sampler::open(ring::Options {
            tier: self.tier,
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

    fn narrow(&self, targets: &Targets) -> Result<Targets, Refused> {
        let Walker { access, proc, .. } = &self.walker;
        let targets = access.narrow(proc, targets)?;
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

    fn retarget(&mut self, session: u64, targets: &Targets) -> Result<(), Refused> {
        let targets = self.narrow(targets)?;
        self.count(session);
        if let Some((sampler, running)) = self.sessions.get_mut(&session) {
            sampler.retarget(&targets);
            running.request.targets = targets;
        }
        Ok(())
    }

    fn take(&mut self, session: u64) -> Option<Profile> {
        let (_, running) = self.sessions.get_mut(&session)?;
        Some(running.take((SystemTime::now(), Instant::now()), Costs::now(None)))
    }

    /// Reads the rings of all sessions.
    fn read(&mut self) {
        let timeout = POLL
            / u32::try_from(self.sessions.len())
                .unwrap_or(u32::MAX)
                .max(1);
        for (sampler, _) in self.sessions.values_mut() {
            if let Err(error) = sampler.poll(timeout, &mut self.walker) {
                warn!(%error, "capture: cannot wait for samples");
            }
        }
    }

    /// Names what has been read, and keeps to the budget.
    fn collect(&mut self) {
        let now = Instant::now();
        self.due = now + COLLECT_EVERY;
        let sessions: Vec<u64> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.count(session);
        }
        self.walker.processes.sweep(now);
        // Another program may have the number by the next time.
        self.walker.judged.clear();
        if self.budget.keep(Costs::now(None), now).is_some() {
            self.change_periods();
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
        for part in stacks.chunks(512) {
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
