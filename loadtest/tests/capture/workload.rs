//! The programs of `loadtest/capture`: building, starting, and what they say about themselves.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use std::{env, fs};

use perigee_loadtest::process::{Running, Signal, poll_for};

/// Longest wait for a program to begin or to say something.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A file of `loadtest/capture`.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("capture")
        .join(name)
}

/// The program of this name, built if it is not there yet; `None`, with a word on standard output, where its
/// compiler is missing.
pub(crate) fn built(name: &str) -> Option<PathBuf> {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    let directory = DIRECTORY.get_or_init(directory);
    let program = directory.join(name);
    if program.is_file() {
        return Some(program);
    }
    let output = Command::new(source("build"))
        .arg(name)
        .arg(directory)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => Some(program),
        Some(3) => {
            println!("skipped: {}", said.trim());
            None
        }
        _ => panic!(
            "build {name}: {said}{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// A directory for this state of the sources: it outlives checkouts, as compiling takes longer than measuring.
fn directory() -> PathBuf {
    let chosen = env::var_os("PERIGEE_CAPTURE_DIR").map(PathBuf::from);
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cache/perigee-capture"));
    let parent = chosen
        .or_else(home)
        .unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
    let mut files: Vec<_> = fs::read_dir(source(""))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files.iter().filter(|path| path.is_file()) {
        hasher.write(&fs::read(file).unwrap());
    }
    parent.join(format!("{:016x}", hasher.finish()))
}

/// A CPython that can name its functions: 3.12 or later.
pub(crate) fn python_with_names() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<_> = env::split_paths(&path).collect();
    // Past the shims: what they start is a shell first.
    if let Some(home) = env::var_os("HOME") {
        let versions = fs::read_dir(PathBuf::from(home).join(".pyenv/versions"));
        let mut versions: Vec<_> = versions
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        versions.sort();
        directories.splice(
            0..0,
            versions.into_iter().map(|version| version.join("bin")),
        );
    }
    let found = directories.iter().find_map(|directory| {
        let minors = (12..20).map(|minor| directory.join(format!("python3.{minor}")));
        let real = |path: &PathBuf| path.is_file() && !path.to_string_lossy().contains("/shims/");
        minors.into_iter().find(real)
    });
    if found.is_none() {
        println!("skipped: no Python 3.12 or later");
    }
    found
}

/// A running program that says `ready` once it can be profiled.
pub(crate) struct Workload(Running);

impl Workload {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(command: &mut Command) -> Self {
        let running = Running::start("workload", command).unwrap();
        running.line_after("ready", SOON).unwrap();
        Self(running)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Lets a program that waits for it begin.
    pub(crate) fn begin(&self) {
        self.0.signal(Signal::USR1).unwrap();
    }

    /// The numbers of the last `truth` it has told; waits for the first.
    pub(crate) fn truth(&self) -> Vec<f64> {
        self.0.line_after("truth ", SOON).unwrap();
        let lines = self.0.lines();
        let last = lines
            .iter()
            .rev()
            .find_map(|line| line.strip_prefix("truth "));
        let numbers = last
            .unwrap()
            .split(' ')
            .map(|number| number.parse().unwrap());
        numbers.collect()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.ended().unwrap().is_some()
    }

    /// The share of the first of the two numbers it tells.
    pub(crate) fn hot_share(&self) -> f64 {
        let truth = self.truth();
        truth[0] / (truth[0] + truth[1])
    }

    /// Waits until it has printed a truth of its own after the present one.
    pub(crate) fn await_more(&self) {
        let before = self.truth();
        poll_for("a new truth", SOON, || {
            Ok((self.truth() != before).then_some(()))
        })
        .unwrap();
    }
}

impl Drop for Workload {
    /// Runtimes that name their code leave the file behind.
    fn drop(&mut self) {
        let _ = fs::remove_file(format!("/tmp/perf-{}.map", self.id()));
    }
}
