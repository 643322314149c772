//! A stand-in for an OAP node: `perigee sink`, and the demo's upstreams.
//!
//! It takes every method that we have definitions of, decodes what arrives as an OAP would, answers
//! as an OAP was seen to answer (`protocols.md`, "seen on a real OAP"), and keeps books that tests
//! read: through [`SinkHandle`] in one process, through the control address from another. It can be
//! told to misbehave. One sink is one thread: several of them in a process do not disturb each other.
//!
//! - `server`: sockets, connections, and what every call has in common.
//! - `call`: the life of one call. `upload`: profiler files, which come in chunks.
//! - `decode`: methods, and what is filed of their messages under which name, as [`state::Id`] has
//!   it. `answer`: what a good call gets.
//! - [`state`]: the books. [`fault`]: misbehaviour. `control`: HTTP.
//! - [`task`]: tasks for agents. `processes`: what eBPF agents run. [`stacks`]: what they profile.

use std::fmt;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

mod answer;
mod call;
mod control;
mod decode;
pub mod fault;
mod processes;
mod server;
mod shared;
pub mod stacks;
pub mod state;
pub mod task;
mod upload;

#[cfg(test)]
mod tests;

use fault::Fault;
pub(crate) use server::BytesCodec;
use shared::Shared;
use stacks::Stacks;
use state::{Id, State};
use task::Task;

/// Arguments of `perigee sink`.
#[derive(Clone, Debug, clap::Args)]
pub struct SinkArgs {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:11800")]
    pub listen: SocketAddr,
    /// Address of the control API (plain HTTP, JSON)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub control: SocketAddr,
    /// Append a line for each entry that an OAP would file: method, service, instance, id
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Refuse calls whose `authentication` is not this
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// Most ids to keep for `/ids`
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub keep_ids: usize,
    /// End after this time
    #[arg(long, value_name = "SECONDS")]
    pub max_seconds: Option<u64>,
    /// Hand out this task, as in POST /task; may be repeated
    #[arg(long, value_name = "JSON")]
    pub task: Vec<Task>,
    /// How to misbehave
    #[command(flatten)]
    pub fault: Fault,
}

/// How a sink starts.
#[derive(Clone, Debug)]
pub struct SinkOptions {
    /// Where to listen for gRPC. Default: a free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// Where to serve the control API. Default: nowhere.
    pub control: Option<SocketAddr>,
    /// File to append a line to for each entry that an OAP would file.
    pub record: Option<PathBuf>,
    /// What `authentication` has to be.
    pub token: Option<String>,
    /// Most ids to keep; 0, the default, keeps none.
    pub keep_ids: usize,
    /// How to misbehave from the start.
    pub fault: Fault,
}

impl Default for SinkOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: None,
            record: None,
            token: None,
            keep_ids: 0,
            fault: Fault::default(),
        }
    }
}

