//! What we remember of each process, also after its end.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::maps::{self, Region};
use super::modules::{Module, Modules};
use super::perf_map::PerfMap;
use super::proc::{Identity, Owner, Proc};
use crate::profile;

/// Ranges that a process once had (before `exec`, `dlclose`) and that samples may still be of.
const MOST_PAST: usize = 256;

/// How much is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files kept open.
    pub modules: usize,
    /// Processes that have ended.
    pub exited: usize,
    /// How long a process is remembered after its end, and a range after it was unmapped.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            modules: 512,
            exited: 1024,
            age: Duration::from_secs(60),
        }
    }
}

/// A process as of the last look.
#[derive(Debug)]
pub struct Process {
    /// Its name and start.
    pub identity: Identity,
    mappings: Arc<[Mapped]>,
    past: Vec<Mapped>,
    past_since: Option<Instant>,
    generated: Generated,
    /// What is known is the parent's.
    inherited: bool,
    ended: Option<Instant>,
}

/// What names a process's generated code.
#[derive(Debug, Default)]
struct Generated {
    owner: Option<Owner>,
    map: Option<PerfMap>,
}

/// An executable range of a process, and what is mapped there.
#[derive(Clone, Debug)]
pub struct Mapped {
    /// The range.
    pub region: Region,
    /// The ELF file, if it is one that we can read.
    pub module: Option<Arc<Module>>,
    /// What is to be added to the file's own addresses to get the process's.
    pub bias: u64,
}

/// What a look at a process found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It does not exist any more; what we remember of it stays.
    Gone,
    /// It exists and we may not look into it.
    Denied,
    /// Its code lies where it did.
    Same,
    /// It is new, or its code lies elsewhere.
    Changed,
}

/// What we remember of all processes.
#[derive(Debug)]
pub struct Processes {
    proc: Proc,
    limits: Limits,
    modules: Modules,
    processes: HashMap<u32, Process>,
    /// In the order of their ends, some of them forgotten since.
    ended: VecDeque<(Instant, u32)>,
}

impl Processes {
    /// Knows none yet.
    pub fn new(proc: Proc, limits: Limits) -> Self {
        Self {
            proc,
            limits,
            modules: Modules::new(limits.modules),
            processes: HashMap::new(),
            ended: VecDeque::new(),
        }
    }

    /// Looks at a process: name, start, mappings. Costs some 50 us, more for a process with hundreds of
    /// mappings: for `exec`, for a first sample, and for an address that nothing is mapped at.
    pub fn refresh(&mut self, pid: u32, now: Instant) -> Seen {
        let identity = self.proc.identity(pid);
        let read = identity.and_then(|it| Ok((it, maps::read(&self.proc, pid)?)));
        let (identity, regions) = match read {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Seen::Denied,
            Err(_) => return Seen::Gone,
        };
        let old = self.processes.get_mut(&pid);
        let old = old.filter(|it| it.inherited || it.identity.started == identity.started);
        // One that ends shows no mappings before it goes.
        if regions.is_empty() && old.as_ref().is_some_and(|it| !it.mappings.is_empty()) {
            return Seen::Gone;
        }
        let before = old
            .as_ref()
            .map(|it| Arc::clone(&it.mappings))
            .unwrap_or_default();
        let mappings = place(&mut self.modules, &self.proc, pid, regions, &before);
        let seen = match old {
            Some(old) => old.look(identity, mappings, now),
            None => {
                self.processes.insert(pid, Process::new(identity, mappings));
                Seen::Changed
            }
        };
        if seen == Seen::Changed {
            self.prepare_perf_map(pid);
        }
        seen
    }

    /// A child has what its parent has, until a look at it shows more. Free of system calls.
    pub fn forked(&mut self, parent: u32, child: u32) {
        let Some(parent) = self.processes.get(&parent) else {
            return;
        };
        let mut process = Process::new(parent.identity.clone(), Arc::clone(&parent.mappings));
        process.inherited = true;
        self.processes.insert(child, process);
    }

