//! What SkyWalking's own agents, probes and browsers speak.
//!
//! Agents before 9.x call some services without their package. Those rows follow the rows that
//! they stand for: queued ones leave on the v3 path, passthrough ones on their own, which an OAP
//! serves too.

pub mod agent;
pub mod browser;
pub mod ebpf;
pub mod metrics;
pub mod profile;

/// The answer of nearly every method: what the OAP tells the agent, empty for reports.
const COMMANDS: &str = "skywalking.v3.Commands";
