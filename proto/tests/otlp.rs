//! OpenTelemetry's own definitions and ours agree on the wire.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint, exemplar, metric::Data, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use perigee_proto::opentelemetry::proto as ours;
use prost::Message;

/// Decodes with our definition and encodes again: a field that we lack or mistype changes bytes.
#[expect(clippy::unwrap_used, reason = "a test may end here")]
fn through<Ours: Message + Default>(theirs: &impl Message) -> (Vec<u8>, Vec<u8>) {
    let bytes = theirs.encode_to_vec();
    let decoded = Ours::decode(bytes.as_slice()).unwrap();
    (decoded.encode_to_vec(), bytes)
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(value) }),
    }
}

fn attributes() -> Vec<KeyValue> {
    let text = |text: &str| Value::StringValue(text.into());
    vec![
        attribute("service.name", text("checkout")),
        attribute("bool", Value::BoolValue(true)),
        attribute("int", Value::IntValue(-7)),
        attribute("double", Value::DoubleValue(0.5)),
        attribute("bytes", Value::BytesValue(vec![0, 255])),
        attribute(
            "array",
            Value::ArrayValue(ArrayValue {
                values: vec![AnyValue {
                    value: Some(text("a")),
                }],
            }),
        ),
        attribute(
            "map",
            Value::KvlistValue(KeyValueList {
                values: vec![attribute("k", text("v"))],
            }),
        ),
    ]
}

fn resource() -> Option<Resource> {
    Some(Resource {
        attributes: attributes(),
        dropped_attributes_count: 3,
        ..Default::default()
    })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "scope".into(),
        version: "1".into(),
        attributes: attributes(),
        dropped_attributes_count: 1,
    })
}

#[test]
fn spans_keep_every_field() {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        trace_state: "s=1".into(),
        parent_span_id: vec![3; 8],
        name: "GET /".into(),
        kind: 2,
        start_time_unix_nano: 10,
        end_time_unix_nano: 20,
        attributes: attributes(),
        dropped_attributes_count: 1,
        events: vec![Event {
            time_unix_nano: 11,
            name: "e".into(),
            attributes: attributes(),
            dropped_attributes_count: 2,
        }],
        dropped_events_count: 3,
        links: vec![Link {
            trace_id: vec![4; 16],
            span_id: vec![5; 8],
            trace_state: "t".into(),
            attributes: attributes(),
            dropped_attributes_count: 4,
            ..Default::default()
        }],
        dropped_links_count: 5,
        status: Some(Status {
            message: "m".into(),
            code: 2,
        }),
        ..Default::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource(),
            scope_spans: vec![ScopeSpans {
                scope: scope(),
                spans: vec![span],
                schema_url: "u".into(),
            }],
            schema_url: "v".into(),
        }],
    };
    let (ours, theirs) = through::<ours::collector::trace::v1::ExportTraceServiceRequest>(&request);
    assert_eq!(ours, theirs);
}

#[test]
fn log_records_keep_every_field() {
    let record = LogRecord {
        time_unix_nano: 1,
        observed_time_unix_nano: 2,
        severity_number: 17,
        severity_text: "ERROR".into(),
        body: Some(AnyValue {
            value: Some(Value::StringValue("failed".into())),
        }),
        attributes: attributes(),
        dropped_attributes_count: 1,
        flags: 1,
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        ..Default::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: resource(),
            scope_logs: vec![ScopeLogs {
                scope: scope(),
                log_records: vec![record],
                schema_url: "u".into(),
            }],
            schema_url: "v".into(),
        }],
    };
    let (ours, theirs) = through::<ours::collector::logs::v1::ExportLogsServiceRequest>(&request);
    assert_eq!(ours, theirs);
}

#[test]
fn metrics_of_every_kind_keep_every_field() {
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: resource(),
            scope_metrics: vec![ScopeMetrics {
                scope: scope(),
                metrics: every_kind(),
                schema_url: "u".into(),
            }],
            schema_url: "v".into(),
        }],
    };
    let (ours, theirs) =
        through::<ours::collector::metrics::v1::ExportMetricsServiceRequest>(&request);
    assert_eq!(ours, theirs);
}

fn every_kind() -> Vec<Metric> {
    let point = |value| NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        exemplars: exemplars(),
        flags: 1,
        value: Some(value),
    };
    [
        Data::Gauge(Gauge {
            data_points: vec![point(number_data_point::Value::AsDouble(0.25))],
        }),
        Data::Sum(Sum {
            data_points: vec![point(number_data_point::Value::AsInt(-5))],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        Data::Histogram(histogram()),
        Data::ExponentialHistogram(exponential_histogram()),
        Data::Summary(summary()),
    ]
    .into_iter()
    .map(|data| Metric {
        name: "n".into(),
        description: "d".into(),
        unit: "By".into(),
        data: Some(data),
        ..Default::default()
    })
    .collect()
}

fn exemplars() -> Vec<Exemplar> {
    [exemplar::Value::AsDouble(1.5), exemplar::Value::AsInt(-1)]
        .map(|value| Exemplar {
            filtered_attributes: attributes(),
            time_unix_nano: 3,
            span_id: vec![1; 8],
            trace_id: vec![2; 16],
            value: Some(value),
        })
        .into()
}

fn histogram() -> Histogram {
    Histogram {
        data_points: vec![HistogramDataPoint {
            attributes: attributes(),
            start_time_unix_nano: 1,
            time_unix_nano: 2,
            count: 3,
            sum: Some(0.0),
            bucket_counts: vec![1, 0, 2],
            explicit_bounds: vec![0.5, 1.0],
            exemplars: exemplars(),
            flags: 1,
            min: Some(0.0),
            max: Some(9.0),
        }],
        aggregation_temporality: 1,
    }
}

fn exponential_histogram() -> ExponentialHistogram {
    let buckets = |offset| {
        Some(Buckets {
            offset,
            bucket_counts: vec![1, 300],
        })
    };
    ExponentialHistogram {
        data_points: vec![ExponentialHistogramDataPoint {
            attributes: attributes(),
            start_time_unix_nano: 1,
            time_unix_nano: 2,
            count: 3,
            sum: Some(4.0),
            scale: -3,
            zero_count: 5,
            positive: buckets(-2),
            negative: buckets(2),
            flags: 1,
            exemplars: exemplars(),
            min: Some(-1.0),
            max: Some(1.0),
            ..Default::default()
        }],
        aggregation_temporality: 2,
    }
}

fn summary() -> Summary {
    Summary {
        data_points: vec![SummaryDataPoint {
            attributes: attributes(),
            start_time_unix_nano: 1,
            time_unix_nano: 2,
            count: 3,
            sum: 4.0,
            quantile_values: vec![ValueAtQuantile {
                quantile: 0.99,
                value: 7.0,
            }],
            flags: 1,
        }],
    }
}
