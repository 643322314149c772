//! A running session: what it has counted since it was last asked.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::targets::period_of;
use super::{Request, Targets};
use crate::bpf::layout::{Count, CountKey};
use crate::process;
use crate::profile::{Frame, Module, Process, Profile, Stack, Summary};

/// Bytes that a frame, a process or a stack takes beside its frames, roughly.
const OVERHEAD: usize = 160;

/// A stack with names.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// Innermost first.
    pub(super) frames: Vec<NamedFrame>,
    /// Whether it goes down to the thread's start.
    pub(super) complete: bool,
}

/// A place in code with its name.
#[derive(Clone, Debug)]
pub(super) struct NamedFrame {
    /// What tells it from others.
    pub(super) place: Place,
    pub(super) name: Arc<str>,
    /// The file, where it lies in one.
    pub(super) module: Option<Arc<process::modules::Module>>,
}

/// Where code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// In the kernel.
    Kernel(u64),
    /// In a file, by the file's number and its own addresses.
    Module(u32, u64),
    /// Nowhere but in a process.
    Process(u32, u64),
}

impl Place {
    fn address(self) -> u64 {
        match self {
            Self::Kernel(address) | Self::Module(_, address) | Self::Process(_, address) => address,
        }
    }
}

/// What it has cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Costs {
    pub(super) own_cpu: Duration,
    pub(super) kernel_cpu: Option<Duration>,
}

impl Costs {
    /// As of now; `kernel_cpu` is what the kernel has measured.
    pub(super) fn now(kernel_cpu: Option<Duration>) -> Self {
        let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Self {
            own_cpu: Duration::try_from(own).unwrap_or_default(),
            kernel_cpu,
        }
    }

    /// What has been used since then, by us and in the kernel.
    pub(super) fn since(&self, before: &Self) -> Duration {
        let kernel = self
            .kernel_cpu
            .unwrap_or_default()
            .saturating_sub(before.kernel_cpu.unwrap_or_default());
        self.own_cpu.saturating_sub(before.own_cpu) + kernel
    }
}

/// Things that occur in stacks, each once, by number.
struct Interned<K, T> {
    numbers: HashMap<K, u32>,
    things: Vec<T>,
}

impl<K, T> Default for Interned<K, T> {
    fn default() -> Self {
        Self {
            numbers: HashMap::new(),
            things: Vec::new(),
        }
    }
}

impl<K: Eq + Hash, T> Interned<K, T> {
    fn number(&mut self, key: K, thing: impl FnOnce() -> T) -> u32 {
        let things = &mut self.things;
        *self.numbers.entry(key).or_insert_with(|| {
            things.push(thing());
            // More would not fit into memory either.
            u32::try_from(things.len() - 1).unwrap_or(u32::MAX)
        })
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
    period: u32,
    /// As it had it before: samples of then may still come.
    former: u32,
    since: (SystemTime, Instant),
    costs: Costs,
    processes: Interned<(u32, String), Process>,
    modules: Interned<(u32, u64), Module>,
    frames: Interned<Place, Frame>,
    stacks: HashMap<Identity, Count>,
    /// What all that takes, roughly, and what it may take: more is counted as lost.
    bytes: usize,
    limit: usize,
    lost: u64,
}

impl Running {
    pub(super) fn new(
        request: Request,
        now: (SystemTime, Instant),
        costs: Costs,
        limit: usize,
    ) -> Self {
        Self {
            period: period_of(&request),
            former: period_of(&request),
            request,
            since: now,
            costs,
            processes: Interned::default(),
            modules: Interned::default(),
            frames: Interned::default(),
            stacks: HashMap::new(),
            bytes: 0,
            limit,
            lost: 0,
        }
    }

    /// Nanoseconds between samples, as the kernel has it; 0 for off-CPU.
    pub(super) fn period(&self) -> u32 {
        self.period
    }

    /// All samples of the former rate have come.
    pub(super) fn settle(&mut self) {
        self.former = self.period;
    }

    /// The kernel samples at another rate from now on.
    pub(super) fn set_period(&mut self, period: u32) {
        self.former = std::mem::replace(&mut self.period, period);
    }

    /// Whether samples of this process are for it.
    pub(super) fn wants(&self, key: &CountKey) -> bool {
        (key.period == self.period || key.period == self.former)
            && match &self.request.targets {
                Targets::All => true,
                Targets::Processes(pids) => pids.contains(&key.pid),
            }
    }

