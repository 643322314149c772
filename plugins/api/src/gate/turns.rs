//! Taking turns, at any depth.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// Something with amounts that are waited for.
pub(super) trait Waits: Default {
    /// Names one of them.
    type Name: Copy;
    /// One of them.
    type Waiting;

    /// No amount is smaller than this.
    fn least(&self) -> u64;
    /// Whether nobody waits.
    fn is_empty(&self) -> bool;
    /// The first by turns whose amount is not above `room`.
    fn first(&self, room: u64) -> Option<Self::Name>;
    /// Whether this one waits.
    fn get(&self, name: Self::Name) -> Option<&Self::Waiting>;
    /// Begins to wait, or waits for something else.
    fn insert(&mut self, name: Self::Name, amount: u64, waiting: Self::Waiting);
    /// Stops waiting. If it was `served`, the others come before it from now on.
    fn remove(&mut self, name: Self::Name, served: bool) -> Option<Self::Waiting>;
}

/// Takes turns: after the one that was served last comes the next by key.
#[derive(Debug)]
pub(super) struct Turns<K, V> {
    entries: BTreeMap<K, V>,
    served: Option<K>,
    /// A search that fails makes it exact; until then it may be too small, and the search is for
    /// nothing.
    least: Cell<u64>,
}

impl<K, V> Default for Turns<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            served: None,
            least: Cell::new(u64::MAX),
        }
    }
}

impl<K: Copy + Ord, V: Waits> Turns<K, V> {
    /// The first by turns, of those who are due, whose amount is not above `room`.
    pub(super) fn find(&self, room: u64, is_due: &dyn Fn(&K) -> bool) -> Option<(K, V::Name)> {
        if self.least.get() > room {
            return None;
        }
        let found = self
            .in_turn()
            .filter(|(key, _)| is_due(key))
            .find_map(|(key, entry)| Some((*key, entry.first(room)?)));
        if found.is_none() {
            let least = self.entries.values().map(V::least).min();
            self.least.set(least.unwrap_or(u64::MAX));
        }
        found
    }

    fn in_turn(&self) -> impl Iterator<Item = (&K, &V)> {
        let after = self.served.map_or(Unbounded, Excluded);
        let before = self.served.map(|served| self.entries.range(..=served));
        self.entries
            .range((after, Unbounded))
            .chain(before.into_iter().flatten())
    }
}

impl<K: Copy + Ord, V: Waits> Waits for Turns<K, V> {
    type Name = (K, V::Name);
    type Waiting = V::Waiting;

    fn least(&self) -> u64 {
        self.least.get()
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn first(&self, room: u64) -> Option<Self::Name> {
        self.find(room, &|_| true)
    }

    fn get(&self, (key, rest): Self::Name) -> Option<&Self::Waiting> {
        self.entries.get(&key)?.get(rest)
    }

    fn insert(&mut self, (key, rest): Self::Name, amount: u64, waiting: Self::Waiting) {
        self.least.set(self.least.get().min(amount));
        self.entries
            .entry(key)
            .or_default()
            .insert(rest, amount, waiting);
    }

    fn remove(&mut self, (key, rest): Self::Name, served: bool) -> Option<Self::Waiting> {
        let entry = self.entries.get_mut(&key)?;
        let removed = entry.remove(rest, served)?;
        if entry.is_empty() {
            self.entries.remove(&key);
        }
        if served {
            self.served = Some(key);
        }
        Some(removed)
    }
}

/// One that waits, or nobody.
#[derive(Debug)]
pub(super) struct One<T>(Option<(u64, T)>);

impl<T> Default for One<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Waits for One<T> {
    type Name = ();
    type Waiting = T;

    fn least(&self) -> u64 {
        self.0.as_ref().map_or(u64::MAX, |(amount, _)| *amount)
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn first(&self, room: u64) -> Option<()> {
        (self.least() <= room).then_some(())
    }

    fn get(&self, (): ()) -> Option<&T> {
        self.0.as_ref().map(|(_, waiting)| waiting)
    }

    fn insert(&mut self, (): (), amount: u64, waiting: T) {
        self.0 = Some((amount, waiting));
    }

    fn remove(&mut self, (): (), _served: bool) -> Option<T> {
        self.0.take().map(|(_, waiting)| waiting)
    }
}
