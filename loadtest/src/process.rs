//! Child processes that never outlive their owner.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

/// Pause between two looks at something that cannot be waited for.
pub const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    output: Arc<Output>,
    errors: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

/// Lines that a child has printed.
#[derive(Debug, Default)]
struct Output {
    lines: Mutex<Lines>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    texts: Vec<String>,
    ended: bool,
}

impl Running {
    /// Starts `command`; `name` is used in errors.
    ///
    /// # Errors
    /// The program cannot be run.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("start {name}: {command:?}"))?;
        let (output, errors) = (Arc::<Output>::default(), Arc::<Output>::default());
        let mut readers = Vec::new();
        if let Some(pipe) = child.stdout.take() {
            readers.push(collect(pipe, Arc::clone(&output)));
        }
        if let Some(pipe) = child.stderr.take() {
            readers.push(collect(pipe, Arc::clone(&errors)));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            output,
            errors,
            readers,
        })
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first line of standard output that starts with `prefix`; returns its rest.
    ///
    /// # Errors
    /// The output ends or the time is up before there is one.
    pub fn line_after(&self, prefix: &str, within: Duration) -> Result<String> {
        let until = Instant::now() + within;
        let mut lines = self
            .output
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(rest) = lines
                .texts
                .iter()
                .find_map(|line| line.strip_prefix(prefix))
            {
                return Ok(rest.to_owned());
            }
            let left = until.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                drop(lines);
                bail!(
                    "{} has not printed {prefix:?} within {within:?}\n{}",
                    self.name,
                    self.errors()
                );
            }
            let waited = self.output.news.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Lines of standard output so far.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.output
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .texts
            .clone()
    }

    /// Standard error so far.
    #[must_use]
    pub fn errors(&self) -> String {
        self.errors
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .texts
            .join("\n")
    }

    /// Sends a signal; `Signal::STOP` and `Signal::CONT` stall and resume the child.
    ///
    /// # Errors
    /// The child is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.with_context(|| format!("{} has no process id", self.name))?;
        kill_process(pid, signal).with_context(|| format!("signal {signal:?} to {}", self.name))
    }

    /// Whether the child has ended.
    ///
    /// # Errors
    /// The child cannot be waited for.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits until the child has ended and its output is complete.
    ///
    /// # Errors
    /// It has not ended within `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.ended()? {
                for reader in self.readers.drain(..) {
                    // A panic of a reader would only mean missing lines, which the caller then sees.
                    drop(reader.join());
                }
                return Ok(status);
            }
            if Instant::now() >= until {
                bail!(
                    "{} has not ended within {within:?}\n{}",
                    self.name,
                    self.errors()
                );
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Ends the child at once and waits for it.
    pub fn kill(&mut self) {
        // Both fail only when the child is already gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn collect(pipe: impl Read + Send + 'static, into: Arc<Output>) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            into.lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .texts
                .push(line);
            into.news.notify_all();
        }
        into.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ended = true;
        into.news.notify_all();
    })
}

/// Calls `check` until it gives something.
///
/// # Errors
/// It has given nothing within `within`; says `what` was waited for.
pub fn poll_for<T>(
    what: &str,
    within: Duration,
    mut check: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let until = Instant::now() + within;
    loop {
        if let Some(found) = check()? {
            return Ok(found);
        }
        if Instant::now() >= until {
            bail!("{what}: not within {within:?}");
        }
        thread::sleep(LOOK_AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Running {
        Running::start("shell", Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn a_line_is_found_by_its_start_and_the_exit_code_is_seen() {
        let mut child = shell("echo noise; echo listening on here; exit 3");
        let within = Duration::from_secs(10);
        assert_eq!(child.line_after("listening on ", within).unwrap(), "here");
        assert_eq!(child.wait(within).unwrap().code(), Some(3));
        assert_eq!(child.lines(), ["noise", "listening on here"]);
    }

    #[test]
    fn a_child_that_ends_without_the_line_is_an_error_with_its_last_words() {
        let child = shell("echo no such option >&2");
        let error = child
            .line_after("listening on ", Duration::from_secs(10))
            .unwrap_err();
        assert!(error.to_string().contains("has not printed"), "{error}");
    }

    #[test]
    fn a_dropped_child_is_gone() {
        let child = shell("sleep 60");
        let pid = child.id();
        drop(child);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
