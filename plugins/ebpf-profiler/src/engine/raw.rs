//! Stacks without names, counted.

use std::collections::HashMap;

/// A stack and how often it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawStack {
    /// As the host's PID namespace sees it.
    pub pid: u32,
    /// The program's addresses, innermost first: where it was, then where each call returns to.
    pub user: Vec<u64>,
    /// The kernel's, likewise.
    pub kernel: Vec<u64>,
    /// Samples, or waits.
    pub count: u64,
    /// Time that they stand for.
    pub nanos: u64,
    /// Whether `user` goes down to where the thread began.
    pub complete: bool,
    /// Whether the thread was ready to run all the while.
    pub preempted: bool,
}

/// Counts stacks within a bound of memory: what does not fit is counted as dropped.
#[derive(Debug)]
pub struct Counts {
    counts: HashMap<Key, Count>,
    bytes: usize,
    max_bytes: usize,
    dropped: u64,
}

/// What makes two samples the same stack.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) pid: u32,
    pub(super) user: Vec<u64>,
    pub(super) kernel: Vec<u64>,
    pub(super) complete: bool,
}

#[derive(Debug, Default)]
struct Count {
    count: u64,
    nanos: u64,
}

impl Counts {
    /// Holds about so many bytes at most.
    pub fn new(max_bytes: usize) -> Self {
        Counts {
            counts: HashMap::new(),
            bytes: 0,
            max_bytes,
            dropped: 0,
        }
    }

    pub(super) fn add(&mut self, key: Key, nanos: u64) {
        // A map has a third of its places free, more or less.
        let bytes = size_of::<(Key, Count)>() * 3 / 2
            + (key.user.capacity() + key.kernel.capacity()) * size_of::<u64>();
        let full = self.bytes + bytes > self.max_bytes;
        if full && !self.counts.contains_key(&key) {
            self.dropped += 1;
            return;
        }
        let count = self.counts.entry(key).or_insert_with(|| {
            self.bytes += bytes;
            Count::default()
        });
        count.count += 1;
        count.nanos += nanos;
    }

    /// The stacks since the last time, and how many samples did not fit.
    pub fn take(&mut self) -> (Vec<RawStack>, u64) {
        self.bytes = 0;
        let stacks = std::mem::take(&mut self.counts)
            .into_iter()
            .map(|(key, of)| RawStack {
                pid: key.pid,
                user: key.user,
                kernel: key.kernel,
                count: of.count,
                nanos: of.nanos,
                complete: key.complete,
                preempted: false,
            });
        (stacks.collect(), std::mem::take(&mut self.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pid: u32) -> Key {
        Key {
            pid,
            user: vec![1, 2, 3],
            kernel: Vec::new(),
            complete: true,
        }
    }

    #[test]
    fn equal_stacks_are_counted_together() {
        let mut counts = Counts::new(1 << 20);
        counts.add(key(1), 10);
        counts.add(key(2), 10);
        counts.add(key(1), 20);
        let (mut stacks, dropped) = counts.take();
        stacks.sort_by_key(|it| it.pid);
        let seen: Vec<_> = stacks
            .iter()
            .map(|it| (it.pid, it.count, it.nanos))
            .collect();
        assert_eq!((seen, dropped), (vec![(1, 2, 30), (2, 1, 10)], 0));
        assert_eq!(counts.take(), (Vec::new(), 0));
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_and_what_is_there_still_counts() {
        let mut counts = Counts::new(2_000);
        for _ in 0..2 {
            for pid in 0..100 {
                counts.add(key(pid), 1);
            }
        }
        let (stacks, dropped) = counts.take();
        assert!((4..50).contains(&stacks.len()), "{} stacks", stacks.len());
        assert!(stacks.iter().all(|it| it.count == 2), "{stacks:?}");
        assert_eq!(dropped, 2 * (100 - stacks.len() as u64));
        counts.add(key(1), 1);
        assert_eq!(counts.take().0.len(), 1, "there is room again");
    }
}
