//! The gateway's side of `perigee capture`: a child process that is started, and started again.
//!
//! The gateway holds no privilege for it and does not depend on it: whatever the child does, queues,
//! health and readiness stay as they are.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info, warn};

use super::parent;
use super::restarts::Restarts;
use super::switch::{Problems, Switch};
use crate::telemetry::books::Books;

/// This program, also where its file has been replaced.
const OURSELVES: &str = "/proc/self/exe";

/// Orders that nobody has looked at yet. More than a person sends.
const ORDERS: usize = 16;

/// Longest line of the child's standard error that is kept in one piece.
const LONGEST_LINE: u64 = 4096;

/// Time for the last words of a child that has ended.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What the child is started with.
#[derive(Clone, Debug)]
pub struct ChildOptions {
    /// The gateway's configuration file; `None`: the child finds it as the gateway did.
    pub config: Option<PathBuf>,
    /// Where the gateway listens, unless the file names an address for the child.
    pub gateway: Option<String>,
    /// What the file says of the off-switch.
    pub paused: bool,
}

/// Keeps the child running until stopped.
#[derive(Debug)]
pub struct Supervisor {
    orders: mpsc::Sender<Order>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
enum Order {
    /// Turn the off-switch over.
    Toggle,
    /// End the child within this time, and be done.
    Stop(Duration),
}

impl Supervisor {
    /// Starts the child. To be called on a thread that lives as long as the process: the kernel kills
    /// the child when the thread that started it ends.
    pub fn start(options: &ChildOptions, books: Arc<Books>) -> Self {
        books.capture.want();
        let (orders, received) = mpsc::channel(ORDERS);
        let switch = Switch::new(options.paused, None);
        let mut following = JoinSet::new();
        if let Some(path) = options.config.clone() {
            // The child looks at the same file, and says what is wrong with it.
            following.spawn(switch.clone().follow(path, Problems::LeftToOthers));
        }
        let run = Run {
            arguments: arguments(options),
            switch,
            _following: following,
            books,
            orders: received,
        };
        Self {
            orders,
            task: tokio::spawn(run.run()),
        }
    }

    /// Turns the off-switch over, for the child that there is and for all that follow.
    pub fn toggle(&self) {
        if self.orders.try_send(Order::Toggle).is_err() {
            warn!("SIGUSR1 ignored: too many of them wait");
        }
    }

    /// Tells the child to end, and ends it after `grace`.
    pub async fn stop(self, grace: Duration) {
        if self.orders.send(Order::Stop(grace)).await.is_ok() {
            // Its panic has been reported by then.
            let _ = self.task.await;
        }
    }
}

fn arguments(options: &ChildOptions) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["capture".into()];
    if let Some(path) = &options.config {
        arguments.extend(["--config".into(), path.into()]);
    }
    if let Some(address) = &options.gateway {
        arguments.extend(["--gateway".into(), address.into()]);
    }
    arguments.extend(["--child-of".into(), std::process::id().to_string().into()]);
    arguments
}

/// How a child's life ended.
enum Ended {
    /// It was told to.
    AsTold,
    /// By itself.
    Itself(String),
}

struct Run {
    arguments: Vec<OsString>,
    /// As the child's. It outlives each of them, and counts while there is none.
    switch: Switch,
    /// Ends when this is dropped.
    _following: JoinSet<()>,
    books: Arc<Books>,
    orders: mpsc::Receiver<Order>,
}

impl Run {
    async fn run(mut self) {
        let mut restarts = Restarts::new();
        let mut rng = Rng::new();
        loop {
            let began = Instant::now();
            let ended = match spawn(&self.arguments, self.switch.told()) {
                Ok(child) => self.attend(child).await,
                Err(error) => Ended::Itself(format!("cannot be started: {error}")),
            };
            let Ended::Itself(reason) = ended else { return };
            let ran = began.elapsed();
            let pause = restarts.pause(ran, &mut rng);
            let ran_seconds = ran.as_secs();
            error!(reason, ran_seconds, again_in = ?pause, "capture has ended");
            if self.is_stopped_within(pause).await {
                return;
            }
            self.books.capture.restarts.add(1);
        }
    }

