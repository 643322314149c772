//! OpenTelemetry.

use perigee_proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use perigee_proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use perigee_proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use perigee_proto::opentelemetry::proto::common::v1::{
    AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value,
};
use perigee_proto::opentelemetry::proto::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use perigee_proto::opentelemetry::proto::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
    metric::Data, number_data_point::Value as Number,
};
use perigee_proto::opentelemetry::proto::resource::v1::Resource;
use perigee_proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

use super::super::decode::hash;
use super::*;

fn value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn text(of: &str) -> Value {
    Value::StringValue(of.to_owned())
}

fn attribute(key: &str, of: Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value(of)),
    }
}

fn resource(service: &str, instance: &str) -> Option<Resource> {
    Some(Resource {
        attributes: vec![
            attribute("service.instance.id", text(instance)),
            attribute("host.name", text("elsewhere")),
            attribute("service.name", text(service)),
        ],
        ..Default::default()
    })
}

#[tokio::test]
async fn each_span_is_filed_under_its_own_resource() {
    let spans = |service: &str, ids: &[u8]| ResourceSpans {
        resource: resource(service, "i"),
        scope_spans: ids
            .iter()
            .map(|id| ScopeSpans {
                spans: vec![Span {
                    span_id: vec![0xa0, 0, 0, 0, 0, 0, 0, *id],
                    ..Default::default()
                }],
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![spans("s", &[1, 2]), spans("t", &[3])],
    };
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let (entries, _) = filed(path, vec![encoded(&request)]).await;
    assert_eq!(
        entries,
        expected(&[
            "a000000000000001 s i",
            "a000000000000002 s i",
            "a000000000000003 t i"
        ])
    );
}

#[tokio::test]
async fn each_record_is_filed_under_its_own_resource() {
    let record = |body: Option<Value>| LogRecord {
        body: body.map(value),
        ..Default::default()
    };
    let records = |resource: Option<Resource>, log_records: &[LogRecord]| ResourceLogs {
        resource,
        scope_logs: vec![ScopeLogs {
            log_records: log_records.to_vec(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let number = record(Some(Value::IntValue(7)));
    let request = ExportLogsServiceRequest {
        resource_logs: vec![
            records(
                resource("s", "i"),
                &[record(Some(text("hello"))), number.clone()],
            ),
            records(None, &[record(Some(text("nobody's")))]),
            records(resource("t", "j"), &[record(None)]),
        ],
    };
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let (entries, _) = filed(path, vec![encoded(&request)]).await;
    let number = format!("{} s i", hash(&encoded(&number)));
    let empty = format!("{} t j", hash(b""));
    assert_eq!(
        entries,
        expected(&["hello s i", &number, "nobody's - -", &empty])
    );
}

fn metric(name: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

fn number(attributes: Vec<KeyValue>, of: Option<Number>) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        time_unix_nano: 9,
        value: of,
        ..Default::default()
    }
}

async fn filed_metrics(resource_metrics: Vec<ResourceMetrics>) -> Vec<(String, String, String)> {
    let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    let request = ExportMetricsServiceRequest { resource_metrics };
    filed(path, vec![encoded(&request)]).await.0
}

fn metrics(resource: Option<Resource>, metrics: Vec<Metric>) -> ResourceMetrics {
    ResourceMetrics {
        resource,
        scope_metrics: vec![ScopeMetrics {
            metrics,
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[tokio::test]
async fn each_point_is_filed_under_its_own_resource() {
    let gauge = Data::Gauge(Gauge {
        data_points: vec![
            number(vec![], Some(Number::AsDouble(0.25))),
            number(vec![attribute("a", text("b"))], Some(Number::AsDouble(2.0))),
        ],
    });
    let sum = Data::Sum(Sum {
        data_points: vec![number(vec![], Some(Number::AsInt(-3)))],
        ..Default::default()
    });
    let entries = filed_metrics(vec![
        metrics(resource("s", "i"), vec![metric("g", gauge)]),
        metrics(resource("t", "j"), vec![metric("c", sum)]),
    ])
    .await;
    assert_eq!(
        entries,
        expected(&["g=0.25@9 s i", "g{a=b}=2@9 s i", "c=-3@9 t j"])
    );
}

#[tokio::test]
async fn points_of_many_values_are_called_by_count_and_sum() {
    let histogram = Data::Histogram(Histogram {
        data_points: vec![HistogramDataPoint {
            attributes: vec![attribute("a", text("b"))],
            time_unix_nano: 1,
            count: 3,
            sum: Some(1.5),
            ..Default::default()
        }],
        ..Default::default()
    });
    let exponential = Data::ExponentialHistogram(ExponentialHistogram {
        data_points: vec![ExponentialHistogramDataPoint {
            time_unix_nano: 2,
            count: 4,
            ..Default::default()
        }],
        ..Default::default()
    });
    let summary = Data::Summary(Summary {
        data_points: vec![SummaryDataPoint {
            time_unix_nano: 3,
            count: 5,
            sum: 6.0,
            ..Default::default()
        }],
    });
    let all = vec![
        metric("h", histogram),
        metric("e", exponential),
        metric("s", summary),
    ];
    let entries = filed_metrics(vec![metrics(resource("s", "i"), all)]).await;
    assert_eq!(
        entries,
        expected(&["h{a=b}=3/1.5@1 s i", "e=4/0@2 s i", "s=5/6@3 s i"])
    );
}

#[tokio::test]
async fn attributes_of_every_type_are_shown() {
    let list = ArrayValue {
        values: vec![value(Value::IntValue(1)), value(text("x"))],
    };
    let map = KeyValueList {
        values: vec![attribute("k", Value::BoolValue(true))],
    };
    let attributes = vec![
        attribute("bool", Value::BoolValue(false)),
        attribute("int", Value::IntValue(-1)),
        attribute("double", Value::DoubleValue(0.5)),
        attribute("bytes", Value::BytesValue(vec![0x0f, 0xf0])),
        attribute("list", Value::ArrayValue(list)),
        attribute("map", Value::KvlistValue(map)),
        KeyValue {
            key: "none".to_owned(),
            value: None,
        },
    ];
    let gauge = Data::Gauge(Gauge {
        data_points: vec![number(attributes, None)],
    });
    let entries = filed_metrics(vec![metrics(None, vec![metric("g", gauge)])]).await;
    let id = "g{bool=false,int=-1,double=0.5,bytes=0ff0,list=[1,x],map={k=true},none=}=@9";
    assert_eq!(entries[0].0, id);
}
