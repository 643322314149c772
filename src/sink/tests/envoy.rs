//! Envoy's access logs and metrics.

use perigee_proto::envoy::config::core::v3::{
    Address, Node, SocketAddress, address, socket_address,
};
use perigee_proto::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, TcpAccessLogEntry,
};
use perigee_proto::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use perigee_proto::envoy::service::accesslog::v3::stream_access_logs_message as als;
use perigee_proto::envoy::service::metrics::v3::{StreamMetricsMessage, stream_metrics_message};
use perigee_proto::io::prometheus::client as prometheus;

use super::super::decode::hash;
use super::*;

const V2: &str = "/envoy.service.accesslog.v2.AccessLogService/StreamAccessLogs";
const V3: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
const PROXIED: &str = "/satellite.envoy.accesslog.v3.SatelliteAccessLogService/StreamAccessLogs";
const METRICS: [&str; 2] = [
    "/envoy.service.metrics.v2.MetricsService/StreamMetrics",
    "/envoy.service.metrics.v3.MetricsService/StreamMetrics",
];

fn node(id: &str) -> Option<Node> {
    Some(Node {
        id: id.to_owned(),
        cluster: format!("{id}-cluster"),
        ..Default::default()
    })
}

fn http(path: &str) -> HttpAccessLogEntry {
    HttpAccessLogEntry {
        request: Some(HttpRequestProperties {
            path: path.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn logs(of: Option<&str>, paths: &[&str]) -> Bytes {
    encoded(&StreamAccessLogsMessage {
        identifier: of.map(|id| als::Identifier {
            node: node(id),
            ..Default::default()
        }),
        log_entries: Some(als::LogEntries::HttpLogs(als::HttpAccessLogEntries {
            log_entry: paths.iter().copied().map(http).collect(),
        })),
    })
}

#[tokio::test]
async fn access_logs_belong_to_the_first_messages_node() {
    let messages = vec![
        logs(Some("a"), &["/1", "/2"]),
        logs(None, &["/3"]),
        logs(Some("b"), &["/4"]),
    ];
    for path in [V2, V3] {
        let (entries, state) = filed(path, messages.clone()).await;
        assert_eq!(
            entries,
            expected(&[
                "/1 a a-cluster",
                "/2 a a-cluster",
                "/3 a a-cluster",
                "/4 a a-cluster"
            ]),
            "{path}"
        );
        assert_eq!(state.unfiled(), 0);
    }
}

#[tokio::test]
async fn an_identifier_after_the_first_message_comes_too_late() {
    for path in [V2, V3] {
        let messages = vec![logs(None, &["/1", "/2"]), logs(Some("a"), &["/3"])];
        let (entries, state) = filed(path, messages).await;
        assert_eq!(entries, [], "{path}");
        assert_eq!(state.unnamed, 3);
    }
}

#[tokio::test]
async fn proxied_access_logs_go_to_whoever_spoke_before() {
    let messages = vec![
        logs(None, &["/1"]),
        logs(Some("a"), &["/2"]),
        logs(None, &["/3"]),
        logs(Some("b"), &["/4"]),
        logs(None, &["/5", "/6"]),
    ];
    let (entries, state) = filed(PROXIED, messages).await;
    assert_eq!(
        entries,
        expected(&[
            "/2 a a-cluster",
            "/3 a a-cluster",
            "/4 b b-cluster",
            "/5 b b-cluster",
            "/6 b b-cluster"
        ])
    );
    assert_eq!(state.unnamed, 1);
}

#[tokio::test]
async fn connections_are_called_by_their_port_and_requests_without_path_by_their_hash() {
    let tcp = TcpAccessLogEntry {
        common_properties: Some(AccessLogCommon {
            downstream_remote_address: Some(Address {
                address: Some(address::Address::SocketAddress(SocketAddress {
                    port_specifier: Some(socket_address::PortSpecifier::PortValue(40_000)),
                    ..Default::default()
                })),
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let connections = StreamAccessLogsMessage {
        identifier: Some(als::Identifier {
            node: node("a"),
            ..Default::default()
        }),
        log_entries: Some(als::LogEntries::TcpLogs(als::TcpAccessLogEntries {
            log_entry: vec![tcp],
        })),
    };
    let messages = vec![encoded(&connections), logs(None, &[""])];
    let (entries, _) = filed(PROXIED, messages).await;
    let bare = format!("{} a a-cluster", hash(&encoded(&http(""))));
    assert_eq!(entries, expected(&["tcp:40000 a a-cluster", &bare]));
}

fn metric(labels: &[(&str, &str)]) -> prometheus::Metric {
    let label = |(name, value): &(&str, &str)| prometheus::LabelPair {
        name: Some((*name).to_owned()),
        value: Some((*value).to_owned()),
    };
    prometheus::Metric {
        label: labels.iter().map(label).collect(),
        ..Default::default()
    }
}

fn counter(labels: &[(&str, &str)], value: f64) -> prometheus::Metric {
    prometheus::Metric {
        counter: Some(prometheus::Counter { value: Some(value) }),
        ..metric(labels)
    }
}

fn family(
    name: &str,
    kind: prometheus::MetricType,
    metric: Vec<prometheus::Metric>,
) -> prometheus::MetricFamily {
    prometheus::MetricFamily {
        name: Some(name.to_owned()),
        r#type: Some(kind.into()),
        metric,
        ..Default::default()
    }
}

fn metrics(of: Option<&str>, envoy_metrics: Vec<prometheus::MetricFamily>) -> Bytes {
    encoded(&StreamMetricsMessage {
        identifier: of.map(|id| stream_metrics_message::Identifier { node: node(id) }),
        envoy_metrics,
    })
}

#[tokio::test]
async fn metrics_belong_to_the_first_messages_node() {
    use prometheus::MetricType::{Counter, Gauge, Histogram};
    let gauge = prometheus::Metric {
        gauge: Some(prometheus::Gauge { value: Some(0.5) }),
        ..metric(&[])
    };
    let counters = vec![counter(&[("x", "1"), ("y", "2")], 3.0), counter(&[], 0.0)];
    let messages = vec![
        metrics(
            Some("a"),
            vec![
                family("c", Counter, counters),
                family("g", Gauge, vec![gauge]),
            ],
        ),
        metrics(
            Some("b"),
            vec![family("h", Histogram, vec![metric(&[]), metric(&[])])],
        ),
        metrics(None, vec![family("c", Counter, vec![counter(&[], 4.0)])]),
    ];
    for path in METRICS {
        let (entries, state) = filed(path, messages.clone()).await;
        assert_eq!(
            entries,
            expected(&[
                "c{x=1,y=2}=3 a a-cluster",
                "c=0 a a-cluster",
                "g=0.5 a a-cluster",
                "h a a-cluster",
                "c=4 a a-cluster"
            ]),
            "{path}"
        );
        assert_eq!(state.unfiled(), 0);
        let without_first = messages[1..].iter().rev().cloned().collect();
        let (entries, state) = filed(path, without_first).await;
        assert_eq!(entries, [], "{path}");
        assert_eq!(state.unnamed, 2);
    }
}