    /// Counts samples of a stack.
    pub(super) fn add(
        &mut self,
        key: &CountKey,
        count: Count,
        process: &Process,
        kernel: &Named,
        user: &Named,
    ) {
        if self.bytes >= self.limit {
            self.lost += count.count;
            return;
        }
        let known =
            self.frames.things.len() + self.modules.things.len() + self.processes.things.len();
        let identity = Identity {
            process: self
                .processes
                .number((process.pid, process.name.clone()), || process.clone()),
            kernel: self.numbers(kernel),
            user: self.numbers(user),
            preempted: key.is_preempted(),
            complete: kernel.complete && user.complete,
        };
        let now =
            self.frames.things.len() + self.modules.things.len() + self.processes.things.len();
        self.bytes += OVERHEAD * (now - known);
        let frames = identity.kernel.len() + identity.user.len();
        let stack = self.stacks.entry(identity).or_insert_with(|| {
            self.bytes += OVERHEAD + frames * size_of::<u32>();
            Count::default()
        });
        stack.count += count.count;
        stack.nanos += count.nanos;
    }

    fn numbers(&mut self, stack: &Named) -> Vec<u32> {
        let modules = &mut self.modules;
        let frames = &mut self.frames;
        let numbers = stack.frames.iter().map(|it| {
            frames.number(it.place, || Frame {
                name: Arc::clone(&it.name),
                kernel: matches!(it.place, Place::Kernel(_)),
                module: it.module.as_ref().map(|module| {
                    let described = module.describe(it.place.address());
                    modules.number((module.id, described.start), || described)
                }),
                address: it.place.address(),
            })
        });
        numbers.collect()
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
            kernel_cpu: costs
                .kernel_cpu
                .map(|it| it.saturating_sub(before.kernel_cpu.unwrap_or_default())),
            ..Summary::default()
        };
        self.bytes = 0;
        let mut stacks = Vec::with_capacity(self.stacks.len());
        for (identity, Count { count, nanos }) in self.stacks.drain() {
            let Identity {
                process,
                kernel,
                user,
                preempted,
                complete,
            } = identity;
            summary.samples += count;
            summary.incomplete += if complete { 0 } else { count };
            stacks.push(Stack {
                process,
                kernel,
                user,
                count,
                nanos,
                preempted,
                complete,
            });
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
    use super::*;
    use crate::profile::Kind;

    fn named(names: &[&str], complete: bool) -> Named {
        let frame = |name: &&str| NamedFrame {
            place: Place::Process(7, name.len() as u64),
            name: Arc::from(*name),
            module: None,
        };
        Named {
            frames: names.iter().map(frame).collect(),
            complete,
        }
    }

    fn running(targets: Targets) -> Running {
        let second = Duration::from_secs(1);
        let request = Request {
            kind: Kind::OnCpu,
            targets,
            period: second,
            minimum: second,
            elastic: false,
        };
        Running::new(
            request,
            (SystemTime::now(), Instant::now()),
            Costs::default(),
            1 << 20,
        )
    }

    #[test]
    fn one_stack_under_two_numbers_is_one_stack() {
        let mut session = running(Targets::All);
        let process = Process {
            pid: 7,
            name: "shop".into(),
        };
        let count = Count {
            count: 2,
            nanos: 20,
        };
        for user in [1, 2] {
            let key = CountKey {
                pid: 7,
                period: 1_000_000_000,
                user,
                ..CountKey::default()
            };
            assert!(session.wants(&key));
            session.add(
                &key,
                count,
                &process,
                &named(&[], true),
                &named(&["spin", "main()"], true),
            );
        }
        let key = CountKey {
            pid: 7,
            period: 1_000_000_000,
            user: 3,
            ..CountKey::default()
        };
        session.add(
            &key,
            count,
            &process,
            &named(&[], true),
            &named(&["spin"], false),
        );
        let profile = session.take((SystemTime::now(), Instant::now()), Costs::default());
        let mut counts: Vec<_> = profile
            .stacks
            .iter()
            .map(|it| (it.user.len(), it.count, it.nanos))
            .collect();
        counts.sort_unstable();
        assert_eq!(counts, [(1, 2, 20), (2, 4, 40)]);
        assert_eq!(profile.frames.len(), 2);
        assert_eq!(
            (profile.summary.samples, profile.summary.incomplete),
            (6, 2)
        );
        let empty = session.take((SystemTime::now(), Instant::now()), Costs::default());
        assert!(empty.stacks.is_empty() && empty.frames.is_empty() && empty.processes.is_empty());
    }

    #[test]
    fn a_session_wants_its_own_processes_at_its_own_period() {
        let session = running(Targets::Processes([7].into()));
        let wants = |pid, period| {
            session.wants(&CountKey {
                pid,
                period,
                ..CountKey::default()
            })
        };
        assert!(wants(7, 1_000_000_000));
        assert!(!wants(8, 1_000_000_000));
        assert!(!wants(7, 1));
    }
}
