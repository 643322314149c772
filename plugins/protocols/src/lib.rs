//! The protocol table: one row for each gRPC method that the gateway serves.
//!
//! The rows stand in families ([`skywalking`], [`envoy`], [`otlp`]). [`find`] leads from a request
//! path to its row, [`by_receiver`] from a name in the configuration to its protocol, [`peek`]
//! reads what a row names as routing key out of a message, [`adapter`] does to messages what a row
//! asks for, and [`markdown_table`] writes the table as the README shows it.

use std::collections::HashMap;
use std::sync::LazyLock;

use perigee_plugin_api::protocol::{Method, Protocol};

pub mod adapter;
pub mod envoy;
mod markdown;
pub mod otlp;
pub mod peek;
pub mod skywalking;
mod wire;

pub use markdown::markdown_table;

/// Every protocol: Satellite's in the order of its stock file, then the built-in ones.
pub static PROTOCOLS: [&Protocol; 23] = [
    &skywalking::agent::LOG,
    &skywalking::agent::MANAGEMENT,
    &skywalking::agent::TRACING,
    &skywalking::profile::PROFILE,
    &skywalking::profile::ASYNC_PROFILER,
    &skywalking::agent::CONFIGURATION_DISCOVERY,
    &skywalking::agent::EVENT,
    &skywalking::metrics::JVM,
    &skywalking::metrics::CLR,
    &skywalking::metrics::METER,
    &envoy::ALS_V2,
    &envoy::ALS_V3,
    &envoy::METRICS_V2,
    &envoy::METRICS_V3,
    &skywalking::ebpf::PROCESS,
    &skywalking::ebpf::PROFILING,
    &skywalking::ebpf::ACCESS_LOG,
    &otlp::METRICS,
    &skywalking::browser::BROWSER,
    &skywalking::profile::PPROF,
    &skywalking::metrics::MESH,
    &otlp::TRACES,
    &otlp::LOGS,
];

/// A row and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// The protocol that the method belongs to.
    pub protocol: &'static Protocol,
    /// Its place in the protocol's methods.
    pub method_index: usize,
    /// The method.
    pub method: &'static Method,
}

/// The row of a request path, e.g. `/skywalking.v3.EventService/collect`.
pub fn find(path: &str) -> Option<Found> {
    static ROWS: LazyLock<HashMap<&str, Found>> =
        LazyLock::new(|| rows().map(|found| (found.method.path, found)).collect());
    ROWS.get(path).copied()
}

/// The protocol of a receiver's `plugin_name`, e.g. `grpc-native-event-receiver`.
pub fn by_receiver(name: &str) -> Option<&'static Protocol> {
    PROTOCOLS
        .into_iter()
        .find(|protocol| protocol.receiver == name)
}

/// Every row, in the order of the table.
pub fn rows() -> impl Iterator<Item = Found> {
    PROTOCOLS.into_iter().flat_map(|protocol| {
        let methods = protocol.methods.iter().enumerate();
        methods.map(move |(method_index, method)| Found {
            protocol,
            method_index,
            method,
        })
    })
}
