//! What the machine allows us: the defaults of `limits` follow from it.

use std::fs;

use crate::limit::cgroup::Groups;

/// What the machine allows us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// The tightest memory limit of our cgroup and its parents.
    pub memory_limit: Option<u64>,
    /// Cores we may run on.
    pub cores: usize,
}

/// Version 1 writes "no limit" as the largest multiple of the page size.
const NO_LIMIT: u64 = 1 << 60;
const DEFAULT_MEMORY: u64 = 512 << 20;

impl Host {
    /// Looks at the machine.
    pub fn detect() -> Self {
        Self {
            memory_limit: memory_limit(&Groups::detect()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// The default of `limits.memory_bytes`: half of the limit, 512 MiB without one.
    pub fn default_memory(&self) -> u64 {
        self.memory_limit.map_or(DEFAULT_MEMORY, |limit| limit / 2)
    }
}

/// The tightest limit of our group and those around it, in either version.
pub(super) fn memory_limit(groups: &Groups) -> Option<u64> {
    let limits = groups.of("memory").flat_map(|group| {
        let file = match group.is_unified() {
            true => "memory.max",
            false => "memory.limit_in_bytes",
        };
        let chain = group.chain().iter();
        chain.filter_map(move |directory| {
            let text = fs::read_to_string(directory.join(file)).ok()?;
            text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
        })
    });
    limits.min()
}