    /// A process became another program of this name. What it was goes on under another number, as one that has
    /// ended; `false` if that is not known.
    pub fn became(&mut self, pid: u32, former: u32, name: String, now: Instant) -> bool {
        let Some(old) = self.processes.remove(&pid) else {
            return false;
        };
        let started = old.identity.started;
        let mut process = Process::new(Identity { name, started }, Arc::default());
        // A forked process has its parent's start still.
        process.inherited = true;
        self.processes.insert(pid, process);
        self.processes.insert(former, old);
        self.exited(former, now);
        true
    }

    /// A process has ended. What is known of it is kept until its time is over.
    pub fn exited(&mut self, pid: u32, now: Instant) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        if process.ended.is_some() {
            return;
        }
        process.ended = Some(now);
        self.ended.push_back((now, pid));
        while self.ended.len() > self.limits.exited {
            self.drop_oldest();
        }
    }

    /// Drops what is too old, and notices processes whose end nobody told: those are the answer.
    pub fn sweep(&mut self, now: Instant) -> Vec<u32> {
        let alive = self.processes.iter().filter(|(_, it)| it.ended.is_none());
        let gone = alive.filter(|(pid, _)| !self.proc.contains(**pid));
        let gone: Vec<u32> = gone.map(|(pid, _)| *pid).collect();
        for pid in &gone {
            self.exited(*pid, now);
        }
        let age = self.limits.age;
        let old = |since: Instant| now.saturating_duration_since(since) >= age;
        while self.ended.front().is_some_and(|(since, _)| old(*since)) {
            self.drop_oldest();
        }
        for process in self.processes.values_mut() {
            if process.past_since.is_some_and(old) {
                process.past = Vec::new();
                process.past_since = None;
            }
        }
        gone
    }

    /// Whether a process is there, known or not.
    pub fn exists(&self, pid: u32) -> bool {
        self.proc.contains(pid)
    }

    /// A process that is remembered.
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// A process as profiles show it; by its number if it is unknown.
    pub fn described(&self, pid: u32) -> profile::Process {
        let name = self.get(pid).map(|it| it.identity.name.clone());
        profile::Process {
            pid,
            name: name.unwrap_or_else(|| pid.to_string()),
        }
    }

    /// The executable ranges of a process as of the last look, ascending; empty if it is unknown.
    pub fn mappings(&self, pid: u32) -> &[Mapped] {
        self.get(pid).map_or(&[], |process| &process.mappings)
    }

    /// What an address of a process lies in, now or lately.
    pub fn find(&self, pid: u32, address: u64) -> Option<&Mapped> {
        let process = self.get(pid)?;
        let within = |it: &&Mapped| (it.region.start..it.region.end).contains(&address);
        let after = process
            .mappings
            .partition_point(|it| it.region.start <= address);
        let now = process.mappings[..after].last().filter(within);
        now.or_else(|| process.past.iter().rev().find(within))
    }

    /// Reads what a process has newly said of its generated code. Costs a system call if there is nothing
    /// new; call it before [`Processes::generated`], once for many addresses.
    pub fn update_perf_map(&mut self, pid: u32) {
        self.prepare_perf_map(pid);
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        let generated = &mut process.generated;
        let map = generated.map.take();
        generated.map = map.and_then(|mut map| map.update().is_ok().then_some(map));
    }

    /// The name of generated code.
    pub fn generated(&mut self, pid: u32, address: u64) -> Option<Arc<str>> {
        let process = self.processes.get_mut(&pid)?;
        process.generated.map.as_mut()?.name(address)
    }

    /// Whether a range holds CPython's trampolines, which want an unwind rule of their own. As of the last
    /// [`Processes::update_perf_map`].
    pub fn has_python_trampolines(&self, pid: u32, region: &Region) -> bool {
        let map = self
            .get(pid)
            .and_then(|process| process.generated.map.as_ref());
        map.is_some_and(|map| map.has_python_trampolines(region.start..region.end))
    }

    /// How many files are open.
    pub fn open_modules(&self) -> usize {
        self.modules.len()
    }

    /// Opens the perf map of a process with generated code as soon as there is one: after the process's
    /// end its root directory cannot be had, only the host's, where most of them are.
    fn prepare_perf_map(&mut self, pid: u32) {
        let Some(process) = self.processes.get_mut(&pid) else {
            return;
        };
        let alive = process.ended.is_none();
        let generates = process.mappings.iter().any(Mapped::is_generated);
        let Generated { owner, map } = &mut process.generated;
        let stale = alive && map.as_ref().is_some_and(PerfMap::is_deleted);
        if !generates || map.is_some() && !stale {
            return;
        }
        *owner = self.proc.owner(pid).ok().or(*owner);
        let Some(owner) = *owner else { return };
        let inside = PerfMap::open(&self.proc.path(pid, "root"), owner);
        let on_host = || PerfMap::open(&self.proc.path(1, "root"), owner);
        let found = match inside {
            Err(_) if !alive && owner.pid == pid => on_host(),
            inside => inside,
        };
        *map = found.ok();
    }

    fn drop_oldest(&mut self) {
        let Some((since, pid)) = self.ended.pop_front() else {
            return;
        };
        // It may be another process of that PID by now.
        let ended = self.get(pid).and_then(|process| process.ended);
        if ended.is_some_and(|ended| ended <= since) {
            self.processes.remove(&pid);
        }
    }
}

