//! The thread that owns the programs: reads what they send, tells them of processes, collects counts.

mod counting;
mod events;

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender};
use tracing::warn;

use self::events::Looks;
use super::budget::Budget;
use super::commands::{Command, Serve};
use super::dictionary::Dictionary;
use super::naming::{self, Naming};
use super::permit;
use super::placement::Placement;
use super::session::Running;
use super::targets::{Wanted, keys, period_of};
use super::{ProcessEvent, Refused, Request, Settings, Targets};
use crate::bpf::layout::Target;
use crate::bpf::programs::{KernelError, Programs};
use crate::process::proc::Proc;
use crate::process::table::{Limits, Processes};
use crate::profile::{Kind, Profile};

/// Counts are collected this often, and before their map can be full.
const COLLECT_EVERY: Duration = Duration::from_secs(5);
/// The first time is earlier: programs that end soon are named from what is at hand then.
const FIRST_COLLECT: Duration = Duration::from_secs(1);
/// Counts whose stacks, two each, are named together.
const STACKS_AT_ONCE: usize = naming::AT_ONCE / 2;
/// Events that are read before commands are obeyed.
const EVENTS_AT_ONCE: usize = 4096;
/// Without a session there is nothing to collect.
const IDLE: Duration = Duration::from_secs(60);
/// New stacks after which counts are collected early.
const COLLECT_AFTER: usize = 2048;

/// What the other threads ask of this one.
pub(super) enum Order {
    Session(Command),
    TryOffCpu { answer: Sender<Result<(), Refused>> },
    Watch { events: Sender<ProcessEvent> },
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
    /// Those of them that have ended since the last collection.
    left: Vec<u32>,
    looks: HashMap<u32, Looks>,
    /// By PID and number: when a process has left a program, and the number under which that is known now.
    former: HashMap<(u32, u32), (Instant, u32)>,
    last_former: u32,
    new_stacks: usize,
    due: Instant,
    lost: u64,
    untold: u64,
}

impl Worker {
    pub(super) fn new(programs: Programs, settings: Settings) -> Self {
        Self {
            programs,
            processes: Processes::new(Proc::at(&settings.proc), Limits::default()),
            placement: Placement::new(settings.memory_bytes / 8 * 3),
            dictionary: Dictionary::new(settings.memory_share(64)),
            naming: Naming::default(),
            wanted: Wanted::default(),
            budget: Budget::new(settings.cpu_percent),
            sessions: HashMap::new(),
            last_session: 0,
            watchers: Vec::new(),
            settings,
            denied: HashSet::new(),
            left: Vec::new(),
            looks: HashMap::new(),
            former: HashMap::new(),
            last_former: 0,
            new_stacks: 0,
            due: Instant::now() + IDLE,
            lost: 0,
            untold: 0,
        }
    }

    /// Works until it is told to end.
    pub(super) fn run(mut self, orders: &Receiver<Order>, wake: &OwnedFd) {
        loop {
            let timeout = self.due.saturating_duration_since(Instant::now());
            if let Err(error) = self.programs.wait(wake, timeout) {
                warn!(%error, "capture: cannot wait for events");
                return;
            }
            if !self.read_events(EVENTS_AT_ONCE) {
                self.due = Instant::now();
            }
            loop {
                match orders.try_recv() {
                    Ok(Order::Session(command)) => self.obey(command),
                    Ok(Order::TryOffCpu { answer }) => {
                        let tried = self.programs.load_switches();
                        // Who asked may have gone meanwhile.
                        let _ = answer.send(tried.map_err(|it| refused(Kind::OffCpu, &it)));
                    }
                    Ok(Order::Watch { events }) => {
                        self.watchers.push(events);
                        self.programs.watch_exec(true);
                    }
                    Ok(Order::End) => return,
                    Err(_) => break,
                }
            }
            if self.new_stacks >= COLLECT_AFTER || Instant::now() >= self.due {
                self.collect();
            }
        }
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
        let nanos = |it: Duration| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX);
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let target = Target {
            minimum: nanos(request.minimum),
            since: nanos(Duration::try_from(now).unwrap_or_default()),
        };
        let keys = keys(&request.targets, period_of(request));
        for (key, target) in self.wanted.set(session, &keys, target) {
            if let Err(error) = self.programs.set_target(key, target) {
                self.drop_targets(session);
                return Err(refused(request.kind, &error));
            }
        }
        Ok(())
    }

    fn drop_targets(&mut self, session: u64) {
        for (key, target) in self.wanted.set(session, &[], Target::default()) {
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
}

impl Serve for Worker {
    fn narrow(&self, targets: &Targets) -> Result<Targets, Refused> {
        permit::narrow(&self.settings.access, &self.settings.proc, targets)
    }

    fn start(&mut self, request: Request) -> Result<u64, Refused> {
        self.prepare(&request.targets);
        self.last_session += 1;
        let session = self.last_session;
        // What was counted before is others'.
        self.collect();
        let slower = self.budget.stretched(&request);
        self.set_targets(session, &slower)?;
        if let Err(error) = self.attach(&slower) {
            self.drop_targets(session);
            return Err(refused(request.kind, &error));
        }
        let now = (SystemTime::now(), Instant::now());
        self.due = self.due.min(now.1 + FIRST_COLLECT);
        let costs = self.costs();
        let limit = self.settings.memory_share(8);
        let mut running = Running::new(request, now, costs, limit);
        running.set_period(period_of(&slower));
        self.sessions.insert(session, running);
        Ok(session)
    }

    fn retarget(&mut self, session: u64, targets: Targets) -> Result<(), Refused> {
        self.prepare(&targets);
        let Some(running) = self.sessions.get(&session) else {
            return Ok(());
        };
        // At the rate of now, which may not be what was asked for.
        let period = Duration::from_nanos(running.period().into());
        let before = Request {
            period,
            ..running.request.clone()
        };
        let request = Request {
            targets: targets.clone(),
            ..before.clone()
        };
        if let Err(refused) = self.set_targets(session, &request) {
            // There was room for these.
            self.set_targets(session, &before)?;
            return Err(refused);
        }
        // What the former targets have counted is the session's.
        self.collect();
        if let Some(running) = self.sessions.get_mut(&session) {
            running.request.targets = targets;
        }
        Ok(())
    }

    fn take(&mut self, session: u64) -> Option<Profile> {
        self.collect();
        let (now, costs) = ((SystemTime::now(), Instant::now()), self.costs());
        let running = self.sessions.get_mut(&session)?;
        Some(running.take(now, costs))
    }

    fn stop(&mut self, session: u64) {
        // What it has counted is nobody else's.
        self.collect();
        if let Some(running) = self.sessions.remove(&session) {
            self.drop_targets(session);
            self.detach_unused(running.period());
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
