//! CPU time and memory of another process, from `/proc`.

use std::fs;

use anyhow::{Context as _, Result};

/// Nanoseconds that the living threads of `pid` have run, user and system.
///
/// A thread that ends takes its time with it; workers live as long as their process.
///
/// # Errors
/// The process is gone.
pub(super) fn cpu_nanoseconds(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        let Ok(text) = fs::read_to_string(&path) else {
            continue; // It has ended since the directory was listed.
        };
        let run = text
            .split(' ')
            .next()
            .and_then(|field| field.parse::<u64>().ok());
        sum += run.with_context(|| format!("{}: {text:?}", path.display()))?;
    }
    Ok(sum)
}

/// Resident memory of `pid` in bytes.
///
/// # Errors
/// The process is gone.
pub(super) fn resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmRSS:")
}

/// Highest resident memory of `pid` since it started, in bytes.
///
/// # Errors
/// The process is gone.
pub(super) fn peak_resident_bytes(pid: u32) -> Result<u64> {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, key: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib
        .with_context(|| format!("no {key} of process {pid}"))?
        .trim()
        .parse()?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_usage_is_found_and_cpu_time_grows() {
        let pid = std::process::id();
        let before = cpu_nanoseconds(pid).unwrap();
        let mut sum = 0_u64;
        while cpu_nanoseconds(pid).unwrap() <= before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(peak_resident_bytes(pid).unwrap() >= resident_bytes(pid).unwrap() / 2);
    }
}
