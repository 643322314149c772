//! Which lane is served next.
//!
//! Every lane that holds messages has one [`Place`]. Lanes are found by the age of their oldest
//! message, so that a take looks at one lane however many there are: when the oldest ready lane is
//! not due by age none is, and the oldest full one is next.

use std::collections::BTreeSet;
use std::time::Instant;

/// Where a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Arrival of its oldest message.
    pub(crate) oldest: Instant,
    /// Whether it has to wait for its batch in flight.
    pub(crate) held: bool,
    /// Whether it holds a full batch.
    pub(crate) full: bool,
}

/// The places of all lanes of a partition, by slot.
#[derive(Debug, Default)]
pub(crate) struct Order {
    ready: BTreeSet<(Instant, usize)>,
    /// Those of `ready` that hold a full batch.
    full: BTreeSet<(Instant, usize)>,
    held: BTreeSet<(Instant, usize)>,
}

impl Order {
    /// Moves a lane; says whether a consumer that waits may have something to do earlier now.
    pub(crate) fn set(&mut self, slot: usize, old: Option<Place>, new: Option<Place>) -> bool {
        if old == new {
            return false;
        }
        let before = self.first_ready();
        if let Some(place) = old {
            let entry = (place.oldest, slot);
            if place.held {
                self.held.remove(&entry);
            } else {
                self.ready.remove(&entry);
                self.full.remove(&entry);
            }
        }
        let Some(place) = new else {
            return false;
        };
        let entry = (place.oldest, slot);
        if place.held {
            self.held.insert(entry);
            return false;
        }
        self.ready.insert(entry);
        if place.full {
            self.full.insert(entry);
        }
        let was_full = old.is_some_and(|old| old.full && !old.held);
        (place.full && !was_full) || before.is_none_or(|(oldest, _)| place.oldest < oldest)
    }

    /// The ready lane with the oldest message.
    pub(crate) fn first_ready(&self) -> Option<(Instant, usize)> {
        self.ready.first().copied()
    }

    /// The ready lane with a full batch that has the oldest message.
    pub(crate) fn first_full(&self) -> Option<(Instant, usize)> {
        self.full.first().copied()
    }

    /// The lane with the oldest message, held ones included.
    pub(crate) fn first(&self) -> Option<(Instant, usize)> {
        match (self.ready.first(), self.held.first()) {
            (Some(ready), Some(held)) => Some(*ready.min(held)),
            (one, other) => one.or(other).copied(),
        }
    }
}
