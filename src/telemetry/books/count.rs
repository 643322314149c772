//! The kinds of numbers in the books.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A number that only grows.
///
/// Written with release and read with acquire order: who sees a message leave also sees that it
/// arrived, as long as the two were counted in that order.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Release);
    }

    /// The number so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// How many of something there are now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// One more.
    pub fn inc(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// One less.
    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    /// The number now; 0 while a decrement has overtaken its increment.
    pub fn value(&self) -> u64 {
        u64::try_from(self.0.load(Ordering::Acquire)).unwrap_or(0)
    }
}

/// Something that was measured.
#[derive(Debug, Default)]
pub struct Measure(AtomicU64);

impl Measure {
    /// The latest measurement.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Release);
    }

    /// What was measured last; 0 before anything was.
    pub fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Acquire))
    }
}
