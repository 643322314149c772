//! Tables and mappings in the maps of the kernel's maps.

mod tables;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use self::tables::ModuleTables;
use super::maps::Maps;
use super::ranges::Ranges;
use crate::bpf::layout::{End, MAX_MAPPINGS, Process};
use crate::process::table::{Mapped, Processes};
use crate::unwind::arena::{Place, Words};
use crate::unwind::walk::{self, Code, Registers, Stack, Tables};
use crate::unwind::{Mapping, PAGE, Walk};

/// A program that runs while a process's mappings are replaced may still read the former ones.
const READERS_ARE_GONE: Duration = Duration::from_secs(1);

/// What the programs know of a process, and of those that began as copies of it.
struct Told {
    first: u32,
    mappings: Vec<Mapping>,
    modules: Vec<u32>,
}

/// What stands in the maps, and where there is room.
pub(super) struct Placement {
    tables: ModuleTables,
    processes: HashMap<u32, Arc<Told>>,
    room: Ranges,
    /// Places of mappings that will be free, and since when they are not used any more.
    leaving: VecDeque<(Instant, u32, u32)>,
    full: bool,
}

impl Placement {
    /// With tables of `budget` bytes at the most.
    pub(super) fn new(budget: u64) -> Self {
        Self {
            tables: ModuleTables::new(budget),
            processes: HashMap::new(),
            room: Ranges::new(MAX_MAPPINGS),
            leaving: VecDeque::new(),
            full: false,
        }
    }

    /// Rules that found no room.
    pub(super) fn rules_lost(&self) -> u64 {
        self.tables.rules_lost()
    }