/// Why a sink did not start or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The record cannot be opened.
    #[error("cannot open record {}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The built-in descriptors do not parse.
    #[error("built-in descriptors do not parse")]
    Descriptors(#[source] prost_reflect::DescriptorError),
    /// Thread, runtime or signal handler.
    #[error("cannot run")]
    Run(#[source] std::io::Error),
}

/// A stand-in for an OAP node.
#[derive(Debug)]
pub struct Sink;

impl Sink {
    /// Listens, and serves on a thread of its own until the handle is shut down or dropped.
    ///
    /// # Errors
    /// When an address, the record or the thread cannot be had.
    pub fn start(options: SinkOptions) -> Result<SinkHandle, SinkError> {
        let (grpc, listen) = bind(options.listen)?;
        let control = options.control.map(bind).transpose()?;
        let control_address = control.as_ref().map(|(_, address)| *address);
        let control = control.map(|(listener, _)| listener);
        let shared = Arc::new(Shared::new(options)?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(SinkError::Run)?;
        let (stop, stopped) = oneshot::channel();
        let serving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(format!("sink-{}", listen.port()))
            .spawn(move || {
                let work = server::run(grpc, control, serving);
                // Ending drops the runtime and with it every connection: a plain EOF, which is
                // also how an OAP ends.
                runtime.block_on(async {
                    tokio::select! {
                        result = work => result,
                        _ = stopped => Ok(()),
                    }
                })
            })
            .map_err(SinkError::Run)?;
        Ok(SinkHandle {
            listen,
            control: control_address,
            shared,
            running: Some((stop, thread)),
        })
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), SinkError> {
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    listen().map_err(|source| SinkError::Listen { address, source })
}

/// A running sink. Dropping it ends the sink.
pub struct SinkHandle {
    listen: SocketAddr,
    control: Option<SocketAddr>,
    shared: Arc<Shared>,
    running: Option<(oneshot::Sender<()>, JoinHandle<std::io::Result<()>>)>,
}

impl SinkHandle {
    /// Where it takes calls.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where it is controlled.
    pub fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// The books as they are now.
    pub fn snapshot(&self) -> State {
        self.shared.snapshot()
    }

    /// The entries filed on a path, in order of arrival; empty unless ids are kept.
    pub fn ids(&self, path: &str) -> Vec<Id> {
        self.shared.ids(path)
    }

    /// What eBPF profiling tasks have yielded.
    pub fn stacks(&self) -> Stacks {
        self.shared.stacks()
    }

    /// Waits until the books satisfy the condition, and returns them.
    ///
    /// cancel-safe: yes. There is no deadline of its own.
    pub async fn wait_until(&self, condition: impl Fn(&State) -> bool) -> State {
        self.shared.wait_until(condition).await
    }

    /// Waits until the stacks satisfy the condition, and returns them.
    ///
    /// cancel-safe: yes. There is no deadline of its own.
    pub async fn wait_for_stacks(&self, condition: impl Fn(&Stacks) -> bool) -> Stacks {
        self.shared.wait_for_stacks(condition).await
    }

    /// Misbehaves from now on as told, and in no other way; the default fault lifts all.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.faults.set(fault);
    }

    /// Hands the task out to everyone who asks for one of its kind, once each; an eBPF task as [`Task`]
    /// says.
    pub fn hand_out(&self, task: Task) {
        self.shared.tasks.add(task);
    }

    /// Forgets what was counted and all tasks; the fault stays, and which processes there are.
    pub fn reset(&self) {
        self.shared.reset();
    }

    /// Closes everything and waits for the thread's end.
    ///
    /// # Errors
    /// When serving had failed before.
    pub fn shutdown(mut self) -> Result<(), SinkError> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), SinkError> {
        let Some((stop, thread)) = self.running.take() else {
            return Ok(());
        };
        // A thread that has ended by itself no longer listens: its result says why.
        let _ = stop.send(());
        match thread.join() {
            Ok(result) => result.map_err(SinkError::Run),
            Err(_) => Err(SinkError::Run(std::io::Error::other(
                "sink thread panicked",
            ))),
        }
    }
}

impl Drop for SinkHandle {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(listen = %self.listen, ?error, "sink did not end well");
        }
    }
}

impl fmt::Debug for SinkHandle {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SinkHandle")
            .field("listen", &self.listen)
            .field("control", &self.control)
            .finish_non_exhaustive()
    }
}

/// Runs `perigee sink` until SIGINT, SIGTERM or the time given.
///
/// Prints `listening on ADDR` and `control on ADDR` to stdout once both are open.
///
/// # Errors
/// When the sink cannot start.
pub fn run(args: &SinkArgs) -> Result<(), SinkError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(SinkError::Run)?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(SinkError::Run)?;
        let handle = Sink::start(SinkOptions {
            listen: args.listen,
            control: Some(args.control),
            record: args.record.clone(),
            token: args.token.clone(),
            keep_ids: args.keep_ids,
            fault: args.fault.clone(),
        })?;
        for task in &args.task {
            handle.hand_out(task.clone());
        }
        announce(&handle).map_err(SinkError::Run)?;
        let limit = args.max_seconds.map(Duration::from_secs);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
            () = tokio::time::sleep(limit.unwrap_or_default()), if limit.is_some() => {}
        }
        handle.shutdown()
    })
}

fn announce(handle: &SinkHandle) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {}", handle.listen)?;
    if let Some(control) = handle.control {
        writeln!(out, "control on {control}")?;
    }
    out.flush()
}
