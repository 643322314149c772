//! Ranges of a fixed row of places: first fit, neighbours joined when they are given back.

use std::collections::BTreeMap;

/// Which places are free.
pub(super) struct Ranges {
    free: BTreeMap<u32, u32>,
}

impl Ranges {
    pub(super) fn new(places: u32) -> Self {
        Self {
            free: BTreeMap::from([(0, places)]),
        }
    }

    /// Takes `count` places in a row and yields the first.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let (&first, &length) = self.free.iter().find(|(_, length)| **length >= count)?;
        self.free.remove(&first);
        if length > count {
            self.free.insert(first + count, length - count);
        }
        Some(first)
    }

    /// Gives back what `take` gave.
    pub(super) fn give(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        let (mut start, mut length) = (first, count);
        if let Some((&before, &size)) = self.free.range(..first).next_back()
            && before + size == first
        {
            self.free.remove(&before);
            start = before;
            length += size;
        }
        if let Some(size) = self.free.remove(&(first + count)) {
            length += size;
        }
        self.free.insert(start, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_as_one() {
        let mut ranges = Ranges::new(100);
        let taken: Vec<_> = (0..10).map(|_| ranges.take(10).unwrap()).collect();
        assert_eq!(ranges.take(1), None);
        for first in [20, 40, 30, 0, 10] {
            assert!(taken.contains(&first));
            ranges.give(first, 10);
        }
        assert_eq!(ranges.take(51), None);
        assert_eq!(ranges.take(50), Some(0));
        assert_eq!(ranges.take(1), None);
    }

    #[test]
    fn a_hole_is_filled_before_the_end() {
        let mut ranges = Ranges::new(100);
        let first = ranges.take(30).unwrap();
        ranges.take(30).unwrap();
        ranges.give(first, 30);
        assert_eq!(ranges.take(20), Some(0));
        assert_eq!(ranges.take(20), Some(60));
        assert_eq!(ranges.take(10), Some(20));
    }
}
