//! The books of the CPU limit, written by [`CpuWatch`](crate::limit::CpuWatch).

use std::sync::atomic::{AtomicBool, Ordering};

use super::count::Measure;

/// What we use of what we may use.
#[derive(Debug, Default)]
pub struct CpuBooks {
    /// Used, in percent of `cores`, over the last seconds; 0 before the first window is whole.
    pub percent: Measure,
    /// Cores that may be used: a quota, or those of the affinity mask.
    pub cores: Measure,
    /// Percent above which new connections are refused.
    pub limit: Measure,
    at_limit: AtomicBool,
}

impl CpuBooks {
    /// Whether new connections are refused.
    pub fn is_at_limit(&self) -> bool {
        self.at_limit.load(Ordering::Acquire)
    }

    /// New connections are refused from now on, or no longer.
    pub fn set_at_limit(&self, at_limit: bool) {
        self.at_limit.store(at_limit, Ordering::Release);
    }
}
