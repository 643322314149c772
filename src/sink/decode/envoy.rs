//! Envoy's access logs and metrics: the identifier says whose they are, and comes once.

use bytes::Bytes;
use perigee_proto::envoy::config::core::v3::address::Address;
use perigee_proto::envoy::config::core::v3::socket_address::PortSpecifier;
use perigee_proto::envoy::config::core::v3::{Node, SocketAddress};
use perigee_proto::envoy::data::accesslog::v3::{HttpAccessLogEntry, TcpAccessLogEntry};
use perigee_proto::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use perigee_proto::envoy::service::accesslog::v3::stream_access_logs_message::LogEntries;
use perigee_proto::envoy::service::metrics::v3::StreamMetricsMessage;
use perigee_proto::io::prometheus::client::{Metric, MetricFamily, MetricType};
use tonic::Status;

use super::text::{hash_of, labelled, text_or};
use super::{Filing, Names, Reader, decode_as};

/// Envoy's own `AccessLogService`: only the first message's identifier counts (T9).
#[derive(Default)]
pub(super) struct AccessLogs(First);

impl Reader for AccessLogs {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let mut message: StreamAccessLogsMessage = decode_as(bytes)?;
        let named = message.identifier.take().map(|named| names_of(named.node));
        file_logs(self.0.hear(named), &message, filing);
        Ok(())
    }
}

/// The OAP's `SatelliteAccessLogService`: an identifier holds until the next (T9).
#[derive(Default)]
pub(super) struct ProxiedAccessLogs {
    latest: Option<Names>,
}

impl Reader for ProxiedAccessLogs {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let mut message: StreamAccessLogsMessage = decode_as(bytes)?;
        if let Some(identifier) = message.identifier.take() {
            self.latest = Some(names_of(identifier.node));
        }
        file_logs(self.latest.as_ref(), &message, filing);
        Ok(())
    }
}

/// `MetricsService`: only the first message's identifier counts (T10).
#[derive(Default)]
pub(super) struct Metrics(First);

impl Reader for Metrics {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let mut message: StreamMetricsMessage = decode_as(bytes)?;
        let named = message.identifier.take().map(|named| names_of(named.node));
        let node = self.0.hear(named);
        for family in &message.envoy_metrics {
            file_family(node, family, filing);
        }
        Ok(())
    }
}

/// What a call's first message said; the outer `None` before it came.
#[derive(Default)]
struct First(Option<Option<Names>>);

impl First {
    fn hear(&mut self, named: Option<Names>) -> Option<&Names> {
        self.0.get_or_insert(named).as_ref()
    }
}

fn names_of(node: Option<Node>) -> Names {
    let node = node.unwrap_or_default();
    Names {
        service: node.id,
        instance: node.cluster,
    }
}

fn file_logs(node: Option<&Names>, message: &StreamAccessLogsMessage, filing: &mut Filing) {
    match &message.log_entries {
        Some(LogEntries::HttpLogs(logs)) => {
            for log in &logs.log_entry {
                file(node, filing, || http_id(log));
            }
        }
        Some(LogEntries::TcpLogs(logs)) => {
            for log in &logs.log_entry {
                file(node, filing, || tcp_id(log));
            }
        }
        None => {}
    }
}

fn file(node: Option<&Names>, filing: &mut Filing, id: impl FnOnce() -> String) {
    match node {
        Some(node) => filing.file(node, id),
        None => filing.unnamed += 1,
    }
}

fn http_id(log: &HttpAccessLogEntry) -> String {
    let path = log.request.as_ref().map(|request| &*request.path);
    text_or(path.unwrap_or_default(), || hash_of(log))
}

fn tcp_id(log: &TcpAccessLogEntry) -> String {
    let remote = log
        .common_properties
        .as_ref()
        .and_then(|common| common.downstream_remote_address.as_ref())
        .and_then(|remote| remote.address.as_ref());
    match remote {
        Some(Address::SocketAddress(SocketAddress {
            port_specifier: Some(PortSpecifier::PortValue(port)),
            ..
        })) => format!("tcp:{port}"),
        _ => hash_of(log),
    }
}

/// An OAP takes single values apart; of other families it is enough that they came.
fn file_family(node: Option<&Names>, family: &MetricFamily, filing: &mut Filing) {
    let value: fn(&Metric) -> Option<f64> = match family.r#type() {
        MetricType::Counter => |metric| metric.counter.as_ref()?.value,
        MetricType::Gauge => |metric| metric.gauge.as_ref()?.value,
        MetricType::Summary | MetricType::Untyped | MetricType::Histogram => {
            return file(node, filing, || family.name().to_owned());
        }
    };
    for metric in &family.metric {
        file(node, filing, || {
            let labels = metric.label.iter();
            let labels = labels.map(|label| (label.name(), label.value()));
            let value = value(metric).unwrap_or_default();
            format!("{}={value}", labelled(family.name(), labels))
        });
    }
}
