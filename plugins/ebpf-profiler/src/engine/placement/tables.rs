//! Unwind tables of modules, in arenas.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tracing::debug;

use super::{length, say_full};
use crate::bpf::file::MappedFile;
use crate::engine::maps::Maps;
use crate::process::modules::Module;
use crate::unwind::arena::{ARENA_WORDS, Arenas, Place};
use crate::unwind::rules::MOST_OF_A_FILE;
use crate::unwind::table::FileTables;
use crate::unwind::{Rule, Rules, Table};

/// Modules that are remembered, with tables or without.
const MOST_MODULES: usize = 4096;

/// A table of a module, in an arena.
pub(super) struct Part {
    /// Where it begins, in the file's own addresses.
    pub(super) first: u64,
    pub(super) pages: u32,
    pub(super) place: Place,
}

/// The tables of a module.
struct Placed {
    parts: Vec<Part>,
    rules: Box<[u16]>,
    users: u32,
    used: Instant,
}

/// The tables that stand in the maps, or may make room for others.
pub(super) struct ModuleTables {
    rules: Rules,
    /// Of [`Rule::stack`] with 16: CPython's trampolines are `sub rsp, 8; call; add rsp, 8; ret`, without frame
    /// pointers or tables.
    pub(super) trampoline: u16,
    arenas: Arenas,
    modules: HashMap<u32, Placed>,
    full: bool,
}

impl ModuleTables {
    /// Of `budget` bytes at the most.
    pub(super) fn new(budget: u64) -> Self {
        let mut rules = Rules::default();
        Self {
            trampoline: rules.take(Rule::stack(16)),
            rules,
            arenas: Arenas::new(budget),
            modules: HashMap::new(),
            full: false,
        }
    }

    /// Rules that found no room.
    pub(super) fn rules_lost(&self) -> u64 {
        self.rules.overflowed()
    }

    /// By number.
    pub(super) fn rules(&self) -> &[Rule] {
        self.rules.all()
    }

    /// Where a module's tables are, ascending.
    pub(super) fn parts(&self, module: u32) -> &[Part] {
        self.modules.get(&module).map_or(&[], |it| &it.parts)
    }

    /// Makes and writes a module's tables unless they are there; they stay until as many
    /// [`ModuleTables::end_use`]. Their rules are still to be written.
    pub(super) fn begin_use(&mut self, maps: &mut impl Maps, module: &Arc<Module>, now: Instant) {
        if !self.modules.contains_key(&module.id) {
            while self.modules.len() >= MOST_MODULES && self.evict_oldest() {}
            let placed = self.place(maps, module, now);
            self.modules.insert(module.id, placed);
        }
        if let Some(placed) = self.modules.get_mut(&module.id) {
            placed.users += 1;
            placed.used = now;
        }
    }

    /// One user less.
    pub(super) fn end_use(&mut self, modules: &[u32]) {
        for module in modules {
            if let Some(placed) = self.modules.get_mut(module) {
                placed.users = placed.users.saturating_sub(1);
            }
        }
    }

    fn place(&mut self, maps: &mut impl Maps, module: &Module, now: Instant) -> Placed {
        let mut read = self.read(maps, module);
        if self.rules.room() == 0 {
            self.rules.give_back(&read.rules);
            while self.rules.room() < MOST_OF_A_FILE && self.evict_oldest() {}
            read = self.read(maps, module);
        }
        let FileTables { tables, rules } = read;
        let mut parts = Vec::with_capacity(tables.len());
        for table in tables {
            let Some(place) = self.room_for(maps, length(&table.words)) else {
                say_full(&mut self.full, "unwind tables");
                break;
            };
            maps.write(place.arena, place.word, &table.words);
            parts.push(Part {
                first: table.first,
                pages: table.pages,
                place,
            });
        }
        Placed {
            parts,
            rules,
            users: 0,
            used: now,
        }
    }

    fn read(&mut self, maps: &mut impl Maps, module: &Module) -> FileTables {
        let bytes = module.file().and_then(|file| MappedFile::open(&file).ok());
        let tables = bytes.map(|bytes| {
            let most_words = ARENA_WORDS as usize;
            Table::read(&bytes, most_words, &mut self.rules, || maps.meanwhile())
        });
        match tables {
            Some(Ok(tables)) => tables,
            Some(Err(error)) => {
                debug!(path = %module.path, %error, "capture: no unwind tables");
                FileTables::default()
            }
            None => FileTables::default(),
        }
    }

    /// A place for a table; the tables that were not used for longest make room.
    fn room_for(&mut self, maps: &mut impl Maps, words: u32) -> Option<Place> {
        loop {
            if let Some(place) = self.arenas.allocate(words) {
                while (maps.arenas() as usize) < self.arenas.len() {
                    if let Err(error) = maps.add_arena() {
                        debug!(%error, "capture: no room for unwind tables");
                        self.arenas.free(place);
                        return None;
                    }
                }
                return Some(place);
            }
            if !self.evict_oldest() {
                return None;
            }
        }
    }

    /// Lets go of the tables that nobody has used for longest, if there are any. A walk that is under way in them
    /// may err.
    fn evict_oldest(&mut self) -> bool {
        let unused = self.modules.iter().filter(|(_, it)| it.users == 0);
        let oldest = unused.min_by_key(|(_, it)| it.used).map(|(&id, _)| id);
        let Some(oldest) = oldest.and_then(|id| self.modules.remove(&id)) else {
            return false;
        };
        for part in oldest.parts {
            self.arenas.free(part.place);
        }
        self.rules.give_back(&oldest.rules);
        true
    }

    /// Writes the rules that are new.
    pub(super) fn write_rules(&mut self, maps: &mut impl Maps) {
        for number in self.rules.changed() {
            maps.set_rule(number, self.rules.all()[usize::from(number)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::proc::Proc;
    use crate::process::table::{Limits, Processes};
    use crate::unwind::arena::PlainWords;

    /// The files that we run ourselves, each once, with tables or without.
    fn own_modules() -> Vec<Arc<Module>> {
        let own = std::process::id();
        let mut processes = Processes::new(Proc::default(), Limits::default());
        processes.refresh(own, Instant::now());
        let mut modules: Vec<_> = processes
            .mappings(own)
            .iter()
            .filter_map(|it| it.module.clone())
            .collect();
        modules.dedup_by_key(|module| module.id);
        modules
    }

    #[test]
    fn tables_in_use_make_no_room_for_others() {
        let mut maps = PlainWords::default();
        let mut tables = ModuleTables::new(u64::from(ARENA_WORDS) * 4);
        let [first, second, third] = &own_modules()[..3] else {
            panic!("a program, its loader and a library");
        };
        let now = Instant::now();
        tables.begin_use(&mut maps, first, now);
        assert!(!tables.parts(first.id).is_empty());
        let free = tables.rules.room();
        // Leaves no room at all.
        while tables.arenas.allocate(1).is_some() {}
        tables.begin_use(&mut maps, second, now);
        assert!(tables.parts(second.id).is_empty());
        assert!(!tables.parts(first.id).is_empty());
        tables.end_use(&[first.id]);
        tables.begin_use(&mut maps, third, now);
        assert!(tables.parts(first.id).is_empty());
        assert!(tables.rules.room() > free - MOST_OF_A_FILE);
    }
}
