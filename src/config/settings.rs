//! Typed settings: what the rest of the daemon sees of the configuration.
//!
//! Made once by `resolve` from the file and the environment. A value that exists
//! here is valid; nothing outside this module checks settings again.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use perigee_plugin_api::protocol::Protocol;
use perigee_plugin_api::queue::WhenFull;

pub mod capture;

use super::kind::Kind;
use super::units;
use capture::Capture;

/// Everything.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Logging.
    pub logger: Logger,
    /// Names on our own metrics, and where they are served.
    pub telemetry: Telemetry,
    /// Towards the OAP.
    pub client: Client,
    /// Towards agents.
    pub server: Server,
    /// Bounds of the whole process.
    pub limits: Limits,
    /// In the file's order, built-in ones last.
    pub pipes: Vec<Pipe>,
    /// The profiler beside the gateway.
    pub capture: Capture,
}

/// Logging.
#[derive(Clone, Debug)]
pub struct Logger {
    /// Satellite's pattern: `%time`, `%level`, `%field`, `%msg`.
    pub log_pattern: String,
    /// Go's reference-time layout.
    pub time_pattern: String,
    /// Lowest level that is printed.
    pub level: tracing::Level,
    /// Text by the pattern, or one JSON object a line.
    pub format: LogFormat,
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// By `log_pattern`.
    Text,
    /// JSON.
    Json,
}

/// Names on our own metrics, and where they are served.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// Constant label `cluster`.
    pub cluster: String,
    /// Constant label `service`.
    pub service: String,
    /// Constant label `instance`.
    pub instance: String,
    /// `None` when `export_type` does not name `prometheus`: no metrics and no health endpoints.
    pub prometheus: Option<Prometheus>,
}

/// The Prometheus address, which also serves `/healthz` and `/readyz`.
#[derive(Clone, Debug)]
pub struct Prometheus {
    /// Listen address.
    pub address: SocketAddr,
    /// Path, e.g. `/metrics`.
    pub endpoint: String,
}

/// Towards the OAP.
#[derive(Clone, Debug)]
pub struct Client {
    /// Names or addresses with ports, as in `server_addr`.
    pub servers: Vec<ServerAddr>,
    /// `None`: plain text.
    pub tls: Option<ClientTls>,
    /// How often names are resolved again. Satellite's `check_period`.
    pub check_period: Duration,
    /// Sent as `authentication` with every call; `None`: the caller's own is forwarded.
    pub authentication: Option<String>,
    /// Longest wait for the answer of a unary call.
    pub unary_timeout: Duration,
    /// Longest time a stream may owe progress: bytes taken or an answer given.
    pub stream_timeout: Duration,
    /// How batches are spread over the nodes.
    pub balance: Balance,
    /// Batches that one queue partition may have in flight to one node. Default 4.
    pub max_in_flight: usize,
}

/// One entry of `server_addr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddr {
    /// Host name or literal address (IPv6 without brackets).
    pub host: String,
    /// Port.
    pub port: u16,
    /// Relative share; 1 in the plain comma form.
    pub weight: u32,
}

impl ServerAddr {
    /// Where one who listens there is found from the same machine.
    pub fn of_listener(mut address: SocketAddr) -> Self {
        if address.ip().is_unspecified() {
            // All interfaces in IPv6 take IPv4, too.
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            weight: 1,
        }
    }
}

impl FromStr for ServerAddr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || format!("{text:?} is not {}", Kind::Server.allowed());
        units::server_address(text).ok_or_else(allowed)
    }
}

impl fmt::Display for ServerAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "[{}]:{}", self.host, self.port),
            false => write!(out, "{}:{}", self.host, self.port),
        }
    }
}

/// How unkeyed batches are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Even shares of messages, by weight.
    #[default]
    RoundRobin,
    /// The one of two random nodes with less in flight.
    LeastInFlight,
}

/// TLS towards the OAP.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// PEM file of trusted roots; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of our certificate chain and key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
}

