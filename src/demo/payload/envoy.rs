//! Envoy's messages.

use bytes::Bytes;
use perigee_proto::envoy::config::core::v3::{Node, RequestMethod};
use perigee_proto::envoy::data::accesslog::v3::{
    AccessLogCommon, HttpAccessLogEntry, HttpRequestProperties, HttpResponseProperties,
};
use perigee_proto::envoy::service::accesslog::v3 as als;
use perigee_proto::envoy::service::metrics::v3 as metrics;
use perigee_proto::io::prometheus::client as prometheus;

use super::{Who, encoded};

/// A message by the full name of its type. Unlike Envoy itself, each carries the identifier: a
/// batch may begin anywhere in a stream.
pub(super) fn message(request: &str, who: &Who) -> Option<Bytes> {
    Some(match request {
        "envoy.service.accesslog.v3.StreamAccessLogsMessage" => encoded(&access_log(who)),
        "envoy.service.metrics.v3.StreamMetricsMessage" => encoded(&metric(who)),
        _ => return None,
    })
}

fn node(who: &Who) -> Option<Node> {
    Some(Node {
        // All that a sink files Envoy's messages under.
        id: who.service.clone(),
        cluster: who.service.clone(),
        ..Node::default()
    })
}

fn access_log(who: &Who) -> als::StreamAccessLogsMessage {
    let entry = HttpAccessLogEntry {
        common_properties: Some(AccessLogCommon {
            upstream_cluster: format!("outbound|8080||{}", who.instance),
            ..AccessLogCommon::default()
        }),
        request: Some(HttpRequestProperties {
            request_method: RequestMethod::Get.into(),
            scheme: "http".to_owned(),
            path: "/api/v1/products/42".to_owned(),
            ..HttpRequestProperties::default()
        }),
        response: Some(HttpResponseProperties {
            response_code: Some(200),
            ..HttpResponseProperties::default()
        }),
        ..HttpAccessLogEntry::default()
    };
    als::StreamAccessLogsMessage {
        identifier: Some(als::stream_access_logs_message::Identifier {
            node: node(who),
            log_name: "als".to_owned(),
        }),
        log_entries: Some(als::stream_access_logs_message::LogEntries::HttpLogs(
            als::stream_access_logs_message::HttpAccessLogEntries {
                log_entry: vec![entry],
            },
        )),
    }
}

fn metric(who: &Who) -> metrics::StreamMetricsMessage {
    let requests = prometheus::Metric {
        counter: Some(prometheus::Counter { value: Some(42.0) }),
        timestamp_ms: Some(who.now),
        ..prometheus::Metric::default()
    };
    metrics::StreamMetricsMessage {
        identifier: Some(metrics::stream_metrics_message::Identifier { node: node(who) }),
        envoy_metrics: vec![prometheus::MetricFamily {
            name: Some("server.total_connections".to_owned()),
            r#type: Some(prometheus::MetricType::Counter.into()),
            metric: vec![requests],
            ..prometheus::MetricFamily::default()
        }],
    }
}
