//! Settings of `perigee capture`.

use std::net::SocketAddr;
use std::time::Duration;

use perigee_ebpf_profiler::access::AccessSettings;

use super::{ClientTls, Logger, ServerAddr};

/// What a process of its own needs of the file.
#[derive(Clone, Debug)]
pub struct CaptureSettings {
    /// Logging, as the gateway's.
    pub logger: Logger,
    /// Constant labels `cluster`, `service` and `instance`, as the gateway's.
    pub labels: [String; 3],
    /// The rest.
    pub capture: Capture,
}

/// The eBPF profiler beside the gateway.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Whether `perigee start` runs it.
    pub enabled: bool,
    /// The off-switch.
    pub paused: bool,
    /// Where everything goes.
    pub gateway: Gateway,
    /// Time between two samples of one CPU, for tasks that do not say. Rover's default 9 ms.
    pub on_cpu_period: Duration,
    /// Shorter waits are not counted. Default 0.
    pub off_cpu_minimum: Duration,
    /// What capturing may cost.
    pub budget: Budget,
    /// Whom it may be about. Each expression is a valid one.
    pub access: AccessSettings,
    /// Where its metrics and its health are served.
    pub metrics: SocketAddr,
    /// `capture.discovery` with its defaults, and with `access` as its own.
    pub discovery: serde_json::Value,
}

/// What capturing may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// In percent of one core.
    pub cpu_percent: u32,
    /// Of the process and its maps in the kernel, in bytes.
    pub memory_bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            cpu_percent: 1,
            memory_bytes: 64 << 20,
        }
    }
}

/// The gateway as its client sees it.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Name or address with port.
    pub address: ServerAddr,
    /// Whether the file names the address; otherwise it follows from the server's.
    pub is_named: bool,
    /// `None`: plain text.
    pub tls: Option<GatewayTls>,
    /// Sent as `authentication` with every call.
    pub authentication: Option<String>,
}

/// TLS towards the gateway.
#[derive(Clone, Debug)]
pub struct GatewayTls {
    /// Files.
    pub files: ClientTls,
    /// Name that the certificate is for.
    pub server_name: String,
}
