//! `perigee profile` as a process, and what it hands in.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use perigee_loadtest::process::{LOOK_AGAIN, Running, Signal, poll_for};
use perigee_loadtest::scenario::gateway_binary;
use tempfile::TempDir;

use crate::cost;
use crate::folded::Folded;
use crate::pprof::Pprof;
use crate::workload::SOON;

/// Longest time after the capture until its file is written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);
/// Time without a new hook after which there will be no more.
const QUIET: Duration = Duration::from_millis(200);

/// What to capture.
#[derive(Clone, Copy)]
pub(crate) struct Plan<'a> {
    /// As on the command line, like `--pid 1`.
    pub options: &'a [&'a str],
    pub seconds: u32,
    /// Samples a second of each CPU; none for waits.
    pub rate: Option<u32>,
}

/// A capture under way.
pub(crate) struct Capture {
    running: Running,
    directory: TempDir,
    pub seconds: u32,
}

/// A capture that has ended well.
pub(crate) struct Captured {
    directory: TempDir,
    /// Samples, or waits.
    pub samples: u64,
    pub lost: u64,
    pub incomplete: u64,
    /// The last line it has printed.
    pub closing: String,
}

impl Plan<'_> {
    /// Starts it; the file will have this extension.
    pub(crate) fn start(self, extension: &str) -> Capture {
        let mut command = Command::new(gateway_binary().unwrap());
        self.start_by(&mut command, extension)
    }

    /// The same by a command that ends with the path of `perigee`.
    pub(crate) fn start_by(self, command: &mut Command, extension: &str) -> Capture {
        let directory = tempfile::tempdir().unwrap();
        let Self {
            options,
            seconds,
            rate,
        } = self;
        command.arg("profile").args(options);
        command.args(["--seconds", &seconds.to_string()]);
        if let Some(rate) = rate {
            command.args(["--rate", &rate.to_string()]);
        }
        command
            .arg("-o")
            .arg(directory.path().join(format!("profile.{extension}")));
        let running = Running::start("perigee profile", command).unwrap();
        Capture {
            running,
            directory,
            seconds,
        }
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Captured {
        self.start("folded").end()
    }
}

impl Capture {
    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }

    /// Waits until its hooks are in place.
    pub(crate) fn await_attached(&mut self) {
        let mut seen = (0, Instant::now());
        poll_for("the hooks of perigee profile", SOON, || {
            assert!(!self.has_ended(), "{}", self.running.errors());
            let hooks = cost::hooks(self.id());
            if hooks != seen.0 {
                seen = (hooks, Instant::now());
            }
            Ok((hooks > 0 && seen.1.elapsed() > QUIET).then_some(()))
        })
        .unwrap();
    }

    /// Calls `look` with its process id until that says that it has seen enough, or the capture ends.
    pub(crate) fn watch(&mut self, every: Duration, mut look: impl FnMut(u32) -> bool) {
        while !self.has_ended() && !look(self.id()) {
            std::thread::sleep(every.max(LOOK_AGAIN));
        }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.running.ended().unwrap().is_some()
    }

    pub(crate) fn kill(&mut self) {
        self.running.kill();
    }

    /// Ends it before its time.
    pub(crate) fn interrupt(self) -> Captured {
        self.running.signal(Signal::TERM).unwrap();
        self.end()
    }

    /// Waits for its file; fails if it says that it could not do what was asked.
    pub(crate) fn end(mut self) -> Captured {
        let within = Duration::from_secs(u64::from(self.seconds)) + WRITTEN_WITHIN;
        let status = self.running.wait(within).unwrap();
        let said = [self.running.lines().join("\n"), self.running.errors()].join("\n");
        assert!(status.success(), "{status}: {said}");
        let (closing, [samples, lost, incomplete]) =
            closing_line(&said).unwrap_or_else(|| panic!("no closing line: {said}"));
        Captured {
            directory: self.directory,
            samples,
            lost,
            incomplete,
            closing,
        }
    }

    /// Waits for an end without success, and returns what it says.
    pub(crate) fn refusal(mut self) -> String {
        let within = Duration::from_secs(u64::from(self.seconds)) + WRITTEN_WITHIN;
        let status = self.running.wait(within).unwrap();
        assert!(!status.success(), "{}", self.running.errors());
        self.running.errors()
    }
}

impl Captured {
    pub(crate) fn file(&self, extension: &str) -> PathBuf {
        self.directory.path().join(format!("profile.{extension}"))
    }

    pub(crate) fn folded(&self) -> Folded {
        Folded::read(&self.file("folded"))
    }

    pub(crate) fn pprof(&self) -> Pprof {
        Pprof::read(&self.file("pb.gz"))
    }

    pub(crate) fn assert_complete(&self) {
        let Self {
            samples,
            lost,
            incomplete,
            closing,
            ..
        } = self;
        assert!(
            *incomplete * 100 <= *samples,
            "more than 1 % incomplete: {closing}"
        );
        assert!(*lost * 1000 <= *samples, "more than 0.1 % lost: {closing}");
    }
}

/// The line `N samples, N lost, N incomplete stacks (x %), ...` with its numbers.
fn closing_line(said: &str) -> Option<(String, [u64; 3])> {
    let line = said
        .lines()
        .find(|line| line.contains(" incomplete stacks "))?;
    let mut numbers = line
        .split(", ")
        .map(|part| part.split(' ').next()?.parse().ok());
    let mut number = || numbers.next().flatten();
    Some((line.to_owned(), [number()?, number()?, number()?]))
}

#[test]
fn the_closing_line_is_read_among_other_lines() {
    let closing = "10432 waits, 2 lost, 7 incomplete stacks (0.07 %), overhead 0.2 % of a core (our CPU 8.0 ms)";
    let said = format!("warning: 3 lost, said before\n{closing}\n");
    assert_eq!(
        closing_line(&said),
        Some((closing.to_owned(), [10432, 2, 7]))
    );
    assert_eq!(closing_line("perigee: no such process"), None);
}
