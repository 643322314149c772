//! What the machine allows us: the defaults of `limits` follow from it.
//!
//! Cgroup files are read from a directory that is passed in, so that recorded ones can be tested.

use std::fs;
use std::path::Path;

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
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self {
            memory_limit: memory_limit(Path::new("/sys/fs/cgroup"), &groups),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// The default of `limits.memory_bytes`: half of the limit, 512 MiB without one.
    pub fn default_memory(&self) -> u64 {
        self.memory_limit.map_or(DEFAULT_MEMORY, |limit| limit / 2)
    }
}

/// The tightest limit of the groups that `/proc/self/cgroup` lists, version 1 or 2, under `root`.
pub(super) fn memory_limit(root: &Path, groups: &str) -> Option<u64> {
    groups.lines().filter_map(|line| limit_of(root, line)).min()
}

fn limit_of(root: &Path, line: &str) -> Option<u64> {
    let mut parts = line.splitn(3, ':');
    let (_, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
    let (base, file) = match controllers {
        "" => (root.to_path_buf(), "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            (root.join("memory"), "memory.limit_in_bytes")
        }
        _ => return None,
    };
    // In a container the path may be the host's: then only the root of the hierarchy is there.
    Path::new(group)
        .ancestors()
        .filter_map(|group| {
            let group = group.strip_prefix("/").unwrap_or(group);
            let text = fs::read_to_string(base.join(group).join(file)).ok()?;
            text.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)
        })
        .min()
}
