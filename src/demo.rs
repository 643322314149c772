//! `perigee demo`: everything at once in one process, and the proof that nothing got lost.
//!
//! Three sinks stand in for OAP nodes, the gateway runs with the embedded configuration, and
//! synthetic agents of every protocol talk to it over real sockets. In the end three independent
//! counts have to agree.
//!
//! - `payload`: what agents send, for each row of the table. `client`, `agents`: who sends it.
//! - `sides`: collects the counts of agents, gateway and sinks. `reconcile`: compares them.
//! - `table`: what is printed.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::{App, StartError};
use crate::config::settings::Settings;
use crate::config::{Config, ConfigErrors, EMBEDDED, Host, Source};
use crate::sink::{Sink, SinkError, SinkHandle, SinkOptions};

mod agents;
mod client;
mod payload;
mod reconcile;
mod sides;
mod table;

use agents::Fleet;
use reconcile::NODES;
use sides::Gateway;
use table::Screen;

/// For agents to finish their calls.
const FINISH: Duration = Duration::from_secs(10);

/// For the gateway to connect, and in the end to empty its queues.
const PATIENCE: Duration = Duration::from_secs(20);

/// The gateway's own time to stop.
const HOOK: Duration = Duration::from_secs(5);

const LOOK: Duration = Duration::from_millis(5);

/// Arguments of `perigee demo`.
#[derive(clap::Args, Clone, Debug)]
pub struct DemoArgs {
    /// How long the agents send
    #[arg(long, value_name = "N", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
}

/// Why the demo did not get to compare anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A stand-in for an OAP node.
    #[error("sink: {0}")]
    Sink(#[from] SinkError),
    /// The embedded configuration.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] StartError),
    /// The gateway did not get connected to all nodes.
    #[error("the gateway is connected to {ready} of {NODES} nodes after {PATIENCE:?}")]
    Nodes {
        /// Nodes that are connected.
        ready: usize,
    },
    /// Agents could not connect.
    #[error("agents cannot connect to {address}: {source}")]
    Connect {
        /// The gateway's.
        address: SocketAddr,
        /// Why.
        source: tonic::transport::Error,
    },
    /// Runtime or output.
    #[error("cannot run: {0}")]
    Run(#[from] std::io::Error),
}

/// Runs the demo; success when everything adds up.
///
/// # Errors
/// Something did not start.
pub fn run(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let code = runtime.block_on(demonstrate(Duration::from_secs(args.seconds)));
    runtime.shutdown_background();
    code
}

async fn demonstrate(time: Duration) -> Result<ExitCode, DemoError> {
    let sinks = [start_sink()?, start_sink()?, start_sink()?];
    let began = Instant::now();
    let settings = settings(&sinks)?;
    let workers = settings.limits.workers;
    let pipes = settings.pipes.iter().map(|pipe| pipe.protocol).collect();
    let app = App::start(settings).await?;
    let listening = began.elapsed();
    let gateway = Gateway {
        pipes,
        books: Arc::clone(&app.books),
    };
    until_connected(&gateway, workers).await?;
    say(&format!(
        "gateway on {} with {workers} workers, listening {:.1} ms after its start\n\
         {NODES} nodes that stand in for OAP: {}\n\
         resident memory at rest, stand-ins included: {}\n",
        app.address,
        listening.as_secs_f64() * 1000.0,
        sinks
            .each_ref()
            .map(|sink| sink.listen().to_string())
            .join(", "),
        resident_memory(),
    ))?;
    let fleet = Fleet::start(app.address).await;
    let fleet = fleet.map_err(|source| DemoError::Connect {
        address: app.address,
        source,
    })?;
    watch(&fleet, &gateway, &sinks, time).await?;
    let counts = fleet.stop(FINISH).await;
    wait_until(|| gateway.books.totals().outstanding() == 0).await;
    let report = app.stop(HOOK).await;
    say(&format!("{report}\n"))?;
    let outcome = sides::outcome(&counts, &gateway, &sides::snapshots(&sinks));
    say(&table::reconciliation(&outcome))?;
    for sink in sinks {
        sink.shutdown()?;
    }
    verdict(&outcome.differences())
}

fn start_sink() -> Result<SinkHandle, SinkError> {
    Sink::start(SinkOptions::default())
}

/// The embedded configuration with our addresses, and nothing from the real environment: a demo
/// shows the same everywhere.
fn settings(sinks: &[SinkHandle; NODES]) -> Result<Settings, ConfigErrors> {
    let nodes = sinks.each_ref().map(|sink| sink.listen().to_string());
    let environment = |name: &str| match name {
        "SATELLITE_GRPC_CLIENT" => Some(nodes.join(",")),
        "SATELLITE_GRPC_ADDRESS" | "SATELLITE_TELEMETRY_PROMETHEUS_ADDRESS" => {
            Some("127.0.0.1:0".to_owned())
        }
        // Agents and stand-ins are in this process too.
        "SATELLITE_GRPC_ACCEPT_LIMIT_CPU_UTILIZATION" => Some("100".to_owned()),
        _ => None,
    };
    let host = Host::detect();
    Config::parse(EMBEDDED, Source::Embedded, &environment, &host).map(|config| config.settings)
}

/// Shares are only even among nodes that are there.
async fn until_connected(gateway: &Gateway, workers: usize) -> Result<(), DemoError> {
    let ready = || {
        let nodes = gateway.books.nodes();
        let connected = |connections: u64| connections >= workers as u64;
        let ready = nodes
            .iter()
            .filter(|(_, node)| connected(node.ready_connections.value()));
        ready.count()
    };
    wait_until(|| ready() == NODES).await;
    match ready() {
        NODES => Ok(()),
        ready => Err(DemoError::Nodes { ready }),
    }
}

/// Counters are what is waited for, and they tell nobody: they are looked at now and then.
async fn wait_until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() && Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
}

/// Shows the counts once a second until the time is over or somebody has seen enough.
async fn watch(
    fleet: &Fleet,
    gateway: &Gateway,
    sinks: &[SinkHandle; NODES],
    time: Duration,
) -> Result<(), DemoError> {
    let mut screen = Screen::new();
    let began = Instant::now();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.tick().await;
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    while began.elapsed() < time {
        tokio::select! {
            _ = seconds.tick() => {
                let lines = sides::lines(&fleet.counts, gateway, &sides::snapshots(sinks));
                screen.show(began.elapsed(), &lines)?;
            }
            _ = &mut interrupted => break,
        }
    }
    screen.finish()?;
    Ok(())
}

fn verdict(differences: &[String]) -> Result<ExitCode, DemoError> {
    if differences.is_empty() {
        say("the books add up: agents, gateway and nodes agree\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    for difference in differences {
        say(&format!("differs: {difference}\n"))?;
    }
    Ok(ExitCode::FAILURE)
}

fn resident_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.map_or("unknown".to_owned(), |kilobytes| {
        format!("{} MiB", kilobytes / 1024)
    })
}

fn say(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
