//! CPU time: what we have used, and how many cores we may use.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::cgroup::{Group, Groups};

/// Ticks a second in `/proc/self/stat`. The kernel's `USER_HZ`, which is 100 in the user-space ABI
/// of x86_64 and arm64 whatever the kernel's own tick is.
const USER_HZ: u64 = 100;

/// Where to read what we have used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// `cpuacct.usage` of our own group.
    Accounting(PathBuf),
    /// `cpu.stat` of our own group.
    Statistics(PathBuf),
    /// This process alone.
    Process,
}

impl Usage {
    /// Our own group's, with all that runs beside us in it. Where our group is the machine's or is not
    /// shown, neighbours would count: there this process's.
    pub(super) fn of(groups: &Groups) -> Self {
        let own = groups.of("cpuacct").find_map(|group| {
            let (file, kind): (_, fn(PathBuf) -> Self) = match group.is_unified() {
                false => ("cpuacct.usage", Self::Accounting),
                true => ("cpu.stat", Self::Statistics),
            };
            let usage = kind(group.own()?.join(file));
            let ours = !group.is_root_of_host() && usage.read().is_some();
            ours.then_some(usage)
        });
        own.unwrap_or(Self::Process)
    }

    /// CPU time until now; `None` if it cannot be read at the moment.
    pub(super) fn read(&self) -> Option<Duration> {
        match self {
            Self::Accounting(file) => number(file).map(Duration::from_nanos),
            Self::Statistics(file) => {
                let text = fs::read_to_string(file).ok()?;
                let mut values = text.lines().filter_map(|line| line.split_once(' '));
                let (_, value) = values.find(|(name, _)| *name == "usage_usec")?;
                Some(Duration::from_micros(value.trim().parse().ok()?))
            }
            Self::Process => parse_stat(&fs::read_to_string("/proc/self/stat").ok()?),
        }
    }
}

/// Cores that we may use: the tightest quota of our group and those around it, and never more than
/// there are in the affinity mask of this thread.
pub(super) fn cores(groups: &Groups) -> f64 {
    let mask = rustix::thread::sched_getaffinity(None).map(|mask| mask.count());
    let mask = f64::from(mask.unwrap_or(1).max(1));
    quota(groups).map_or(mask, |quota| quota.min(mask))
}

/// The tightest quota, in cores.
fn quota(groups: &Groups) -> Option<f64> {
    let quotas = groups.of("cpu").flat_map(|group| {
        let chain = group.chain().iter();
        chain.filter_map(|directory| quota_of(group, directory))
    });
    quotas.reduce(f64::min)
}

fn quota_of(group: &Group, directory: &Path) -> Option<f64> {
    let (quota, period) = if group.is_unified() {
        let text = fs::read_to_string(directory.join("cpu.max")).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        (quota.parse().ok()?, period.parse().ok()?)
    } else {
        // No quota is -1.
        let quota = number(&directory.join("cpu.cfs_quota_us"))?;
        (quota, number(&directory.join("cpu.cfs_period_us"))?)
    };
    (period > 0).then(|| quota as f64 / period as f64)
}

fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Fields 14 and 15 of proc(5)'s `stat`. The second field is the program's name in parentheses and
/// may itself hold blanks and parentheses, so counting begins after the last of them.
fn parse_stat(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut times = rest.split_ascii_whitespace().skip(11);
    let user: u64 = times.next()?.parse().ok()?;
    let system: u64 = times.next()?.parse().ok()?;
    let ticks = user.checked_add(system)?;
    Some(Duration::from_millis(ticks.checked_mul(1000 / USER_HZ)?))
}

#[cfg(test)]
mod tests;
