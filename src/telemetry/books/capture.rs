//! The books of the child process that captures.

use std::sync::atomic::{AtomicBool, Ordering};

use super::count::Count;

/// What becomes of the child.
#[derive(Debug, Default)]
pub struct CaptureBooks {
    wanted: AtomicBool,
    up: AtomicBool,
    /// How often it was started again.
    pub restarts: Count,
}

impl CaptureBooks {
    /// There shall be a child.
    pub fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Whether there shall be a child.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// It has started, or ended.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }
}
