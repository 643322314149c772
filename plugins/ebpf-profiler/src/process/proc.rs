//! Where `/proc` is, and the few words of it that tell one process from another.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The kernel's directory of processes.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
}

/// What tells a process from another of the same PID, and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The kernel's short name of it (`comm`).
    pub name: String,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

/// Whose files a process writes, and what it calls itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Effective user.
    pub effective: u32,
    /// User that its files get.
    pub files: u32,
    /// Its PID in its own namespace.
    pub pid: u32,
}

impl Default for Proc {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Proc {
    /// A `/proc` that is mounted elsewhere, as the host's is in a container.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// A file of a process.
    pub fn path(&self, pid: u32, file: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(file)
    }

    /// Whether the process exists, if only as a zombie.
    pub fn contains(&self, pid: u32) -> bool {
        self.root.join(pid.to_string()).exists()
    }

    /// Name and start of a process.
    ///
    /// # Errors
    /// The process is gone, or `/proc` is not readable.
    pub fn identity(&self, pid: u32) -> io::Result<Identity> {
        let stat = beginning(&self.path(pid, "stat"))?;
        identity(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "stat is none"))
    }

    /// Whose files a process writes.
    ///
    /// # Errors
    /// The process is gone, or `/proc` is not readable.
    pub fn owner(&self, pid: u32) -> io::Result<Owner> {
        let status = beginning(&self.path(pid, "status"))?;
        owner(&status).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "status is none"))
    }
}

/// The kernel's small files, which a single read hands out whole; what is longer is cut.
fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = vec![0; 16 << 10];
    let length = File::open(path)?.read(&mut text)?;
    text.truncate(length);
    Ok(text)
}

/// `PID (comm) state ...`, where a comm may hold anything, parentheses too.
fn identity(stat: &[u8]) -> Option<Identity> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = stat.get(open + 1..close)?;
    let rest = str::from_utf8(stat.get(close + 1..)?).ok()?;
    // proc(5) counts from 1, the state is field 3.
    let started = rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    Some(Identity {
        name: String::from_utf8_lossy(name).into_owned(),
        started,
    })
}

fn owner(status: &[u8]) -> Option<Owner> {
    let text = String::from_utf8_lossy(status);
    let numbers = |key: &str| -> Option<Vec<u32>> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_ascii_whitespace()
            .map(|word| word.parse().ok())
            .collect()
    };
    let users = numbers("Uid:")?;
    Some(Owner {
        effective: *users.get(1)?,
        files: *users.get(3)?,
        pid: *numbers("NSpid:").or_else(|| numbers("Pid:"))?.last()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comm_with_parentheses_and_spaces_is_read_whole() {
        let stat = b"42 (a) R 1 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        let identity = identity(stat).unwrap();
        assert_eq!(identity.name, "a) R 1 (b");
        assert_eq!(identity.started, 777);
    }

    #[test]
    fn our_own_process_is_read_from_proc() {
        let proc = Proc::default();
        let identity = proc.identity(std::process::id()).unwrap();
        assert!(identity.started > 0);
        let owner = proc.owner(std::process::id()).unwrap();
        assert_eq!(owner.files, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn the_innermost_namespace_names_the_pid() {
        let status = b"Name:\tx\nPid:\t900\nUid:\t1\t2\t3\t4\nNSpid:\t900\t12\t1\n";
        let owner = owner(status).unwrap();
        assert_eq!((owner.effective, owner.files, owner.pid), (2, 4, 1));
    }

    #[test]
    fn a_process_that_is_gone_is_not_found() {
        let error = Proc::default().identity(u32::MAX).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn nonsense_is_no_identity() {
        for stat in [&b""[..], b"1 (", b")(", b"1 (x) R", b"1 (x) \xff\xff"] {
            assert_eq!(identity(stat), None, "{stat:?}");
        }
    }
}
