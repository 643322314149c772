//! The daemon: builds every part in the order of their dependencies and runs until told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use perigee_discovery_static::{Server, StaticDiscovery, SystemResolver};
use perigee_plugin_api::discovery::{Discovery, Endpoint, EndpointSet};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tracing::{error, info};

use crate::admin::{self, AdminState, Readiness};
use crate::balance;
use crate::config::settings::{Balance, Client, Settings};
use crate::engine::tls::TlsErrors;
use crate::engine::{Drain, FrontOptions, socket};
use crate::gateway::{Access, GatewayOptions};
use crate::limit::CpuWatch;
use crate::limit::sources::Sources;
use crate::listener::{Listener, Parting};
use crate::pipe::Pipes;
use crate::pipe::sender::SenderOptions;
use crate::telemetry::books::Books;
use crate::telemetry::exporter::Exporter;
use crate::upstream::ConnectOptions;
use crate::worker::{self, Phases, Worker, WorkerOptions};

mod certificates;
mod drain;

use certificates::{Certificates, Watcher};
pub use drain::Report;

/// Longest time until a node has spoken.
const CONNECT: Duration = Duration::from_secs(5);

/// Unread bytes a stream. Larger ones only let received frames fall out of the cache
/// (`performance.md` 3.4, where 64 and 128 KiB cost the same CPU). Of the two this is the one with
/// which 400 paused streams stay within 64 MB besides the budget.
const STREAM_WINDOW: u32 = 64 * 1024;

/// Unread bytes a connection: room for sixteen paused streams beside the calls that go on.
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address that cannot be bound.
    #[error("{key}: cannot listen on {address}: {source}")]
    Listen {
        /// The option.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Certificates or keys.
    #[error("{0}")]
    Tls(#[from] TlsErrors),
    /// A token that HTTP cannot carry.
    #[error("sharing.clients[0].authentication: not a header value (visible ASCII)")]
    Token,
    /// Threads.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// A gateway that is listening.
pub struct App {
    /// Where agents connect to.
    pub address: SocketAddr,
    /// Where metrics and health are served.
    pub admin_address: Option<SocketAddr>,
    /// Its counters.
    pub books: Arc<Books>,
    pipes: Arc<Pipes>,
    readiness: Arc<Readiness>,
    workers: Vec<Worker>,
    drain: watch::Sender<Drain>,
    abandon: watch::Sender<bool>,
    listener: tokio::task::JoinHandle<()>,
    admin: Option<(tokio::task::JoinHandle<usize>, oneshot::Sender<()>)>,
    /// Held so that workers keep listening; ends with the app.
    _discovery: tokio::task::JoinHandle<()>,
    /// Ends with the app as well.
    _certificates: Option<Watcher>,
    _cpu: CpuWatch,
}

impl App {
    /// Builds and starts everything; agents are served when it returns. Runs on a current-thread
    /// or any other tokio runtime.
    ///
    /// # Errors
    /// Something the settings name cannot be had.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let names = settings.pipes.iter();
        let books = Arc::new(Books::new(
            names.map(|pipe| (pipe.name.clone(), pipe.protocol.sniff_type)),
        ));
        let (pipes, exporter) = Pipes::build(&settings, &books);
        let readiness = Arc::new(Readiness::new(
            Arc::clone(&books),
            settings.server.max_connections,
            Arc::clone(&pipes.budget),
        ));
        let certificates = Certificates::load(&settings)?;
        let options = worker_options(&settings, &pipes, &books, &readiness, &certificates)?;
        let front = listen("sharing.servers[0].address", settings.server.address)?;
        let address = local_address(&front, settings.server.address);
        let admin = start_admin(&settings, exporter, &readiness)?;
        let (endpoints, discovered) = watch::channel(EndpointSet::default());
        let discovery = start_discovery(&settings.client, address, endpoints);
        let (drain, drains) = watch::channel(Drain::Open);
        let (abandon, abandons) = watch::channel(false);
        let phases = Phases {
            drain: drains,
            abandon: abandons,
        };
        let workers = (0..options.workers)
            .map(|index| worker::start(index, options.clone(), discovered.clone(), phases.clone()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Thread)?;
        readiness.started();
        let server = &settings.server;
        let cpu = CpuWatch::start(Arc::clone(&books), server.max_cpu_percent)
            .map_err(StartError::Thread)?;
        let listener = Listener {
            socket: front,
            workers: workers.iter().map(|worker| worker.inbox.clone()).collect(),
            books: Arc::clone(&books),
            readiness: Arc::clone(&readiness),
            sources: Arc::new(Sources::new(server.connections_of_one_source())),
            parting: Parting::new(),
        };
        say_listening(address, &settings);
        Ok(Self {
            address,
            admin_address: admin.as_ref().map(|admin| admin.address),
            pipes,
            readiness,
            workers,
            drain,
            abandon,
            listener: tokio::spawn(listener.run()),
            admin: admin.map(|admin| (admin.task, admin.stop)),
            _discovery: discovery,
            _certificates: certificates.watch(&books).map_err(StartError::Thread)?,
            books,
            _cpu: cpu,
        })
    }

    /// Stops within `hook_time`: no new connections, open calls may finish, queues are flushed.
    pub async fn stop(self, hook_time: Duration) -> Report {
        drain::run(self, Instant::now(), hook_time).await
    }
}

/// One line to see by who is let in.
fn say_listening(address: SocketAddr, settings: &Settings) {
    let server = &settings.server;
    let client_ca = server.tls.as_ref().and_then(|tls| tls.client_ca.as_ref());
    info!(
        %address,
        workers = settings.limits.workers,
        tls = if server.tls.is_some() { "on" } else { "off" },
        client_certificates = if client_ca.is_some() { "required" } else { "no" },
        tokens = if server.authentication.is_some() { "checked" } else { "no" },
        max_connections = server.max_connections,
        max_connections_per_source = server.connections_of_one_source(),
        max_cpu_percent = server.max_cpu_percent,
        "listening"
    );
}

struct Admin {
    address: SocketAddr,
    task: tokio::task::JoinHandle<usize>,
    stop: oneshot::Sender<()>,
}

fn start_admin(
    settings: &Settings,
    exporter: Arc<Exporter>,
    readiness: &Arc<Readiness>,
) -> Result<Option<Admin>, StartError> {
    let Some(prometheus) = &settings.telemetry.prometheus else {
        keep_up(exporter);
        return Ok(None);
    };
    let listener = listen("telemetry.prometheus.address", prometheus.address)?;
    let address = local_address(&listener, prometheus.address);
    let state = AdminState {
        exporter,
        metrics_path: prometheus.endpoint.clone(),
        readiness: Arc::clone(readiness),
    };
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(admin::serve(listener, Arc::new(state), async {
        let _dropped = stopped.await;
    }));
    Ok(Some(Admin {
        address,
        task,
        stop,
    }))
}

/// Histogram samples pile up unless somebody folds them; the admin server does so while it runs.
fn keep_up(exporter: Arc<Exporter>) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            exporter.upkeep();
        }
    });
}