    /// Whether the programs know the process.
    pub(super) fn knows(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// Whether the programs know the process and the address.
    pub(super) fn covers(&self, pid: u32, address: u64) -> bool {
        let Some(told) = self.processes.get(&pid) else {
            return false;
        };
        let after = told.mappings.partition_point(|it| it.start <= address);
        after
            .checked_sub(1)
            .is_some_and(|at| address < told.mappings[at].end)
    }

    /// Tells the programs of a process as it was last seen.
    pub(super) fn tell_of(
        &mut self,
        maps: &mut impl Maps,
        processes: &mut Processes,
        pid: u32,
        now: Instant,
    ) {
        // Only what it says of generated code matters here, and looking for that is not free.
        if processes.mappings(pid).iter().any(Mapped::is_generated) {
            processes.update_perf_map(pid);
        }
        let trampolines = |it: &Mapped| processes.has_python_trampolines(pid, &it.region);
        self.set_process(maps, pid, processes.mappings(pid), trampolines, now);
    }

    /// Tells the programs of a process. `trampolines` says which ranges hold CPython's.
    fn set_process(
        &mut self,
        maps: &mut impl Maps,
        pid: u32,
        mapped: &[Mapped],
        trampolines: impl Fn(&Mapped) -> bool,
        now: Instant,
    ) {
        let mut mappings = Vec::with_capacity(mapped.len());
        let mut modules = Vec::new();
        for it in mapped {
            match &it.module {
                Some(module) => {
                    self.tables.begin_use(maps, module, now);
                    self.cover(it, module.id, &mut mappings);
                    modules.push(module.id);
                }
                None => mappings.push(self.generated(it, trampolines(it))),
            }
        }
        self.tables.write_rules(maps);
        self.replace(
            maps,
            pid,
            Told {
                first: 0,
                mappings,
                modules,
            },
            now,
        );
    }

    /// Has the programs pass over a process.
    pub(super) fn deny(&mut self, maps: &mut impl Maps, pid: u32, now: Instant) {
        self.remove_process(maps, pid, now);
        if let Err(error) = maps.set_process(pid, Some(Process::DENIED)) {
            debug!(pid, %error, "capture: no room for a process");
        }
    }

    /// A process began as a copy of another. The programs have copied what they knew of the parent, which may
    /// have changed since.
    pub(super) fn forked(&mut self, maps: &mut impl Maps, parent: u32, child: u32, now: Instant) {
        self.release(child, now);
        let told = self.processes.get(&parent).map(Arc::clone);
        let known = told.as_ref().map(|it| Process {
            first: it.first,
            count: length(&it.mappings),
            asked: 0,
        });
        if maps.set_process(child, known).is_ok()
            && let Some(told) = told
        {
            self.processes.insert(child, told);
        }
    }

    /// The process has ended or become another.
    pub(super) fn remove_process(&mut self, maps: &mut impl Maps, pid: u32, now: Instant) {
        // First of all: its places will be others'. Only an insertion can fail.
        let _ = maps.set_process(pid, None);
        self.release(pid, now);
    }

    fn release(&mut self, pid: u32, now: Instant) {
        let Some(told) = self.processes.remove(&pid).and_then(Arc::into_inner) else {
            return;
        };
        self.leaving
            .push_back((now, told.first, length(&told.mappings)));
        self.tables.end_use(&told.modules);
    }

    fn replace(&mut self, maps: &mut impl Maps, pid: u32, mut told: Told, now: Instant) {
        while let Some((_, first, count)) = self
            .leaving
            .pop_front_if(|(since, ..)| now.duration_since(*since) > READERS_ARE_GONE)
        {
            self.room.give(first, count);
        }
        let count = length(&told.mappings);
        let Some(first) = self.room.take(count) else {
            say_full(&mut self.full, "mappings");
            self.tables.end_use(&told.modules);
            self.remove_process(maps, pid, now);
            return;
        };
        told.first = first;
        for (at, mapping) in (first..).zip(&told.mappings) {
            maps.set_mapping(at, *mapping);
        }
        let known = maps.set_process(
            pid,
            Some(Process {
                first,
                count,
                asked: 0,
            }),
        );
        self.release(pid, now);
        self.processes.insert(pid, Arc::new(told));
        if known.is_err() {
            say_full(&mut self.full, "processes");
            self.remove_process(maps, pid, now);
        }
    }

    /// Mappings for a range that a module is mapped to: by its tables, and between them by frame pointers.
    fn cover(&self, mapped: &Mapped, module: u32, mappings: &mut Vec<Mapping>) {
        let (mut at, end) = (mapped.region.start, mapped.region.end);
        for part in self.tables.parts(module) {
            let base = part.first.wrapping_add(mapped.bias);
            let table_end = base.saturating_add(u64::from(part.pages) * PAGE);
            let (from, to) = (base.max(at), table_end.min(end));
            if from >= to {
                continue;
            }
            if from > at {
                mappings.push(Mapping {
                    start: at,
                    end: from,
                    ..Mapping::default()
                });
            }
            let Place { arena, word, .. } = part.place;
            let pages = part.pages;
            let walk = Walk::Table;
            mappings.push(Mapping {
                start: from,
                end: to,
                base,
                arena,
                word,
                pages,
                walk,
                ..Mapping::default()
            });
            at = to;
        }
        if at < end {
            mappings.push(Mapping {
                start: at,
                end,
                ..Mapping::default()
            });
        }
    }

    /// The mapping of generated code.
    fn generated(&self, mapped: &Mapped, trampolines: bool) -> Mapping {
        let mut mapping = Mapping {
            start: mapped.region.start,
            end: mapped.region.end,
            ..Mapping::default()
        };
        if trampolines {
            mapping.walk = Walk::Rule;
            mapping.word = self.tables.trampoline.into();
        }
        mapping
    }

    /// Walks a stack that was copied out.
    pub(super) fn walk(
        &self,
        words: &impl Words,
        pid: u32,
        registers: Registers,
        stack: &Stack<'_>,
        code: Option<&Code>,
    ) -> (Vec<u64>, End) {
        let told = self.processes.get(&pid);
        let mappings = told.map_or(&[][..], |it| &it.mappings[..]);
        let tables = Tables {
            mappings,
            words,
            rules: self.tables.rules(),
        };
        let mut frames = Vec::new();
        let end = match walk::walk(registers, stack, code, &tables, &mut frames) {
            walk::End::Complete => End::Bottom,
            walk::End::Truncated => End::Unreadable,
            walk::End::NoRule => End::Lost,
            walk::End::Unsupported => End::NoRule,
            walk::End::Deep => End::Depth,
        };
        (frames, end)
    }
}

/// Lengths here are bounded by the kernel's maps.
fn length<T>(of: &[T]) -> u32 {
    u32::try_from(of.len()).unwrap_or(u32::MAX)
}

/// Says once that something does not fit.
fn say_full(said: &mut bool, what: &str) {
    if !std::mem::replace(said, true) {
        warn!(
            what,
            "capture: the kernel's maps are full; some stacks will be incomplete"
        );
    }
}
