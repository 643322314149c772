//! For tests: processes that are really there, and waiting for what they do.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::facts::{Facts, Proc};

/// Looks again and again until it is so. `/proc` has no events to wait on.
#[track_caller]
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "waited 30 s until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A process that ends with the test. Its standard input is open as long as this is.
pub(super) struct Running(Child);

impl Running {
    pub(super) fn new(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::piped()).spawn().unwrap())
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// What it is as soon as it is what is expected: a child is at first a copy of its parent, and for a
    /// moment of its exec without arguments.
    #[track_caller]
    pub(super) fn facts(&self, is_expected: impl Fn(&Facts) -> bool) -> Facts {
        let mut facts = Facts::default();
        until("the process is what is expected", || {
            facts = Proc::default().facts(self.pid()).unwrap();
            is_expected(&facts) && !facts.arguments.is_empty()
        });
        facts
    }

    pub(super) fn write(&mut self, text: &str) {
        let input = self.0.stdin.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
    }

    /// Closes its standard input, for which the shell's `read` waits.
    pub(super) fn go_on(&mut self) {
        drop(self.0.stdin.take());
    }

    pub(super) fn end(mut self) {
        self.kill();
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.kill();
        }
    }
}

/// A `/proc` of files, for what this machine does not have.
pub(super) struct Pretended(tempfile::TempDir);

impl Pretended {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("sys/kernel")).unwrap();
        fs::write(root.path().join("sys/kernel/hostname"), "node-1\n").unwrap();
        Self(root)
    }

    pub(super) fn root(&self) -> &Path {
        self.0.path()
    }

    /// A process with this command line and control group.
    pub(super) fn run(&self, pid: u32, started: u64, arguments: &[&str], cgroup: &str) {
        let comm = arguments.first().and_then(|it| it.rsplit('/').next());
        let stack = arguments.concat().len();
        let stat = format!(
            "{pid} ({}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {started} 1 1 1 4096 8192 {stack}",
            comm.unwrap_or_default()
        );
        self.write(pid, "stat", &stat);
        self.write(pid, "status", "Uid:\t0\t0\t0\t0\nNSpid:\t7\t1\n");
        self.write(
            pid,
            "cmdline",
            &arguments
                .iter()
                .map(|it| format!("{it}\0"))
                .collect::<String>(),
        );
        self.write(pid, "cgroup", cgroup);
    }

    pub(super) fn write(&self, pid: u32, name: &str, text: &str) {
        let directory = self.root().join(pid.to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
    }

    pub(super) fn end(&self, pid: u32) {
        fs::remove_dir_all(self.root().join(pid.to_string())).unwrap();
    }
}
