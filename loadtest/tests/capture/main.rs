//! What `perigee profile` and `perigee capture` find in programs that know the truth about themselves,
//! and what that costs.
//!
//! The programs are in `loadtest/capture`; they are built on first use. Runs as root only.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(clippy::panic, reason = "and says what it was")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod budgets;
mod capture;
mod cost;
mod fidelity;
mod folded;
mod gone;
mod killed;
mod outputs;
mod path;
mod pprof;
mod shares;
mod waits;
mod workload;

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Samples below which no share is judged: with 10,000 of them, four standard errors are 1.8 points.
const ENOUGH: u64 = 10_000;

/// Held while something is measured. These programs fill a core each, and two cores are all that the
/// smallest machine has: two tests at once would measure each other.
static ALONE: Mutex<()> = Mutex::new(());

/// The machine for one test alone; `None`, with a word on standard output, where eBPF cannot run.
fn alone() -> Option<MutexGuard<'static, ()>> {
    if let Some(reason) = unable() {
        println!("skipped: {reason}");
        return None;
    }
    // A failed test has left nothing behind that would matter to the next one.
    Some(ALONE.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Why nothing can be captured here.
fn unable() -> Option<String> {
    /// CAP_PERFMON and CAP_BPF: without them the kernel refuses programs, whoever we are.
    const NEEDED: u64 = 1 << 38 | 1 << 39;
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let needed = [
        "/proc/sys/kernel/perf_event_paranoid",
        "/sys/kernel/btf/vmlinux",
    ];
    if let Some(path) = needed.iter().find(|path| !Path::new(path).exists()) {
        return Some(format!("no {path}"));
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
    (mask & NEEDED != NEEDED).then(|| format!("capabilities {mask:x}, needs BPF and PERFMON"))
}

/// Whether a command is there; says so if not.
fn has(command: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(command).is_file());
    if !found {
        println!("skipped: {command} is missing");
    }
    found
}
