//! A running session: what it has counted since it was last asked.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use super::targets::period_of;
use super::{Request, Targets};
use crate::bpf::layout::{Count, CountKey, PREEMPTED};
use crate::profile::{Frame, Module, Process, Profile, Stack, Summary};

/// Different stacks that a session keeps until it is asked; more are counted as lost.
const MOST_STACKS: usize = 1 << 16;

/// A stack with names, as many sessions may share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    /// Innermost first.
    pub(super) frames: Vec<(Frame, Option<Module>)>,
    /// Whether it goes down to the thread's start.
    pub(super) complete: bool,
}

/// What it cost us and what was lost, since the beginning of all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Costs {
    pub(super) own_cpu: Duration,
    pub(super) kernel_cpu: Option<Duration>,
}

/// Things that occur in stacks, each once, by number.
struct Interned<T> {
    numbers: HashMap<T, u32>,
    things: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), things: Vec::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Interned<T> {
    fn number(&mut self, thing: T) -> u32 {
        if let Some(number) = self.numbers.get(&thing) {
            return *number;
        }
        // More would not fit into memory either.
        let number = u32::try_from(self.things.len()).unwrap_or(u32::MAX);
        self.things.push(thing.clone());
        self.numbers.insert(thing, number);
        number
    }

    fn take(&mut self) -> Vec<T> {
        self.numbers.clear();
        std::mem::take(&mut self.things)
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Identity {
    process: u32,
    kernel: Vec<u32>,
    user: Vec<u32>,
    preempted: bool,
    complete: bool,
}

/// A session, and what it has counted.
pub(super) struct Running {
    pub(super) request: Request,
    /// As the kernel has it now.
    pub(super) period: u32,
    since: (SystemTime, Instant),
    costs: Costs,
    processes: Interned<Process>,
    modules: Interned<Module>,
    frames: Interned<Frame>,
    stacks: HashMap<Identity, Count>,
    lost: u64,
}

impl Running {
    pub(super) fn new(request: Request, now: (SystemTime, Instant), costs: Costs) -> Self {
        Self {
            period: period_of(&request),
            request,
            since: now,
            costs,
            processes: Interned::default(),
            modules: Interned::default(),
            frames: Interned::default(),
            stacks: HashMap::new(),
            lost: 0,
        }
    }

    /// Whether samples of this process are for it.
    pub(super) fn wants(&self, key: &CountKey) -> bool {
        key.period == self.period
            && match &self.request.targets {
                Targets::All => true,
                Targets::Processes(pids) => pids.contains(&key.pid),
            }
    }

    /// Counts samples of a stack.
    pub(super) fn add(&mut self, key: &CountKey, count: Count, process: &Process, kernel: &Named, user: &Named) {
        let identity = Identity {
            process: self.processes.number(process.clone()),
            kernel: self.numbers(kernel),
            user: self.numbers(user),
            preempted: key.flags & PREEMPTED != 0,
            complete: kernel.complete && user.complete,
        };
        if let Some(known) = self.stacks.get_mut(&identity) {
            known.count += count.count;
            known.nanos += count.nanos;
        } else if self.stacks.len() < MOST_STACKS {
            self.stacks.insert(identity, count);
        } else {
            self.lost += count.count;
        }
    }

    fn numbers(&mut self, stack: &Named) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(stack.frames.len());
        for (frame, module) in &stack.frames {
            let module = module.as_ref().map(|it| self.modules.number(it.clone()));
            numbers.push(self.frames.number(Frame { module, ..frame.clone() }));
        }
        numbers
    }

    /// Counts samples that were taken and could not be kept.
    pub(super) fn lose(&mut self, samples: u64) {
        self.lost += samples;
    }

    /// What has come since the last call.
    pub(super) fn take(&mut self, now: (SystemTime, Instant), costs: Costs) -> Profile {
        let (started, since) = std::mem::replace(&mut self.since, now);
        let before = std::mem::replace(&mut self.costs, costs);
        let mut summary = Summary {
            lost: std::mem::take(&mut self.lost),
            own_cpu: costs.own_cpu.saturating_sub(before.own_cpu),
            kernel_cpu: costs.kernel_cpu.map(|it| it.saturating_sub(before.kernel_cpu.unwrap_or_default())),
            ..Summary::default()
        };
        let mut stacks = Vec::with_capacity(self.stacks.len());
        for (identity, Count { count, nanos }) in self.stacks.drain() {
            let Identity { process, kernel, user, preempted, complete } = identity;
            summary.samples += count;
            summary.incomplete += if complete { 0 } else { count };
            stacks.push(Stack { process, kernel, user, count, nanos, preempted, complete });
        }
        Profile {
            kind: self.request.kind,
            period: Duration::from_nanos(u64::from(self.period)),
            started,
            duration: now.1.saturating_duration_since(since),
            processes: self.processes.take(),
            modules: self.modules.take(),
            frames: self.frames.take(),
            stacks,
            summary,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::profile::Kind;

    fn named(names: &[&str], complete: bool) -> Named {
        let frame = |name: &&str| Frame { name: Arc::from(*name), kernel: false, module: None, address: 1 };
        Named { frames: names.iter().map(|it| (frame(it), None)).collect(), complete }
    }

    fn running(targets: Targets) -> Running {
        let second = Duration::from_secs(1);
        let request =
            Request { kind: Kind::OnCpu, targets, period: second, minimum: second, elastic: false };
        Running::new(request, (SystemTime::now(), Instant::now()), Costs::default())
    }

    #[test]
    fn one_stack_under_two_numbers_is_one_stack() {
        let mut session = running(Targets::All);
        let process = Process { pid: 7, name: "shop".into() };
        let count = Count { count: 2, nanos: 20 };
        for user in [1, 2] {
            let key = CountKey { pid: 7, period: 1_000_000_000, user, ..CountKey::default() };
            assert!(session.wants(&key));
            session.add(&key, count, &process, &named(&[], true), &named(&["spin", "main"], true));
        }
        let key = CountKey { pid: 7, period: 1_000_000_000, user: 3, ..CountKey::default() };
        session.add(&key, count, &process, &named(&[], true), &named(&["spin"], false));
        let profile = session.take((SystemTime::now(), Instant::now()), Costs::default());
        let mut counts: Vec<_> = profile.stacks.iter().map(|it| (it.user.len(), it.count, it.nanos)).collect();
        counts.sort_unstable();
        assert_eq!(counts, [(1, 2, 20), (2, 4, 40)]);
        assert_eq!(profile.frames.len(), 2);
        assert_eq!((profile.summary.samples, profile.summary.incomplete), (6, 2));
        let empty = session.take((SystemTime::now(), Instant::now()), Costs::default());
        assert!(empty.stacks.is_empty() && empty.frames.is_empty() && empty.processes.is_empty());
    }

    #[test]
    fn a_session_wants_its_own_processes_at_its_own_period() {
        let session = running(Targets::Processes([7].into()));
        let wants = |pid, period| session.wants(&CountKey { pid, period, ..CountKey::default() });
        assert!(wants(7, 1_000_000_000));
        assert!(!wants(8, 1_000_000_000));
        assert!(!wants(7, 1));
    }
}