/// TLS towards agents.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// PEM file of the certificate chain.
    pub chain: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
    /// PEM file of the roots that clients' certificates are verified by; `None`: they need none.
    pub client_ca: Option<PathBuf>,
}

/// The check of callers' tokens.
#[derive(Clone, Debug)]
pub struct TokenCheck {
    /// The token.
    pub token: String,
    /// Paths of methods that may be called without one.
    pub exempt: Vec<&'static str>,
}

/// Towards agents.
#[derive(Clone, Debug)]
pub struct Server {
    /// Listen address; an empty host means all interfaces.
    pub address: SocketAddr,
    /// Longest message. Default 50 MiB, as OAP.
    pub max_recv_msg_size: usize,
    /// HTTP/2 streams a connection. Default 1024.
    pub max_concurrent_streams: u32,
    /// `None`: plain text.
    pub tls: Option<ServerTls>,
    /// What callers must send as `authentication`; `None`: any caller is welcome.
    pub authentication: Option<TokenCheck>,
    /// Connections above this number are refused.
    pub max_connections: usize,
    /// New connections are refused above this share of the CPU that we may use, in percent; 100 is
    /// never exceeded.
    pub max_cpu_percent: u32,
    /// Connections of one address above this number are refused; `None`: three quarters of all.
    pub max_connections_per_source: Option<usize>,
    /// Methods that the table does not know are copied to an OAP; otherwise UNIMPLEMENTED.
    pub forward_unknown_methods: bool,
}

impl Server {
    /// How many connections one address may have. By default three quarters: a load balancer that
    /// shows its own address still has most of them, and nobody has all.
    pub fn connections_of_one_source(&self) -> usize {
        let all = self.max_connections;
        self.max_connections_per_source.unwrap_or(all - all / 4)
    }
}

/// Bounds of the whole process.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes held for clients. Default: half of the cgroup's limit, 512 MiB without one.
    pub memory_bytes: u64,
    /// Worker threads. Default: the cores we may run on.
    pub workers: usize,
}

/// One pipe.
#[derive(Clone, Debug)]
pub struct Pipe {
    /// `common_config.pipe_name`: the label on its metrics.
    pub name: String,
    /// The rows it serves.
    pub protocol: &'static Protocol,
    /// Its queue; `None` for `none-queue`, which only passthrough methods need no queue for.
    pub queue: Option<Queue>,
    /// Batching.
    pub sender: Sender,
    /// What to do when delivery fails.
    pub retry: Retry,
    /// Sticky routing.
    pub routing: Routing,
}

/// `memory-queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Messages a partition. Satellite's default 5000.
    pub event_buffer_size: u64,
    /// Partitions.
    pub partition: usize,
    /// What a full queue does.
    pub when_full: WhenFull,
}

/// Batching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Longest wait of a message for its batch.
    pub flush_time: Duration,
    /// Wait for company while nothing of the lane is in flight, if shorter than `flush_time`.
    /// Default 10 ms.
    pub linger_time: Duration,
    /// Most messages in a batch.
    pub max_buffer_size: u32,
    /// Most bytes in a batch. Default 512 KiB.
    pub max_batch_bytes: u64,
}

/// What to do when delivery fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all; `None`: as many as `max_age` allows (`none-fallbacker`).
    pub max_attempts: Option<u32>,
    /// Pause before the second attempt; doubles, with jitter.
    pub first_pause: Duration,
    /// Longest pause.
    pub max_pause: Duration,
    /// Messages older than this are dropped and counted as `expired`. Default 5 minutes.
    pub max_age: Duration,
}

/// Sticky routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routing {
    /// Remembered keys. Default 5000.
    pub cache_size: usize,
    /// How long an unused key is remembered. Default 180 s.
    pub cache_ttl: Duration,
    /// Resource attributes that make an OTLP key.
    pub label_keys: Vec<String>,
}
