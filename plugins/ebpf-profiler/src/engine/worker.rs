//! The thread that owns the programs: reads what they send, tells them of processes, collects counts.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};
use tracing::{debug, warn};

use super::budget::Budget;
use super::dictionary::{Addresses, Dictionary};
use super::naming::Naming;
use super::placement::Placement;
use super::session::{Costs, Named, Running};
use super::targets::{Wanted, keys, period_of};
use super::{ProcessEvent, Refused, Request, Settings, Targets};
use crate::bpf::layout::{Copied, Count, CountKey, End, Event};
use crate::bpf::programs::{KernelError, Programs};
use crate::process::proc::Proc;
use crate::process::table::{Limits, Mapped, Processes, Seen};
use crate::profile::{Kind, Process, Profile};
use crate::unwind::walk::{Registers, Stack};

/// Counts are collected this often, and before their map can be full.
const COLLECT_EVERY: Duration = Duration::from_secs(5);
/// The first time is earlier: programs that end soon are named from what is at hand then.
const FIRST_COLLECT: Duration = Duration::from_secs(1);
/// Without a session there is nothing to collect.
const IDLE: Duration = Duration::from_secs(60);
/// New stacks after which counts are collected early.
const COLLECT_AFTER: usize = 2048;

/// What the other threads ask of this one.
pub(super) enum Command {
    Start {
        request: Request,
        answer: Sender<Result<u64, Refused>>,
    },
    Retarget {
        session: u64,
        targets: Targets,
        answer: Sender<Result<(), Refused>>,
    },
    Take {
        session: u64,
        answer: Sender<Option<Profile>>,
    },
    Stop {
        session: u64,
    },
    TryOffCpu {
        answer: Sender<Result<(), Refused>>,
    },
    Watch {
        events: Sender<ProcessEvent>,
    },
    End,
}

/// The thread's state.
pub(super) struct Worker {
    programs: Programs,
    processes: Processes,
    placement: Placement,
    dictionary: Dictionary,
    naming: Naming,
    wanted: Wanted,
    budget: Budget,
    sessions: HashMap<u64, Running>,
    last_session: u64,
    watchers: Vec<Sender<ProcessEvent>>,
    settings: Settings,
    denied: HashSet<u32>,
    new_stacks: usize,
    collected: Instant,
    due: Instant,
    costs: Costs,
    lost: u64,
}

