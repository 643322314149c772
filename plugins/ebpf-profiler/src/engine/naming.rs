//! Names for the stacks that were counted.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use lru::LruCache;

use super::dictionary::Addresses;
use super::session::{Named, NamedFrame, Place};
use crate::process::table::Processes;
use crate::symbol::{self, Options, Symbolizer, call_of, strip_own_frames};

/// Stacks that may be prepared at once.
pub(super) const AT_ONCE: usize = 512;
/// Stacks whose names are kept ready.
const READY: NonZeroUsize = NonZeroUsize::new(AT_ONCE * 3 / 2).unwrap();

/// A stack of a process, by its number in the dictionary. The kernel's stacks are process 0's.
pub(super) type StackOf = (u32, u64);

/// Names stacks, each once.
pub(super) struct Naming {
    symbolizer: Symbolizer,
    ready: LruCache<StackOf, Arc<Named>>,
}

impl Default for Naming {
    fn default() -> Self {
        let symbolizer =
            Symbolizer::new(Options::default()).with_functions(symbol::go::functions());
        Self {
            symbolizer,
            ready: LruCache::new(READY),
        }
    }
}

impl Naming {
    /// Names all of these stacks, so that `get` has them; [`AT_ONCE`] at the most.
    pub(super) fn prepare(
        &mut self,
        processes: &mut Processes,
        stacks: &[(StackOf, Arc<Addresses>)],
        off_cpu: bool,
        now: Instant,
    ) {
        let mut seen = HashSet::new();
        debug_assert!(stacks.len() <= AT_ONCE, "{} at once", stacks.len());
        // Asking for one that is there keeps it there.
        let new: Vec<_> = stacks
            .iter()
            .filter(|(of, _)| self.ready.get(of).is_none() && seen.insert(*of))
            .collect();
        let user: Vec<_> = new.iter().filter(|((pid, _), _)| *pid != 0).collect();
        let wanted: Vec<(u32, u64)> = user
            .iter()
            .flat_map(|((pid, _), stack)| calls(stack).map(|address| (*pid, address)))
            .collect();
        let mut symbols = self.symbolizer.user(processes, &wanted).into_iter();
        for ((pid, id), stack) in user {
            let frames = symbols
                .by_ref()
                .take(stack.frames.len())
                .map(|symbol| NamedFrame {
                    place: match &symbol.module {
                        Some(module) => Place::Module(module.id, symbol.address),
                        None => Place::Process(*pid, symbol.address),
                    },
                    name: symbol.name,
                    module: symbol.module,
                });
            let named = Named {
                frames: frames.collect(),
                complete: stack.end.is_complete(),
            };
            self.ready.put((*pid, *id), Arc::new(named));
        }
        for (of, stack) in new.iter().filter(|((pid, _), _)| *pid == 0) {
            let mut frames: Vec<_> = calls(stack)
                .map(|address| NamedFrame {
                    place: Place::Kernel(address),
                    name: self.symbolizer.kernel(address, now),
                    module: None,
                })
                .collect();
            if off_cpu {
                frames.drain(..strip_own_frames(frames.iter().map(|it| &*it.name)));
            }
            self.ready.put(
                *of,
                Arc::new(Named {
                    frames,
                    complete: true,
                }),
            );
        }
    }

    /// A stack that was prepared.
    pub(super) fn get(&mut self, of: StackOf) -> Option<Arc<Named>> {
        self.ready.get(&of).map(Arc::clone)
    }

    /// Numbers of stacks mean others from now on.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
    }

    /// A process is another program now: the same addresses are other functions.
    pub(super) fn forget(&mut self, pid: u32) {
        let old: Vec<_> = self
            .ready
            .iter()
            .map(|(of, _)| *of)
            .filter(|of| of.0 == pid)
            .collect();
        for of in old {
            self.ready.pop(&of);
        }
    }
}

/// The innermost address as it is, of the others the calls that return to them.
fn calls(stack: &Addresses) -> impl Iterator<Item = u64> {
    let (innermost, callers) = stack.frames.split_at(1.min(stack.frames.len()));
    innermost
        .iter()
        .copied()
        .chain(callers.iter().map(|it| call_of(*it)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::layout::End;
    use crate::process::proc::Proc;
    use crate::process::table::Limits;

    #[test]
    fn what_is_prepared_is_there_whatever_was_before() {
        let mut naming = Naming::default();
        let mut processes = Processes::new(Proc::at("/proc"), Limits::default());
        let stacks = |ids: std::ops::Range<u64>| -> Vec<(StackOf, Arc<Addresses>)> {
            let of = |id| {
                let frames = vec![id].into_boxed_slice();
                let end = End::Kernel;
                ((0, id), Arc::new(Addresses { frames, end }))
            };
            ids.map(of).collect()
        };
        let (most, half) = (READY.get() as u64, AT_ONCE as u64 / 2);
        for first in (1..most).step_by(AT_ONCE) {
            let last = most.min(first + AT_ONCE as u64);
            naming.prepare(&mut processes, &stacks(first..last), false, Instant::now());
        }
        // The oldest of those that are there, and as many others.
        let mut wanted = stacks(1..half);
        wanted.extend(stacks(most + 1..most + half));
        naming.prepare(&mut processes, &wanted, false, Instant::now());
        for (of, _) in wanted {
            assert!(naming.get(of).is_some(), "{of:?}");
        }
    }
}
