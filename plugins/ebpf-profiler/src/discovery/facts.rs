//! What `/proc` says of a process.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::cgroup::Groups;
use crate::process::command;

mod stat;

pub(crate) use stat::Stat;

/// Bytes of any file but the command line.
const FILE: u64 = 64 * 1024;
/// The kernel cuts a name to this many bytes.
const COMM: usize = 15;

/// The process has ended, or the kernel hides it from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("process {pid} is gone")]
pub struct Gone {
    /// Which.
    pub pid: u32,
}

/// A `/proc`: ours, or the host's where it is mounted in our container.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

/// A process as it was when it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// In the PID namespace of this `/proc`.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
    /// The kernel's name of it, at most 15 bytes.
    pub comm: String,
    /// Its program as the process itself sees the path; absent where we may not know.
    pub exe: Option<String>,
    /// What it was called with.
    pub arguments: Vec<String>,
    /// Its working directory as the process itself sees the path.
    pub directory: Option<String>,
    /// Its control groups and what they tell.
    pub groups: Groups,
    /// Its PID in its own namespace.
    pub inner_pid: u32,
    /// Real user ID.
    pub uid: u32,
}

/// What is cheap to read and tells whether anything that matters has changed.
#[derive(Debug)]
pub(crate) struct Glance {
    pub(crate) stat: Stat,
    groups: Vec<u8>,
    arguments: Vec<u8>,
}

impl Default for Proc {
    fn default() -> Self {
        Self::new("/proc")
    }
}

impl Proc {
    /// The `/proc` mounted there.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where it is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The PIDs of all processes.
    ///
    /// # Errors
    /// There is no such directory, or we may not list it.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let entries = fs::read_dir(&self.root)?;
        let names = entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name()));
        Ok(names
            .filter_map(|name| name.to_str()?.parse().ok())
            .collect())
    }

    /// Our own PID in this `/proc`.
    pub fn own_pid(&self) -> Option<u32> {
        let link = fs::read_link(self.root.join("self")).ok()?;
        link.to_str()?.parse().ok()
    }

    /// Everything about a process.
    ///
    /// # Errors
    /// It is not there, or another got its PID meanwhile.
    pub fn facts(&self, pid: u32) -> Result<Facts, Gone> {
        self.complete(pid, &self.glance(pid)?)
    }

    pub(crate) fn stat(&self, pid: u32) -> Result<Stat, Gone> {
        let bytes = self.read(pid, "stat", FILE)?;
        Stat::parse(&bytes).ok_or(Gone { pid })
    }

    pub(crate) fn glance(&self, pid: u32) -> Result<Glance, Gone> {
        let stat = self.stat(pid)?;
        let (groups, arguments) = if stat.is_kernel_thread() {
            Default::default()
        } else {
            let arguments = self.read(pid, "cmdline", command::LONGEST)?;
            (self.read(pid, "cgroup", FILE)?, arguments)
        };
        Ok(Glance {
            stat,
            groups,
            arguments,
        })
    }

    /// The rest of a process that was glanced at.
    pub(crate) fn complete(&self, pid: u32, glance: &Glance) -> Result<Facts, Gone> {
        let status = self.read(pid, "status", FILE)?;
        let status = String::from_utf8_lossy(&status);
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let uid = field("Uid:").and_then(|uids| uids.split_whitespace().next());
        let inner = field("NSpid:").and_then(|pids| pids.split_whitespace().last());
        let groups = String::from_utf8_lossy(&glance.groups);
        let facts = Facts {
            pid,
            started: glance.stat.started,
            comm: glance.stat.comm.clone(),
            exe: self.link(pid, "exe"),
            arguments: command::arguments(&glance.arguments),
            directory: self.link(pid, "cwd"),
            groups: Groups::parse(&groups),
            inner_pid: inner.and_then(|it| it.parse().ok()).unwrap_or(pid),
            uid: uid.and_then(|it| it.parse().ok()).unwrap_or(u32::MAX),
        };
        // The files above belong to whoever has the PID at that moment.
        let same = self.stat(pid)?.started == facts.started;
        same.then_some(facts).ok_or(Gone { pid })
    }

    fn read(&self, pid: u32, name: &str, most: u64) -> Result<Vec<u8>, Gone> {
        let path = self.root.join(pid.to_string()).join(name);
        let mut bytes = Vec::with_capacity(1024);
        File::open(path)
            .and_then(|file| file.take(most).read_to_end(&mut bytes))
            .map_err(|_| Gone { pid })?;
        Ok(bytes)
    }

    /// A program that was replaced on disk is still called by its path.
    fn link(&self, pid: u32, name: &str) -> Option<String> {
        let path = fs::read_link(self.root.join(pid.to_string()).join(name)).ok()?;
        let path = path.to_string_lossy();
        Some(path.strip_suffix(" (deleted)").unwrap_or(&path).to_owned())
    }
}

impl Glance {
    /// Changes when the process starts another program or gives itself another name, not when it only
    /// rewrites its command line.
    pub(crate) fn program(&self) -> u64 {
        digest(&(&self.stat.image, &self.stat.comm))
    }

    /// Changes when the process may have to be named anew.
    pub(crate) fn digest(&self) -> u64 {
        digest(&(self.program(), &self.groups, &self.arguments))
    }
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Facts {
    /// What an operator's expressions are matched with, secrets and all: never for sending.
    pub fn command(&self) -> String {
        command::line(&self.arguments, &self.comm)
    }

    /// The program's name as Rover has it: the kernel's, and where that is cut the rest of it from the
    /// command line.
    pub fn name(&self) -> &str {
        let first = self.arguments.first().map_or("", String::as_str);
        let base = first.rsplit('/').next().unwrap_or(first);
        if self.comm.len() >= COMM && base.starts_with(&self.comm) {
            base
        } else {
            &self.comm
        }
    }
}

#[cfg(test)]
mod tests;
