//! OpenTelemetry's messages.

use bytes::Bytes;
use perigee_proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use perigee_proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use perigee_proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use perigee_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use perigee_proto::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use perigee_proto::opentelemetry::proto::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use perigee_proto::opentelemetry::proto::resource::v1::Resource;
use perigee_proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::{Who, encoded};

/// A message by the full name of its type.
pub(super) fn message(request: &str, who: &Who) -> Option<Bytes> {
    let service = request.strip_prefix("opentelemetry.proto.collector.")?;
    Some(match service {
        "metrics.v1.ExportMetricsServiceRequest" => encoded(&metrics(who)),
        "trace.v1.ExportTraceServiceRequest" => encoded(&spans(who)),
        "logs.v1.ExportLogsServiceRequest" => encoded(&logs(who)),
        _ => return None,
    })
}

fn resource(who: &Who) -> Option<Resource> {
    let attributes = [
        ("service.name", &who.service),
        ("service.instance.id", &who.instance),
    ];
    Some(Resource {
        attributes: attributes
            .map(|(key, value)| KeyValue {
                key: key.to_owned(),
                value: Some(text(value)),
            })
            .into(),
        ..Resource::default()
    })
}

fn text(value: &str) -> AnyValue {
    AnyValue {
        value: Some(any_value::Value::StringValue(value.to_owned())),
    }
}

fn nanos(who: &Who) -> u64 {
    who.now.unsigned_abs() * 1_000_000
}

fn metrics(who: &Who) -> ExportMetricsServiceRequest {
    let point = NumberDataPoint {
        time_unix_nano: nanos(who),
        value: Some(number_data_point::Value::AsDouble(0.25)),
        ..NumberDataPoint::default()
    };
    let metric = Metric {
        name: "process.cpu.utilization".to_owned(),
        data: Some(metric::Data::Gauge(Gauge {
            data_points: vec![point],
        })),
        ..Metric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: resource(who),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn spans(who: &Who) -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![7; 16],
        span_id: vec![1; 8],
        name: "GET /products".to_owned(),
        start_time_unix_nano: nanos(who),
        end_time_unix_nano: nanos(who) + 3_000_000,
        ..Span::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource(who),
            scope_spans: vec![ScopeSpans {
                spans: vec![span],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn logs(who: &Who) -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: nanos(who),
        body: Some(text("order 42 accepted")),
        ..LogRecord::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: resource(who),
            scope_logs: vec![ScopeLogs {
                log_records: vec![record],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}
