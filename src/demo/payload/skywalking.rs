//! Messages of SkyWalking's own protocols: which one a type's name means.
//!
//! - `agent`: traces, logs, events, instances. `metrics`: runtimes, meters, mesh probes.
//! - `browser`, `ebpf`, `profile`: the rest.

use bytes::Bytes;

use super::{Upload, Who, encoded};

mod agent;
mod browser;
mod ebpf;
mod metrics;
mod profile;

pub(super) use profile::upload;

/// A message by the full name of its type.
pub(super) fn message(request: &str, who: &Who) -> Option<Bytes> {
    agent::message(request, who)
        .or_else(|| metrics::message(request, who))
        .or_else(|| browser::message(request, who))
        .or_else(|| ebpf::message(request, who))
        .or_else(|| profile::message(request, who))
}