impl Worker {
    pub(super) fn new(programs: Programs, settings: Settings) -> Self {
        let limits = Limits::default();
        Self {
            programs,
            processes: Processes::new(Proc::at(&settings.proc), limits),
            placement: Placement::new(settings.memory_bytes / 2),
            dictionary: Dictionary::new(
                usize::try_from(settings.memory_bytes / 16).unwrap_or(usize::MAX),
            ),
            naming: Naming::default(),
            wanted: Wanted::default(),
            budget: Budget::new(settings.cpu_percent),
            sessions: HashMap::new(),
            last_session: 0,
            watchers: Vec::new(),
            settings,
            denied: HashSet::new(),
            new_stacks: 0,
            collected: Instant::now(),
            due: Instant::now() + IDLE,
            costs: Costs::default(),
            lost: 0,
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self, commands: &Receiver<Command>, wake: &OwnedFd) {
        loop {
            let timeout = self.due.saturating_duration_since(Instant::now());
            if let Err(error) = self.programs.wait(wake, timeout) {
                warn!(%error, "capture: cannot wait for events");
                return;
            }
            self.read_events();
            loop {
                match commands.try_recv() {
                    Ok(Command::End) => return,
                    Ok(command) => self.obey(command),
                    Err(_) => break,
                }
            }
            if self.new_stacks >= COLLECT_AFTER || Instant::now() >= self.due {
                self.collect();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        // Who asked may have gone meanwhile.
        match command {
            Command::Start { request, answer } => {
                let _ = answer.send(self.start(request));
            }
            Command::Retarget {
                session,
                targets,
                answer,
            } => {
                let _ = answer.send(self.retarget(session, targets));
            }
            Command::Take { session, answer } => {
                self.collect();
                let (now, costs) = ((SystemTime::now(), Instant::now()), self.costs());
                let _ = answer.send(
                    self.sessions
                        .get_mut(&session)
                        .map(|it| it.take(now, costs)),
                );
            }
            Command::TryOffCpu { answer } => {
                let tried = self.programs.load_switches();
                let _ = answer.send(tried.map_err(|it| refused(Kind::OffCpu, &it)));
            }
            Command::Stop { session } => self.stop(session),
            Command::End => {}
            Command::Watch { events } => {
                self.watchers.push(events);
                self.programs.watch_exec(true);
            }
        }
    }

    fn start(&mut self, request: Request) -> Result<u64, Refused> {
        self.check(&request.targets)?;
        self.prepare(&request.targets);
        self.last_session += 1;
        let session = self.last_session;
        self.set_targets(session, &request)?;
        if let Err(error) = self.attach(&request) {
            self.drop_targets(session);
            return Err(refused(request.kind, &error));
        }
        let now = (SystemTime::now(), Instant::now());
        self.due = self.due.min(now.1 + FIRST_COLLECT);
        let costs = self.costs();
        self.sessions
            .insert(session, Running::new(request, now, costs));
        Ok(session)
    }

    fn retarget(&mut self, session: u64, targets: Targets) -> Result<(), Refused> {
        self.check(&targets)?;
        self.prepare(&targets);
        let Some(running) = self.sessions.get(&session) else {
            return Ok(());
        };
        let request = Request {
            targets,
            ..running.request.clone()
        };
        self.set_targets(session, &request)?;
        // What the former targets have counted is the session's.
        self.collect();
        if let Some(running) = self.sessions.get_mut(&session) {
            running.request = request;
        }
        Ok(())
    }

    fn check(&self, targets: &Targets) -> Result<(), Refused> {
        let Targets::Processes(pids) = targets else {
            return Ok(());
        };
        for &pid in pids {
            self.settings.access.check(&self.settings.proc, pid)?;
        }
        Ok(())
    }

    /// Tells the programs of processes before their first sample.
    fn prepare(&mut self, targets: &Targets) {
        if let Targets::Processes(pids) = targets {
            for &pid in pids {
                self.tell_of(pid);
            }
        }
    }

    fn set_targets(&mut self, session: u64, request: &Request) -> Result<(), Refused> {
        let minimum = u64::try_from(request.minimum.as_nanos()).unwrap_or(u64::MAX);
        let keys = keys(&request.targets, period_of(request));
        for (key, target) in self.wanted.set(session, &keys, minimum) {
            if let Err(error) = self.programs.set_target(key, target) {
                self.drop_targets(session);
                return Err(refused(request.kind, &error));
            }
        }
        Ok(())
    }

    fn drop_targets(&mut self, session: u64) {
        for (key, target) in self.wanted.set(session, &[], 0) {
            // Only an insertion can fail.
            let _ = self.programs.set_target(key, target);
        }
    }

    fn attach(&mut self, request: &Request) -> Result<(), KernelError> {
        match request.kind {
            Kind::OnCpu => self.programs.start_clock(request.period),
            Kind::OffCpu => self.programs.start_switches(),
        }
    }

    fn detach_unused(&mut self, period: u32) {
        if self.wanted.has_period(period) {
            return;
        }
        if period == 0 {
            self.programs.stop_switches();
        } else {
            self.programs
                .stop_clock(Duration::from_nanos(u64::from(period)));
        }
    }

    fn stop(&mut self, session: u64) {
        if let Some(running) = self.sessions.remove(&session) {
            self.drop_targets(session);
            self.detach_unused(running.period());
        }
    }

    fn read_events(&mut self) {
        while let Some(event) = self.programs.next_event() {
            match event {
                Event::Stack { id, end, frames } => {
                    self.new_stacks += 1;
                    self.remember(id, frames, end);
                }
                Event::Copy(copied) => self.walk(&copied),
                Event::Exec(pid) => {
                    self.leave(pid);
                    self.naming.forget(pid);
                    self.tell_watchers(ProcessEvent::Exec(pid));
                }
                Event::Fork(child, parent) => {
                    self.processes.forked(parent, child);
                    self.placement.forked(parent, child);
                }
                Event::Exit(pid) => {
                    self.leave(pid);
                    self.processes.exited(pid, Instant::now());
                    self.tell_watchers(ProcessEvent::Exit(pid));
                }
            }
        }
    }

    fn tell_watchers(&mut self, event: ProcessEvent) {
        // One that does not keep up will find out by looking at /proc.
        self.watchers
            .retain(|it| !matches!(it.try_send(event), Err(e) if e.is_disconnected()));
        if self.watchers.is_empty() {
            self.programs.watch_exec(false);
        }
    }

    /// What we knew of a process holds no more.
    fn leave(&mut self, pid: u32) {
        self.denied.remove(&pid);
        self.placement.remove_process(pid, Instant::now());
    }

    fn remember(&mut self, id: u64, frames: Vec<u64>, end: End) {
        for gone in self.dictionary.insert(id, frames, end) {
            self.programs.forget(gone);
        }
    }

    /// Reads a process's mappings and tells the programs of them.
    fn tell_of(&mut self, pid: u32) {
        let now = Instant::now();
        if self
            .settings
            .access
            .check(&self.settings.proc, pid)
            .is_err()
        {
            self.denied.insert(pid);
        }
        match self.processes.refresh(pid, now) {
            Seen::Same | Seen::Changed => {}
            seen @ (Seen::Gone | Seen::Denied) => {
                debug!(pid, ?seen, "capture: cannot look at a process");
            }
        }
        self.processes.update_perf_map(pid);
        let processes = &self.processes;
        let trampolines = |it: &Mapped| processes.has_python_trampolines(pid, &it.region);
        let mapped = processes.mappings(pid);
        self.placement
            .set_process(&mut self.programs, pid, mapped, trampolines, now);
    }

    /// Does what the programs could not: looks at the process, then walks the copy.
    fn walk(&mut self, copied: &Copied) {
        self.new_stacks += 1;
        if !self.placement.covers(copied.pid, copied.ip) {
            self.tell_of(copied.pid);
        }
        let Copied {
            pid,
            ip,
            sp,
            fp,
            link,
            ..
        } = *copied;
        let stack = Stack {
            start: sp,
            bytes: &copied.stack,
        };
        let registers = Registers { ip, sp, fp, link };
        let code = copied.code.as_ref();
        let (frames, end) = self
            .placement
            .walk(&self.programs, pid, registers, &stack, code);
        self.remember(copied.id, frames, end);
    }

    /// Hands what was counted to the sessions.
    fn collect(&mut self) {
        let pause = if self.sessions.is_empty() {
            IDLE
        } else {
            COLLECT_EVERY
        };
        self.due = Instant::now() + pause;
        self.new_stacks = 0;
        let epoch = self.programs.turn_epoch();
        self.read_events();
        let counts = self.programs.collect(epoch);
        for part in counts.chunks(1024) {
            self.distribute(part);
        }
        let counters = self.programs.counters();
        let lost = counters.ring_full + counters.counts_full + counters.waits_full;
        let more = lost - std::mem::replace(&mut self.lost, lost);
        for running in self.sessions.values_mut() {
            running.lose(more);
        }
        let now = Instant::now();
        self.processes.sweep(now);
        self.keep_budget(now);
    }

    /// Names stacks and counts them where they are wanted.
    fn distribute(&mut self, counts: &[(CountKey, Count)]) {
        let now = Instant::now();
        let mut found = Vec::with_capacity(counts.len());
        for (key, count) in counts {
            if !self.denied.contains(&key.pid) {
                found.push((key, *count, self.stacks_of(key)));
            }
        }
        for off_cpu in [false, true] {
            let stacks: Vec<_> = found
                .iter()
                .filter(|(key, ..)| (key.period == 0) == off_cpu)
                .flat_map(|(key, _, (user, kernel))| {
                    let user = user
                        .as_ref()
                        .map(|it| ((key.pid, key.user), Arc::clone(it)));
                    let kernel = kernel.as_ref().map(|it| ((0, key.kernel), Arc::clone(it)));
                    user.into_iter().chain(kernel)
                })
                .collect();
            self.naming
                .prepare(&mut self.processes, &stacks, off_cpu, now);
        }
        for (key, count, (user, kernel)) in found {
            let process = self.process(key.pid);
            let whole = (key.user == 0 || user.is_some()) && (key.kernel == 0 || kernel.is_some());
            let user = self.naming.get((key.pid, key.user));
            let kernel = self.naming.get((0, key.kernel));
            let none = Named {
                frames: Vec::new(),
                complete: true,
            };
            for running in self.sessions.values_mut().filter(|it| it.wants(key)) {
                if whole {
                    let (user, kernel) = (user.as_deref(), kernel.as_deref());
                    running.add(
                        key,
                        count,
                        &process,
                        kernel.unwrap_or(&none),
                        user.unwrap_or(&none),
                    );
                } else {
                    running.lose(count.count);
                }
            }
        }
    }

    fn stacks_of(&mut self, key: &CountKey) -> (Option<Arc<Addresses>>, Option<Arc<Addresses>>) {
        let mut stack = |id: u64| (id != 0).then(|| self.dictionary.get(id)).flatten();
        (stack(key.user), stack(key.kernel))
    }

    fn process(&mut self, pid: u32) -> Process {
        if self.processes.get(pid).is_none() {
            // A thread of the kernel, say: nobody has looked at it yet.
            self.processes.refresh(pid, Instant::now());
        }
        let name = self.processes.get(pid).map(|it| it.identity.name.clone());
        Process {
            pid,
            name: name.unwrap_or_else(|| pid.to_string()),
        }
    }

    fn costs(&self) -> Costs {
        Costs::now(self.settings.measure.then(|| self.programs.run_time()))
    }

    /// Lengthens or shortens the periods of elastic sessions by what we have used since the last time.
    fn keep_budget(&mut self, now: Instant) {
        let elapsed = now.duration_since(std::mem::replace(&mut self.collected, now));
        let costs = self.costs();
        let before = std::mem::replace(&mut self.costs, costs);
        let kernel = costs
            .kernel_cpu
            .unwrap_or_default()
            .saturating_sub(before.kernel_cpu.unwrap_or_default());
        let used = costs.own_cpu.saturating_sub(before.own_cpu) + kernel;
        if elapsed < Duration::from_secs(1) || !self.budget.observe(used, elapsed) {
            return;
        }
        let factor = self.budget.factor();
        warn!(
            ?used,
            ?elapsed,
            factor,
            "capture: the period of samples follows the CPU budget"
        );
        let elastic = self.sessions.iter().filter(|(_, it)| it.request.elastic);
        for session in elastic.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.stretch(session, factor);
        }
    }

    fn stretch(&mut self, session: u64, factor: u32) {
        let Some(running) = self.sessions.get(&session) else {
            return;
        };
        let (before, request) = (running.period(), running.request.clone());
        if request.kind == Kind::OffCpu {
            return;
        }
        let longer = Request {
            period: request.period * factor,
            ..request
        };
        if let Err(error) = self
            .set_targets(session, &longer)
            .map_err(|it| it.to_string())
            .and_then(|()| self.attach(&longer).map_err(|it| it.to_string()))
        {
            warn!(error, "capture: cannot change the period");
            return;
        }
        self.detach_unused(before);
        if let Some(running) = self.sessions.get_mut(&session) {
            running.set_period(period_of(&longer));
        }
    }
}

fn refused(kind: Kind, error: &KernelError) -> Refused {
    let what = match kind {
        Kind::OnCpu => "on-CPU profiling",
        Kind::OffCpu => "off-CPU profiling",
    };
    Refused {
        what: what.into(),
        because: error.to_string(),
        missing: error.missing(),
    }
}
