//! Names that were found, so that each is looked for once.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// What an entry costs beside its text: two addresses, the pointer, counts, and its share of a node.
const ENTRY: usize = 96;

/// Names by module and address; what was not asked for longest goes when it becomes too much.
#[derive(Debug)]
pub struct Names {
    modules: HashMap<u32, Functions>,
    most_bytes: usize,
    bytes: usize,
    clock: u64,
}

#[derive(Debug, Default)]
struct Functions {
    /// By first address: one past the last, and the name.
    by_start: BTreeMap<u64, (u64, Arc<str>)>,
    bytes: usize,
    used: u64,
}

impl Names {
    /// Keeps so many bytes, of a module all or nothing.
    pub fn new(most_bytes: usize) -> Self {
        Self {
            modules: HashMap::new(),
            most_bytes,
            bytes: 0,
            clock: 0,
        }
    }

    /// The name of what an address of a module is in.
    pub fn get(&mut self, module: u32, address: u64) -> Option<Arc<str>> {
        self.clock += 1;
        let functions = self.modules.get_mut(&module)?;
        functions.used = self.clock;
        let (_, (end, name)) = functions.by_start.range(..=address).next_back()?;
        (address < *end).then(|| Arc::clone(name))
    }

    /// Remembers a name.
    pub fn insert(&mut self, module: u32, range: Range<u64>, name: Arc<str>) {
        self.clock += 1;
        let functions = self.modules.entry(module).or_default();
        functions.used = self.clock;
        let added = ENTRY + name.len();
        let old = functions.by_start.insert(range.start, (range.end, name));
        let removed = old.map_or(0, |(_, name)| ENTRY + name.len());
        functions.bytes = functions.bytes + added - removed;
        self.bytes = self.bytes + added - removed;
    }

    /// Makes room, after names were inserted and read.
    pub fn evict(&mut self) {
        while self.bytes > self.most_bytes {
            let oldest = self.modules.iter().min_by_key(|(_, it)| it.used);
            let Some(module) = oldest.map(|(module, _)| *module) else {
                return;
            };
            let gone = self.modules.remove(&module);
            self.bytes -= gone.map_or(0, |it| it.bytes);
        }
    }

    /// Bytes in use, as counted here.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_by_every_address_of_its_function() {
        let mut names = Names::new(1 << 20);
        names.insert(1, 0x10..0x20, Arc::from("a"));
        names.insert(1, 0x20..0x30, Arc::from("b"));
        names.insert(2, 0x10..0x20, Arc::from("other"));
        assert_eq!(names.get(1, 0x0f), None);
        assert_eq!(names.get(1, 0x10).as_deref(), Some("a"));
        assert_eq!(names.get(1, 0x1f).as_deref(), Some("a"));
        assert_eq!(names.get(1, 0x20).as_deref(), Some("b"));
        assert_eq!(names.get(1, 0x30), None);
        assert_eq!(names.get(2, 0x15).as_deref(), Some("other"));
        assert_eq!(names.get(3, 0x15), None);
    }

    #[test]
    fn the_module_that_was_not_asked_for_longest_goes_first() {
        let mut names = Names::new(4 * (ENTRY + 1));
        for module in 1..=4 {
            names.insert(module, 0..1, Arc::from("x"));
        }
        names.evict();
        assert!(names.get(1, 0).is_some(), "nothing had to go");
        names.insert(5, 0..1, Arc::from("x"));
        names.evict();
        assert_eq!(names.get(2, 0), None);
        for module in [1, 3, 4, 5] {
            assert!(names.get(module, 0).is_some(), "{module}");
        }
        assert_eq!(names.bytes(), 4 * (ENTRY + 1));
    }

    #[test]
    fn a_name_inserted_again_counts_once() {
        let mut names = Names::new(1 << 20);
        names.insert(1, 0..1, Arc::from("long name"));
        names.insert(1, 0..1, Arc::from("x"));
        assert_eq!(names.bytes(), ENTRY + 1);
    }
}
