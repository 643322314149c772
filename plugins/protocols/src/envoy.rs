//! What Envoy speaks: access logs and metrics. v2 services carry v3 messages.

use perigee_plugin_api::protocol::{Adapter, Method, Origin, Protocol};

/// The OAP's access log service for proxies. An identifier may stand on any of its messages.
const PROXIED_ACCESS_LOGS: &str =
    "/satellite.envoy.accesslog.v3.SatelliteAccessLogService/StreamAccessLogs";

const fn access_logs(path: &'static str) -> Method {
    Method::queued_stream(
        path,
        "envoy.service.accesslog.v3.StreamAccessLogsMessage",
        "envoy.service.accesslog.v3.StreamAccessLogsResponse",
    )
    .forward_to(PROXIED_ACCESS_LOGS)
    .adapted(Adapter::EnvoyAccessLogs)
}

/// The OAP remembers counters in the process, so an Envoy should stay with its node.
const fn metrics(path: &'static str) -> Method {
    Method::queued_stream(
        path,
        "envoy.service.metrics.v3.StreamMetricsMessage",
        "envoy.service.metrics.v3.StreamMetricsResponse",
    )
    .adapted(Adapter::EnvoyMetrics)
}

/// Access logs under their old name.
pub static ALS_V2: Protocol = Protocol {
    pipe: "envoy-als-v2",
    receiver: "grpc-envoy-als-v2-receiver",
    forwarder: "envoy-als-v2-grpc-forwarder",
    sniff_type: "EnvoyALSV2Type",
    origin: Origin::Satellite,
    methods: &[access_logs(
        "/envoy.service.accesslog.v2.AccessLogService/StreamAccessLogs",
    )],
};

/// Access logs, also from a gateway before us.
pub static ALS_V3: Protocol = Protocol {
    pipe: "envoy-als-v3",
    receiver: "grpc-envoy-als-v3-receiver",
    forwarder: "envoy-als-v3-grpc-forwarder",
    sniff_type: "EnvoyALSV3Type",
    origin: Origin::Satellite,
    methods: &[
        access_logs("/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"),
        access_logs(PROXIED_ACCESS_LOGS),
    ],
};

/// Metrics under their old name.
pub static METRICS_V2: Protocol = Protocol {
    pipe: "envoy-metrics-v2",
    receiver: "grpc-envoy-metrics-v2-receiver",
    forwarder: "envoy-metrics-v2-grpc-forwarder",
    sniff_type: "EnvoyMetricsV2Type",
    origin: Origin::Satellite,
    methods: &[metrics(
        "/envoy.service.metrics.v2.MetricsService/StreamMetrics",
    )],
};

/// Metrics.
pub static METRICS_V3: Protocol = Protocol {
    pipe: "envoy-metrics-v3",
    receiver: "grpc-envoy-metrics-v3-receiver",
    forwarder: "envoy-metrics-v3-grpc-forwarder",
    sniff_type: "EnvoyMetricsV3Type",
    origin: Origin::Satellite,
    methods: &[metrics(
        "/envoy.service.metrics.v3.MetricsService/StreamMetrics",
    )],
};
