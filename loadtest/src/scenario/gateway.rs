//! `perigee start` as a process, with a configuration in Satellite's form.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{GatewayConfig, READY_WITHIN, Response, http};
use crate::process::{self, Running, Signal};

/// A running gateway.
#[derive(Debug)]
pub struct GatewayProcess {
    /// The configuration that it runs with.
    pub config: GatewayConfig,
    running: Running,
    _directory: TempDir,
}

impl GatewayProcess {
    /// Starts a gateway and waits until it accepts connections.
    ///
    /// # Errors
    /// It ends, or does not listen in time.
    pub fn start(binary: &Path, config: GatewayConfig) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("perigee.yaml");
        std::fs::write(&file, config.to_yaml())?;
        let mut command = pinned(binary, config.core);
        if let Some(limits) = config.open_files {
            command = bounded(limits, &command);
        }
        let mut command = within(&config.groups, command);
        command.arg("start").arg("-c").arg(&file);
        if let Some(seconds) = config.hook_seconds {
            command.arg("-t").arg(seconds.to_string());
        }
        let mut running = Running::start("perigee start", &mut command)?;
        process::poll_for("the gateway's listener", READY_WITHIN, || {
            if let Some(status) = running.ended()? {
                let said = running.lines().join("\n");
                bail!(
                    "perigee start ended with {status}\n{said}\n{}",
                    running.errors()
                );
            }
            Ok(TcpStream::connect(config.address).ok())
        })?;
        Ok(Self {
            config,
            running,
            _directory: directory,
        })
    }

    /// Where agents connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.config.address
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// `GET` of the telemetry address: `/metrics`, `/healthz`, `/readyz`.
    ///
    /// # Errors
    /// No answer.
    pub fn get(&self, path: &str) -> Result<Response> {
        http::get(self.config.telemetry, path)
    }

    /// The sum of a metric's values over its label sets that contain all of `labels`.
    ///
    /// # Errors
    /// The metrics cannot be fetched, or none matches.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let text = self.get("/metrics")?.body;
        let values = text.lines().filter_map(|line| {
            let rest = line
                .strip_prefix(name)
                .filter(|rest| rest.starts_with(['{', ' ']))?;
            let (set, value) = rest.rsplit_once(' ')?;
            labels
                .iter()
                .all(|label| set.contains(label))
                .then(|| value.parse::<f64>().ok())?
        });
        values
            .reduce(|sum, value| sum + value)
            .with_context(|| format!("no metric {name}{labels:?}"))
    }

    /// A metric of the node at this address.
    ///
    /// # Errors
    /// As [`metric`](Self::metric).
    pub fn node_metric(&self, name: &str, node: SocketAddr) -> Result<f64> {
        self.metric(name, &[&format!("node=\"{node}\"")])
    }

    /// Waits until a metric satisfies `condition`, and returns it.
    ///
    /// # Errors
    /// It does not within `within`; the error says what it was.
    pub fn await_metric(
        &self,
        name: &str,
        labels: &[&str],
        within: Duration,
        condition: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        let mut last = None;
        process::poll_for(name, within, || {
            last = self.metric(name, labels).ok();
            Ok(last.filter(|value| condition(*value)))
        })
        .with_context(|| format!("{name}{labels:?} is {last:?}\n{}", self.log()))
    }

    /// Waits for a line of its log that contains `text`.
    ///
    /// # Errors
    /// There is none within `within`.
    pub fn await_log(&self, text: &str, within: Duration) -> Result<()> {
        process::poll_for(text, within, || Ok(self.log().contains(text).then_some(())))
            .with_context(|| self.log())
    }

    /// What it has said at its end.
    ///
    /// # Errors
    /// It has not said it, or not as expected.
    pub fn stopped(&self) -> Result<Stopped> {
        let log = self.log();
        let (_, line) = log
            .rsplit_once("stopped: ")
            .with_context(|| format!("no line of the end\n{log}"))?;
        Stopped::parse(line.lines().next().unwrap_or_default())
    }

    /// Everything that it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        format!(
            "{}\n{}",
            self.running.lines().join("\n"),
            self.running.errors()
        )
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// It has not ended within `within`.
    pub fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.running.signal(Signal::TERM)?;
        self.running.wait(within)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.running.kill();
    }
}

/// The numbers in the gateway's last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Messages that arrived.
    pub received: u64,
    /// Messages that an OAP confirmed.
    pub delivered: u64,
    /// Messages that were let go before the end.
    pub dropped: u64,
    /// Messages that were left at the end.
    pub not_delivered: u64,
    /// The rest of the line: what was left, by pipe.
    pub by_pipe: String,
}

impl Stopped {
    fn parse(line: &str) -> Result<Self> {
        let (numbers, by_pipe) = line.split_once(": ").unwrap_or((line, ""));
        let number = |name: &str| {
            let value = numbers
                .split(", ")
                .find_map(|part| part.strip_prefix(name)?.strip_prefix(' '));
            let value = value.with_context(|| format!("no {name} in {line:?}"))?;
            Ok::<u64, anyhow::Error>(value.parse()?)
        };
        Ok(Self {
            received: number("received")?,
            delivered: number("delivered")?,
            dropped: number("dropped")?,
            not_delivered: number("not delivered")?,
            by_pipe: by_pipe.to_owned(),
        })
    }
}

/// `command`, begun in these control groups, so that nothing of it has been outside.
fn within(groups: &[PathBuf], command: Command) -> Command {
    const JOIN: &str = r#"
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done
shift
exec "$@""#;
    if groups.is_empty() {
        return command;
    }
    let mut joining = Command::new("sh");
    joining.args(["-c", JOIN, "sh"]).args(groups).arg("--");
    joining.arg(command.get_program()).args(command.get_args());
    joining
}

/// `command`, with this soft and hard limit of open files.
fn bounded((soft, hard): (u32, u32), command: &Command) -> Command {
    const BOUND: &str = r#"ulimit -S -n "$1" && ulimit -H -n "$2" && shift 2 && exec "$@""#;
    let mut bounding = Command::new("sh");
    bounding.args(["-c", BOUND, "sh"]);
    bounding.args([soft, hard].map(|limit| limit.to_string()));
    bounding.arg(command.get_program()).args(command.get_args());
    bounding
}

/// `program`, on one core if so wished.
pub(crate) fn pinned(program: &Path, core: Option<usize>) -> Command {
    let Some(core) = core else {
        return Command::new(program);
    };
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_read_with_and_without_losses() {
        let none = "received 5, delivered 5, dropped 0, not delivered 0";
        assert_eq!(Stopped::parse(none).unwrap().delivered, 5);
        let some = "received 9, delivered 2, dropped 3, not delivered 4: a 1, b 3";
        let expected = Stopped {
            received: 9,
            delivered: 2,
            dropped: 3,
            not_delivered: 4,
            by_pipe: "a 1, b 3".to_owned(),
        };
        assert_eq!(Stopped::parse(some).unwrap(), expected);
    }
}
