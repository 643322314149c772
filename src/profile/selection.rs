//! Which processes a profile is about, while they come and go.
//!
//! `/proc` is looked at every [`LOOK`]. What is new is looked at each time for a second, because a
//! process gets its command line only after it was there; all of them once a second.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use perigee_ebpf_profiler::engine::Targets;
use regex::Regex;

use crate::limit::cgroup;

/// Between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(100);

/// How long a process counts as new, and between two looks at all of them.
const SETTLED: Duration = Duration::from_secs(1);

/// A command line is looked at up to here.
const LONGEST: u64 = 64 * 1024;

/// Why nobody can be meant.
#[derive(Debug, thiserror::Error)]
pub(super) enum SelectionError {
    /// No process has this number.
    #[error("--pid {pid}: there is no such process")]
    NoProcess {
        /// The number.
        pid: u32,
    },
    /// It is the number of a thread.
    #[error("--pid {thread}: this is a thread of process {process}")]
    Thread {
        /// The number.
        thread: u32,
        /// The process.
        process: String,
    },
    /// No control group has this name.
    #[error("--cgroup {}: there is no such control group", path.display())]
    NoGroup {
        /// The name.
        path: PathBuf,
    },
}

/// Who is meant.
#[derive(Clone, Debug)]
pub(super) enum Whom {
    /// Everybody.
    All,
    /// One process.
    Process(u32),
    /// Those whose command line matches.
    Command(Regex),
    /// Those in a control group and in the ones below it.
    Group(PathBuf),
}

/// Follows them.
#[derive(Debug)]
pub(super) struct Selection {
    whom: Whom,
    root: PathBuf,
    /// We would match our own arguments.
    own: u32,
    seen: HashMap<u32, Seen>,
    all_seen: Option<Instant>,
    chosen: BTreeSet<u32>,
    /// When the one process started.
    started: Option<String>,
    has_ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Instant,
    matches: bool,
}

impl Selection {
    /// Finds those who are there; `root` is the root of the file system.
    pub(super) fn new(whom: Whom, root: &Path, now: Instant) -> Result<Self, SelectionError> {
        let whom = match whom {
            Whom::Group(path) => match cgroup::directory(root, &path) {
                Some(directory) => Whom::Group(directory),
                None => return Err(SelectionError::NoGroup { path }),
            },
            whom => whom,
        };
        let mut selection = Self {
            whom,
            root: root.to_owned(),
            own: std::process::id(),
            seen: HashMap::new(),
            all_seen: None,
            chosen: BTreeSet::new(),
            started: None,
            has_ended: false,
        };
        if let Whom::Process(pid) = selection.whom {
            selection.check(pid)?;
        }
        selection.look(now);
        Ok(selection)
    }

    /// Who is meant now.
    pub(super) fn targets(&self) -> Targets {
        match self.whom {
            Whom::All => Targets::All,
            _ => Targets::Processes(self.chosen.clone()),
        }
    }

    /// How many are meant; `None`: everybody.
    pub(super) fn count(&self) -> Option<usize> {
        (!matches!(self.whom, Whom::All)).then_some(self.chosen.len())
    }

    /// Whether nobody will come any more.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Time between two looks: where everybody is meant there is nothing to be found.
    pub(super) fn pause(&self) -> Duration {
        match self.whom {
            Whom::All => Duration::from_secs(1),
            _ => LOOK,
        }
    }

    /// Looks again; whether anything has changed.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let chosen = match &self.whom {
            Whom::All => return false,
            Whom::Process(pid) => {
                self.has_ended = start_of(&self.root, *pid) != self.started;
                if self.has_ended {
                    BTreeSet::new()
                } else {
                    BTreeSet::from([*pid])
                }
            }
            Whom::Group(directory) => members(directory),
            Whom::Command(pattern) => {
                let pattern = pattern.clone();
                self.matching(&pattern, now)
            }
        };
        std::mem::replace(&mut self.chosen, chosen) != self.chosen
    }

    fn check(&mut self, pid: u32) -> Result<(), SelectionError> {
        let status = self.root.join(format!("proc/{pid}/status"));
        let status = fs::read_to_string(status).map_err(|_| SelectionError::NoProcess { pid })?;
        let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
        let process = process.map(str::trim).unwrap_or_default();
        if process != pid.to_string() {
            // Threads have a directory there, too, which is only not listed.
            let process = process.to_owned();
            return Err(SelectionError::Thread {
                thread: pid,
                process,
            });
        }
        self.started = start_of(&self.root, pid);
        Ok(())
    }

    fn matching(&mut self, pattern: &Regex, now: Instant) -> BTreeSet<u32> {
        let is_due = |last: Instant| now.saturating_duration_since(last) >= SETTLED;
        let all = self.all_seen.is_none_or(is_due);
        if all {
            self.all_seen = Some(now);
        }
        let before = std::mem::take(&mut self.seen);
        for pid in processes(&self.root).filter(|pid| *pid != self.own) {
            let known = before.get(&pid).copied();
            let seen = match known {
                Some(seen) if !all && is_due(seen.first) => seen,
                _ => Seen {
                    first: known.map_or(now, |seen| seen.first),
                    matches: command_line(&self.root, pid)
                        .is_some_and(|line| pattern.is_match(&line)),
                },
            };
            self.seen.insert(pid, seen);
        }
        let matching = self.seen.iter().filter(|(_, seen)| seen.matches);
        matching.map(|(pid, _)| *pid).collect()
    }
}

fn processes(root: &Path) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(root.join("proc"))
        .into_iter()
        .flatten()
        .flatten();
    entries.filter_map(|entry| number(&entry.file_name()))
}

fn number(name: &OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

/// Arguments with blanks between; the name in brackets where there are none, as `ps` shows it.
fn command_line(root: &Path, pid: u32) -> Option<String> {
    let directory = root.join(format!("proc/{pid}"));
    let mut bytes = Vec::new();
    let file = fs::File::open(directory.join("cmdline")).ok()?;
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() {
        let name = fs::read_to_string(directory.join("comm")).ok()?;
        return Some(format!("[{}]", name.trim_end()));
    }
    bytes
        .iter_mut()
        .filter(|byte| **byte == 0)
        .for_each(|byte| *byte = b' ');
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// With the number, this tells a process from another. `None`: it is not there, or only its remains are.
fn start_of(root: &Path, pid: u32) -> Option<String> {
    let stat = fs::read_to_string(root.join(format!("proc/{pid}/stat"))).ok()?;
    // The name before may hold anything, blanks and brackets included.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let started = fields.nth(18)?;
    (!matches!(state, "Z" | "X")).then(|| started.to_owned())
}

/// Those in a group and below it.
fn members(directory: &Path) -> BTreeSet<u32> {
    let list = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let mut found: BTreeSet<u32> = list.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(members(&entry.path()));
        }
    }
    found
}

#[cfg(test)]
mod tests;