/// Satellite's stock file listens where it also expects the OAP: as long as nobody has said where
/// the OAP is, everything would go round in a circle.
fn without_ourselves(set: &EndpointSet, listening: SocketAddr) -> EndpointSet {
    let is_ours = |endpoint: &&Endpoint| {
        let address = endpoint.address;
        let same_host = address.ip() == listening.ip()
            || (listening.ip().is_unspecified() && address.ip().is_loopback());
        same_host && address.port() == listening.port()
    };
    for endpoint in set.as_slice().iter().filter(is_ours) {
        error!(node = %endpoint, "sharing.clients[0].server_addr names this gateway itself, not used");
    }
    let others = set.as_slice().iter().filter(|endpoint| !is_ours(endpoint));
    others.cloned().collect()
}

fn start_discovery(
    client: &Client,
    listening: SocketAddr,
    endpoints: watch::Sender<EndpointSet>,
) -> tokio::task::JoinHandle<()> {
    let servers = client.servers.iter().map(|server| Server {
        host: server.host.clone(),
        port: server.port,
        weight: server.weight,
    });
    let discovery = StaticDiscovery::new(
        servers.collect(),
        client.check_period,
        Arc::new(SystemResolver),
    );
    tokio::spawn(async move {
        let endpoints = Arc::new(endpoints);
        let publisher = Arc::clone(&endpoints);
        Box::new(discovery)
            .run(Box::new(move |set| {
                publisher.send(without_ourselves(&set, listening)).is_ok()
            }))
            .await;
        // A list of literal addresses is complete at once; workers go on with it.
        endpoints.closed().await;
    })
}

fn worker_options(
    settings: &Settings,
    pipes: &Arc<Pipes>,
    books: &Arc<Books>,
    readiness: &Arc<Readiness>,
    certificates: &Certificates,
) -> Result<WorkerOptions, StartError> {
    let Settings {
        client,
        server,
        limits,
        ..
    } = settings;
    let authentication = client
        .authentication
        .as_deref()
        .map(http::HeaderValue::from_str);
    let authentication = authentication.transpose().map_err(|_| StartError::Token)?;
    let access = server.authentication.as_ref().map(Access::new);
    Ok(WorkerOptions {
        workers: limits.workers,
        front: FrontOptions {
            max_message_bytes: server.max_recv_msg_size,
            max_concurrent_streams: server.max_concurrent_streams,
            stream_window: STREAM_WINDOW,
            connection_window: CONNECTION_WINDOW,
            budget: Arc::clone(&pipes.budget),
        },
        gateway: GatewayOptions {
            pipes: Arc::clone(pipes),
            books: Arc::clone(books),
            readiness: Arc::clone(readiness),
            access: access.map(Arc::new),
            authentication: authentication.clone(),
            forward_unknown: server.forward_unknown_methods,
            unary_timeout: client.unary_timeout,
            stream_timeout: client.stream_timeout,
        },
        connect: ConnectOptions {
            tls: certificates.client(),
            timeout: CONNECT,
        },
        sender: SenderOptions {
            max_in_flight: client.max_in_flight,
            unary_timeout: client.unary_timeout,
            stream_timeout: client.stream_timeout,
            authentication,
        },
        balance: balance_settings(settings),
        tls: certificates.server(),
        books: Arc::clone(books),
    })
}

/// Satellite sets the cache for each forwarder; nodes are placed once for all of a worker's pipes,
/// so the largest wish holds.
fn balance_settings(settings: &Settings) -> balance::Settings {
    let defaults = balance::Settings::default();
    let routings = || settings.pipes.iter().map(|pipe| &pipe.routing);
    let keys = routings()
        .filter_map(|routing| routing.cache_size.try_into().ok())
        .max();
    balance::Settings {
        strategy: match settings.client.balance {
            Balance::RoundRobin => balance::Strategy::RoundRobin,
            Balance::LeastInFlight => balance::Strategy::LeastInFlight,
        },
        sticky_keys: keys.unwrap_or(defaults.sticky_keys),
        sticky_time: routings()
            .map(|routing| routing.cache_ttl)
            .max()
            .unwrap_or(defaults.sticky_time),
        ..defaults
    }
}

fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    socket::listen(address).map_err(|source| StartError::Listen {
        key,
        address,
        source,
    })
}

fn local_address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}