impl Mapped {
    /// Whether the code was made at run time: no file names it.
    pub fn is_generated(&self) -> bool {
        self.module.is_none() && !self.region.path.starts_with("[v")
    }
}

impl Process {
    fn new(identity: Identity, mappings: Arc<[Mapped]>) -> Self {
        Self {
            identity,
            mappings,
            past: Vec::new(),
            past_since: None,
            generated: Generated::default(),
            inherited: false,
            ended: None,
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    fn look(&mut self, identity: Identity, mappings: Arc<[Mapped]>, now: Instant) -> Seen {
        self.identity = identity;
        self.inherited = false;
        self.ended = None;
        if same(&self.mappings, &mappings) {
            return Seen::Same;
        }
        self.replace(mappings, now);
        Seen::Changed
    }

    fn replace(&mut self, mappings: Arc<[Mapped]>, now: Instant) {
        let kept = |it: &&Mapped| !mappings.iter().any(|other| other.region == it.region);
        let gone: Vec<Mapped> = self.mappings.iter().filter(kept).cloned().collect();
        if !gone.is_empty() {
            self.past.extend(gone);
            self.past_since = Some(now);
            let surplus = self.past.len().saturating_sub(MOST_PAST);
            self.past.drain(..surplus);
        }
        self.mappings = mappings;
    }
}

/// Finds the files behind regions; those that were there before are not opened again.
fn place(
    modules: &mut Modules,
    proc: &Proc,
    pid: u32,
    regions: Vec<Region>,
    before: &[Mapped],
) -> Arc<[Mapped]> {
    let known = |region: &Region| {
        let at = before.partition_point(|it| it.region.start < region.start);
        let found = before.get(at).filter(|it| it.region == *region)?;
        let open = found.module.as_ref().is_none_or(|it| it.file().is_some());
        open.then(|| found.clone())
    };
    let placed = regions.into_iter().map(|region| {
        known(&region).unwrap_or_else(|| {
            let module = modules.of(proc, pid, &region);
            let bias = module.as_ref().and_then(|module| module.elf.bias(&region));
            Mapped {
                region,
                module: module.filter(|_| bias.is_some()),
                bias: bias.unwrap_or_default(),
            }
        })
    });
    placed.collect()
}

fn same(one: &[Mapped], other: &[Mapped]) -> bool {
    let module = |it: &Mapped| it.module.as_ref().map(|module| module.id);
    let equal = |(one, other): (&Mapped, &Mapped)| {
        one.region == other.region && module(one) == module(other)
    };
    one.len() == other.len() && one.iter().zip(other).all(equal)
}

#[cfg(test)]
mod tests;