    /// Stays with the child until it has ended.
    async fn attend(&mut self, mut child: Child) -> Ended {
        let pid = child.id();
        info!(pid, "capture started");
        self.books.capture.set_up(true);
        let mut stdin = child.stdin.take();
        let words = child
            .stderr
            .take()
            .map(|stderr| tokio::spawn(relay(stderr)));
        let ended = loop {
            tokio::select! {
                status = child.wait() => break Err(status),
                order = self.orders.recv() => match order {
                    Some(Order::Toggle) => {
                        let paused = self.switch.toggle();
                        tell(&mut stdin, paused).await;
                    }
                    Some(Order::Stop(grace)) => break Ok(grace),
                    None => break Ok(Duration::ZERO),
                },
            }
        };
        let ended = match ended {
            Ok(grace) => {
                end(child, grace).await;
                Ended::AsTold
            }
            Err(status) => Ended::Itself(reason(status, words).await),
        };
        self.books.capture.set_up(false);
        ended
    }

    async fn is_stopped_within(&mut self, pause: Duration) -> bool {
        let stop = async {
            // The next child will be told.
            while let Some(Order::Toggle) = self.orders.recv().await {
                self.switch.toggle();
                self.switch.log();
            }
        };
        tokio::time::timeout(pause, stop).await.is_ok()
    }
}

fn spawn(arguments: &[OsString], paused: Option<bool>) -> std::io::Result<Child> {
    // Standard output is the log, which is one for both; lines are whole.
    Command::new(OURSELVES)
        .arg0("perigee")
        .args(arguments)
        .args(paused.map(|paused| format!("--paused={paused}")))
        // Orders about the off-switch.
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        // Of its own: an interrupt from the terminal is for the gateway, which passes it on.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Says how the off-switch stands now.
async fn tell(stdin: &mut Option<ChildStdin>, paused: bool) {
    let Some(stdin) = stdin else { return };
    if let Err(error) = stdin.write_all(parent::line(paused).as_bytes()).await {
        warn!(%error, "cannot tell capture");
    }
}

fn send(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let Some(pid) = pid.and_then(Pid::from_raw) else {
        return;
    };
    if let Err(error) = kill_process(pid, signal) {
        warn!(%error, ?signal, "cannot tell capture");
    }
}

async fn end(mut child: Child, grace: Duration) {
    send(&child, Signal::TERM);
    match tokio::time::timeout(grace, child.wait()).await {
        Ok(_) => info!("capture stopped"),
        Err(_) => {
            warn!(?grace, "capture does not stop, killed");
            // It may have ended in between.
            let _ = child.kill().await;
        }
    }
}

/// Why a child has ended, with the last line it wrote about that.
async fn reason(status: std::io::Result<ExitStatus>, words: Option<JoinHandle<String>>) -> String {
    let status = match status {
        Ok(status) => status.to_string(),
        Err(error) => format!("unknown: {error}"),
    };
    let last = match words {
        Some(words) => tokio::time::timeout(LAST_WORDS, words).await,
        None => return status,
    };
    match last {
        Ok(Ok(line)) if !line.is_empty() => format!("{status}: {line}"),
        _ => status,
    }
}

/// Writes what stands in the child's standard error into our log: what went wrong before it had a log,
/// and panics. Gives the last line.
async fn relay(stderr: ChildStderr) -> String {
    let mut lines = BufReader::new(stderr);
    let mut last = String::new();
    loop {
        let mut line = Vec::new();
        match (&mut lines)
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .await
        {
            Ok(read) if read > 0 => {
                last = String::from_utf8_lossy(&line).trim_end().to_owned();
                warn!("capture: {last}");
            }
            _ => return last,
        }
    }
}
