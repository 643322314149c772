//! Stacks that the programs have sent, by the number under which they count them.

use std::sync::Arc;

use lru::LruCache;

use crate::bpf::layout::End;

/// Addresses of a stack, innermost first, and how its walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) frames: Box<[u64]>,
    pub(super) end: End,
}

/// The stacks last used, bounded in bytes.
pub(super) struct Dictionary {
    stacks: LruCache<u64, Arc<Addresses>>,
    bytes: usize,
    limit: usize,
}

/// Beside its frames a stack takes this, roughly.
const OVERHEAD: usize = 128;

fn size(stack: &Addresses) -> usize {
    OVERHEAD + size_of_val(&*stack.frames)
}

impl Dictionary {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            stacks: LruCache::unbounded(),
            bytes: 0,
            limit,
        }
    }

    /// Adds a stack and yields the numbers of those that had to go: the programs must send them again.
    pub(super) fn insert(&mut self, id: u64, frames: Vec<u64>, end: End) -> Vec<u64> {
        let stack = Addresses {
            frames: frames.into_boxed_slice(),
            end,
        };
        self.bytes += size(&stack);
        if let Some(old) = self.stacks.put(id, Arc::new(stack)) {
            self.bytes -= size(&old);
        }
        let mut gone = Vec::new();
        while self.bytes > self.limit && self.stacks.len() > 1 {
            let Some((id, stack)) = self.stacks.pop_lru() else {
                break;
            };
            self.bytes -= size(&stack);
            gone.push(id);
        }
        gone
    }

    pub(super) fn get(&mut self, id: u64) -> Option<Arc<Addresses>> {
        self.stacks.get(&id).map(Arc::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_stays_and_what_goes_is_named() {
        let mut dictionary = Dictionary::new(3 * (OVERHEAD + 16));
        for id in 1..=3 {
            assert_eq!(dictionary.insert(id, vec![id, id], End::Bottom), [0; 0]);
        }
        assert!(dictionary.get(1).is_some());
        assert_eq!(dictionary.insert(4, vec![4, 4], End::Bottom), [2]);
        assert!(dictionary.get(2).is_none());
        assert_eq!(&*dictionary.get(1).unwrap().frames, [1, 1]);
    }

    #[test]
    fn a_stack_that_comes_again_is_not_counted_twice() {
        let mut dictionary = Dictionary::new(2 * (OVERHEAD + 16));
        for _ in 0..10 {
            assert_eq!(dictionary.insert(1, vec![1, 2], End::Bottom), [0; 0]);
        }
        assert_eq!(dictionary.insert(2, vec![3, 4], End::Bottom), [0; 0]);
    }
}
