//! What stands in the programs' maps: events, targets, processes, counts, tables.

use std::os::fd::AsFd;
use std::time::Duration;

use aya::Pod;
use aya::maps::{Array, HashMap, IterableMap, MapData, MapError};

use super::Programs;
use crate::bpf::layout::{
    Count, CountKey, Counters, Event, MAX_ARENAS, Process, Settings, Target, TargetKey,
};
use crate::bpf::refusal::{KernelError, failed};
use crate::bpf::shared::Shared;
use crate::unwind::arena::ARENA_WORDS;
use crate::unwind::{Mapping, Rule};

/// `BPF_F_MMAPABLE`
const MMAPABLE: u32 = 1 << 10;

/// Events that are kept aside, of 16 KiB each at the most.
const MOST_ASIDE: usize = 256;

fn set<K: Pod, V: Pod>(
    map: &mut HashMap<MapData, K, V>,
    key: K,
    value: Option<V>,
) -> Result<(), MapError> {
    match value {
        Some(value) => map.insert(key, value, 0),
        None => {
            // It may be gone already: programs remove some themselves.
            let _ = map.remove(&key);
            Ok(())
        }
    }
}

impl Programs {
    /// Reads the next event, if there is one.
    pub fn next_event(&mut self) -> Option<Event> {
        self.aside.pop_front().or_else(|| self.newest_event())
    }

    /// Makes room for more events where reading those that are there has to wait.
    pub fn set_events_aside(&mut self) {
        while self.aside.len() < MOST_ASIDE {
            let Some(event) = self.newest_event() else {
                return;
            };
            self.aside.push_back(event);
        }
    }

    fn newest_event(&mut self) -> Option<Event> {
        while let Some(bytes) = self.events.next() {
            if let Some(event) = Event::parse(&bytes) {
                return Some(event);
            }
        }
        None
    }

    /// Adds or removes what is sampled.
    ///
    /// # Errors
    /// There are as many targets as the map holds.
    pub fn set_target(
        &mut self,
        key: TargetKey,
        target: Option<Target>,
    ) -> Result<(), KernelError> {
        if key.pid == 0 {
            match target {
                Some(_) => self.everybody.insert(key.period),
                None => self.everybody.remove(&key.period),
            };
            let every = u32::from(!self.everybody.is_empty());
            self.change_settings(|it| it.every = every);
        }
        set(&mut self.targets, key, target).map_err(failed("target"))
    }

    /// Tells where a process's mappings stand, or that they are not known any more.
    ///
    /// # Errors
    /// There are as many processes as the map holds.
    pub fn set_process(&mut self, pid: u32, process: Option<Process>) -> Result<(), KernelError> {
        set(&mut self.processes, pid, process).map_err(failed("process"))
    }

    /// Forgets which threads wait.
    pub(super) fn forget_waits(&mut self) {
        let waiting: Vec<u32> = self.waits.keys().filter_map(Result::ok).collect();
        for tid in waiting {
            // It may have come back meanwhile.
            let _ = self.waits.remove(&tid);
        }
    }

    /// Has the programs send a stack again.
    pub fn forget(&mut self, id: u64) {
        // The kernel forgets by itself when the map is full.
        let _ = self.known.remove(&id);
    }

    /// Whether starts of programs are told, beside ends.
    pub fn watch_exec(&mut self, watch: bool) {
        self.change_settings(|it| it.watch_exec = u32::from(watch));
    }

    fn change_settings(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = self.settings.get(0).unwrap_or_default();
        change(&mut settings);
        self.settings.set(0, settings);
    }

    /// Begins a new collection and yields the samples of those before. All events that explain them have
    /// been sent by then: read these first.
    pub fn turn_epoch(&mut self) -> u32 {
        let mut epoch = 0;
        self.change_settings(|it| {
            it.epoch = it.epoch.wrapping_add(1);
            epoch = it.epoch;
        });
        // A program that has read the former number is done by then: it runs with interrupts off.
        std::thread::sleep(Duration::from_millis(1));
        epoch
    }

    /// Takes the samples of all collections but `epoch` out of the map.
    pub fn collect(&mut self, epoch: u32) -> Vec<(CountKey, Count)> {
        let all: Vec<_> = self.counts.iter().filter_map(Result::ok).collect();
        let old: Vec<_> = all
            .into_iter()
            .filter(|(key, _)| key.epoch != epoch)
            .collect();
        for (key, _) in &old {
            // Nobody else removes them.
            let _ = self.counts.remove(key);
        }
        old
    }

    /// What happened so far, all CPUs together.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        let Ok(per_cpu) = self.counters.get(&0, 0) else {
            return sum;
        };
        for one in per_cpu.iter() {
            sum.samples += one.samples;
            sum.ring_full += one.ring_full;
            sum.counts_full += one.counts_full;
            sum.waits_full += one.waits_full;
            sum.copies += one.copies;
            sum.unreadable += one.unreadable;
            sum.no_rule += one.no_rule;
            sum.lost += one.lost;
            sum.inserted += one.inserted;
            sum.too_many += one.too_many;
            sum.untold += one.untold;
        }
        sum
    }

    /// Writes a rule.
    pub fn set_rule(&mut self, number: u16, rule: Rule) {
        self.rules.set(usize::from(number), rule);
    }

    /// Writes a mapping.
    pub fn set_mapping(&mut self, index: u32, mapping: Mapping) {
        self.mappings.set(index as usize, mapping);
    }

    /// How many arenas there are.
    #[must_use]
    pub fn arenas(&self) -> u32 {
        u32::try_from(self.arena_memory.len()).unwrap_or(u32::MAX)
    }

    /// Adds an arena.
    ///
    /// # Errors
    /// There are [`MAX_ARENAS`], or the kernel has no memory.
    pub fn add_arena(&mut self) -> Result<(), KernelError> {
        let number = self.arenas();
        if number >= MAX_ARENAS {
            return Err(failed("arena")(format!("there are {MAX_ARENAS}")));
        }
        let array = Array::create(ARENA_WORDS / 2, MMAPABLE).map_err(failed("arena"))?;
        let memory =
            Shared::map(array.map().fd().as_fd(), ARENA_WORDS / 2).map_err(failed("arena"))?;
        self.arenas
            .set(number, &array, 0)
            .map_err(failed("arena"))?;
        self.arena_memory.push((array, memory));
        Ok(())
    }

    /// Writes a word of an arena.
    pub fn set_word(&mut self, arena: u32, word: u32, value: u32) {
        if let Some((_, memory)) = self.arena_memory.get_mut(arena as usize) {
            let index = (word / 2) as usize;
            let mut pair = memory.get(index).unwrap_or_default();
            pair.0[(word % 2) as usize] = value;
            memory.set(index, pair);
        }
    }

    /// Reads a word of an arena.
    #[must_use]
    pub fn word(&self, arena: u32, word: u32) -> u32 {
        let memory = self.arena_memory.get(arena as usize);
        let pair = memory.and_then(|(_, memory)| memory.get((word / 2) as usize));
        pair.map_or(0, |it| it.0[(word % 2) as usize])
    }
}
