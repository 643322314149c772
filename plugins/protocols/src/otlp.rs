//! OpenTelemetry over gRPC.

use perigee_plugin_api::protocol::{Adapter, Method, Origin, Protocol};

/// Metrics. The OAP remembers counters in the process, so a resource should stay with its node.
pub static METRICS: Protocol = Protocol {
    pipe: "otlp-metrics-v1-pipe",
    receiver: "grpc-otlp-metrics-v1-receiver",
    forwarder: "otlp-metrics-v1-grpc-forwarder",
    sniff_type: "OpenTelementryMetricsV1Type", // Spelled as Satellite spells it.
    origin: Origin::Satellite,
    methods: &[Method::queued_unary(
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest",
        "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceResponse",
    )
    .adapted(Adapter::OtlpMetrics)],
};

/// Traces.
pub static TRACES: Protocol = Protocol {
    pipe: "otlp-traces-v1-pipe",
    receiver: "grpc-otlp-traces-v1-receiver",
    forwarder: "otlp-traces-v1-grpc-forwarder",
    sniff_type: "OpenTelemetryTracesV1Type",
    origin: Origin::BuiltIn,
    methods: &[Method::queued_unary(
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest",
        "opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse",
    )],
};

/// Logs.
pub static LOGS: Protocol = Protocol {
    pipe: "otlp-logs-v1-pipe",
    receiver: "grpc-otlp-logs-v1-receiver",
    forwarder: "otlp-logs-v1-grpc-forwarder",
    sniff_type: "OpenTelemetryLogsV1Type",
    origin: Origin::BuiltIn,
    methods: &[Method::queued_unary(
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest",
        "opentelemetry.proto.collector.logs.v1.ExportLogsServiceResponse",
    )],
};
