//! A gateway between agents and OAP stand-ins, all as processes, for end-to-end tests.
//!
//! Tests start a [`Scenario`], send through [`GatewayProcess::address`], stall, kill and restart
//! sinks, and compare what clients say they sent with what [`Scenario::arrived`] gives.

mod gateway;
mod http;
mod sinks;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

pub(crate) use gateway::pinned;
pub use gateway::{AGENT_PIPES, ALL_PIPES, GatewayConfig, GatewayProcess, PipeNames, TRACING_PIPE};
pub use http::{Response, get, post};
pub use sinks::{Arrived, SinkProcess};

use crate::process;

/// Longest wait for a process to be ready.
pub const READY_WITHIN: Duration = Duration::from_secs(20);

/// Several sinks and a gateway in front of them.
#[derive(Debug)]
pub struct Scenario {
    /// The gateway; first, so that it is dropped before its upstreams.
    pub gateway: GatewayProcess,
    /// OAP stand-ins.
    pub sinks: Vec<SinkProcess>,
    /// The `perigee` that everything runs from.
    pub binary: PathBuf,
}

impl Scenario {
    /// Starts `sinks` sinks, then a gateway towards them. `adjust` may change the default configuration.
    ///
    /// # Errors
    /// There is no `perigee` to run, or something does not become ready.
    pub fn start(sinks: usize, adjust: impl FnOnce(&mut GatewayConfig)) -> Result<Self> {
        let binary = gateway_binary()?;
        let sinks: Vec<_> = (0..sinks)
            .map(|_| SinkProcess::start(&binary))
            .collect::<Result<_>>()?;
        let mut config = GatewayConfig::towards(sinks.iter().map(|sink| sink.address).collect())?;
        adjust(&mut config);
        let gateway = GatewayProcess::start(&binary, config)?;
        Ok(Self {
            gateway,
            sinks,
            binary,
        })
    }

    /// What has arrived at all sinks by this method, duplicates included.
    ///
    /// # Errors
    /// A sink does not answer; kill or resume it first.
    pub fn arrived(&self, method: &str) -> Result<Vec<Arrived>> {
        let mut all = Vec::new();
        for sink in self.sinks.iter().filter(|sink| sink.is_up()) {
            all.extend(sink.ids(method)?);
        }
        Ok(all)
    }

    /// Waits until each of `ids` is at a sink, and returns all that has arrived by then.
    ///
    /// # Errors
    /// Some are missing after `within`; the error names a few.
    pub fn await_ids(
        &self,
        method: &str,
        ids: &BTreeSet<String>,
        within: Duration,
    ) -> Result<Vec<Arrived>> {
        let mut missing = Vec::new();
        let found = process::poll_for("all ids at the sinks", within, || {
            let arrived = self.arrived(method)?;
            let known: BTreeSet<&str> = arrived.iter().map(|one| one.id.as_str()).collect();
            missing = ids
                .iter()
                .filter(|id| !known.contains(id.as_str()))
                .cloned()
                .collect();
            Ok(missing.is_empty().then_some(arrived))
        });
        found.with_context(|| {
            let some = &missing[..missing.len().min(3)];
            format!(
                "{} of {} ids are missing, as {some:?}",
                missing.len(),
                ids.len()
            )
        })
    }
}

/// The `perigee` under test: `PERIGEE_BIN`, else the one built beside the running executable.
///
/// # Errors
/// There is none.
pub fn gateway_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PERIGEE_BIN") {
        return Ok(PathBuf::from(path));
    }
    let own = std::env::current_exe()?;
    let found = own
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("perigee"));
    let mut found = found.filter(|path| path.is_file());
    found.next().with_context(|| {
        format!(
            "no perigee beside {}: run cargo build, or set PERIGEE_BIN",
            own.display()
        )
    })
}

/// An address on the loopback interface that was free a moment ago.
///
/// # Errors
/// There is no free port.
pub fn free_address() -> Result<std::net::SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
