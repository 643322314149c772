//! A gateway between agents and OAP stand-ins, all as processes, for end-to-end tests.
//!
//! Tests start a [`Scenario`], send through [`GatewayProcess::address`], stall, kill and restart
//! sinks, and compare what clients say they sent with what [`Scenario::arrived`] gives.

mod binary;
mod client;
mod config;
mod gateway;
mod http;
mod record;
mod sinks;
mod traffic;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

pub use binary::gateway_binary;
pub use client::{Call, Client};
pub use config::{AGENT_PIPES, ALL_PIPES, GatewayConfig, PipeNames, TRACING_PIPE};
pub(crate) use gateway::pinned;
pub use gateway::{GatewayProcess, Stopped};
pub use http::{Response, get, post};
pub use record::{Arrived, Record};
pub use sinks::SinkProcess;
pub use traffic::{Sent, Traffic, Under, segment};

use crate::process;

/// Longest wait for a process to be ready.
pub const READY_WITHIN: Duration = Duration::from_secs(20);

/// Workers of a scenario's gateway, unless it says otherwise: more than one on any machine.
pub const WORKERS: u32 = 2;

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
    /// Starts `sinks` sinks, then a gateway towards them, and waits until each of its workers is
    /// connected to each sink. `adjust` may change the default configuration.
    ///
    /// # Errors
    /// There is no `perigee` to run, or something does not become ready.
    pub fn start(sinks: usize, adjust: impl FnOnce(&mut GatewayConfig)) -> Result<Self> {
        let binary = gateway_binary()?;
        let sinks: Vec<_> = (0..sinks)
            .map(|_| SinkProcess::start(&binary))
            .collect::<Result<_>>()?;
        let mut config = GatewayConfig::towards(sinks.iter().map(|sink| sink.address).collect())?;
        config.workers = Some(WORKERS);
        adjust(&mut config);
        let workers = f64::from(config.workers.unwrap_or(1));
        let gateway = GatewayProcess::start(&binary, config)?;
        for sink in &sinks {
            let node = format!("node=\"{}\"", sink.address);
            let name = "perigee_node_ready_connections";
            gateway.await_metric(name, &[&node], READY_WITHIN, |ready| ready >= workers)?;
        }
        Ok(Self {
            gateway,
            sinks,
            binary,
        })
    }

    /// What all sinks have accepted by this method, duplicates included. Sinks that are down or
    /// stalled count, too.
    ///
    /// # Errors
    /// A record cannot be read.
    pub fn arrived(&self, method: &str) -> Result<Vec<Arrived>> {
        let mut all = Vec::new();
        for sink in &self.sinks {
            let record = sink.record()?;
            let by_method = record.all().iter().filter(|one| one.method == method);
            all.extend(by_method.cloned());
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
        let mut missing: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        let mut seen = vec![0; self.sinks.len()];
        let found = process::poll_for("all ids at the sinks", within, || {
            for (sink, seen) in self.sinks.iter().zip(&mut seen) {
                let record = sink.record()?;
                for one in record.all()[*seen..]
                    .iter()
                    .filter(|one| one.method == method)
                {
                    missing.remove(one.id.as_str());
                }
                *seen = record.all().len();
            }
            Ok(missing.is_empty().then_some(()))
        });
        found.with_context(|| {
            let some: Vec<_> = missing.iter().take(3).collect();
            let (missing, all) = (missing.len(), ids.len());
            format!(
                "{missing} of {all} ids are missing, as {some:?}\n{}",
                self.gateway.log()
            )
        })?;
        self.arrived(method)
    }
}

/// An address on the loopback interface that was free a moment ago.
///
/// # Errors
/// There is no free port.
pub fn free_address() -> Result<std::net::SocketAddr> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
