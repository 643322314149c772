//! OpenTelemetry: each resource names itself (T13).

use std::fmt::{self, Display, Formatter};

use bytes::Bytes;
use perigee_proto::opentelemetry::proto::collector::logs::v1::ExportLogsServiceRequest;
use perigee_proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use perigee_proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use perigee_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
use perigee_proto::opentelemetry::proto::logs::v1::LogRecord;
use perigee_proto::opentelemetry::proto::metrics::v1::number_data_point::Value as Number;
use perigee_proto::opentelemetry::proto::metrics::v1::{NumberDataPoint, metric::Data};
use perigee_proto::opentelemetry::proto::resource::v1::Resource;
use tonic::Status;

use super::text::{hash_of, hex, labelled, text_or};
use super::{Filing, Names, Reader, decode_as};

/// Spans.
#[derive(Default)]
pub(super) struct Traces;

impl Reader for Traces {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let request: ExportTraceServiceRequest = decode_as(bytes)?;
        for of_resource in &request.resource_spans {
            let names = names_of(of_resource.resource.as_ref());
            for span in of_resource.scope_spans.iter().flat_map(|all| &all.spans) {
                filing.file(&names, || hex(&span.span_id));
            }
        }
        Ok(())
    }
}

/// Log records.
#[derive(Default)]
pub(super) struct Logs;

impl Reader for Logs {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let request: ExportLogsServiceRequest = decode_as(bytes)?;
        for of_resource in &request.resource_logs {
            let names = names_of(of_resource.resource.as_ref());
            let scopes = of_resource.scope_logs.iter();
            for record in scopes.flat_map(|all| &all.log_records) {
                filing.file(&names, || record_id(record));
            }
        }
        Ok(())
    }
}

/// Data points.
#[derive(Default)]
pub(super) struct Metrics;

impl Reader for Metrics {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let request: ExportMetricsServiceRequest = decode_as(bytes)?;
        for of_resource in &request.resource_metrics {
            let names = names_of(of_resource.resource.as_ref());
            let scopes = of_resource.scope_metrics.iter();
            for metric in scopes.flat_map(|all| &all.metrics) {
                if let Some(data) = &metric.data {
                    for_points(data, |point| filing.file(&names, || point.id(&metric.name)));
                }
            }
        }
        Ok(())
    }
}

fn names_of(resource: Option<&Resource>) -> Names {
    let mut names = Names::default();
    for attribute in resource.iter().flat_map(|resource| &resource.attributes) {
        let name = match &*attribute.key {
            "service.name" => &mut names.service,
            "service.instance.id" => &mut names.instance,
            _ => continue,
        };
        if let Some(Value::StringValue(text)) = value_of(attribute.value.as_ref()) {
            name.clone_from(text);
        }
    }
    names
}

fn value_of(value: Option<&AnyValue>) -> Option<&Value> {
    value?.value.as_ref()
}

fn record_id(record: &LogRecord) -> String {
    match value_of(record.body.as_ref()) {
        Some(Value::StringValue(text)) => text_or(text, || hash_of(record)),
        _ => hash_of(record),
    }
}

/// What the kinds of data points have in common.
struct Point<'a> {
    attributes: &'a [KeyValue],
    value: &'a dyn Display,
    time_unix_nano: u64,
}

impl Point<'_> {
    fn id(&self, metric: &str) -> String {
        let attributes = self.attributes.iter();
        let attributes = attributes.map(|pair| (&pair.key, Shown(pair.value.as_ref())));
        let name = labelled(metric, attributes);
        format!("{name}={}@{}", self.value, self.time_unix_nano)
    }
}

fn for_points(data: &Data, mut each: impl FnMut(&Point<'_>)) {
    let mut file = |attributes: &[KeyValue], value: &dyn Display, time_unix_nano| {
        each(&Point {
            attributes,
            value,
            time_unix_nano,
        });
    };
    match data {
        Data::Gauge(gauge) => {
            for point in &gauge.data_points {
                file(&point.attributes, &Single(point), point.time_unix_nano);
            }
        }
        Data::Sum(sum) => {
            for point in &sum.data_points {
                file(&point.attributes, &Single(point), point.time_unix_nano);
            }
        }
        Data::Histogram(histogram) => {
            for point in &histogram.data_points {
                let value = Many(point.count, point.sum());
                file(&point.attributes, &value, point.time_unix_nano);
            }
        }
        Data::ExponentialHistogram(histogram) => {
            for point in &histogram.data_points {
                let value = Many(point.count, point.sum());
                file(&point.attributes, &value, point.time_unix_nano);
            }
        }
        Data::Summary(summary) => {
            for point in &summary.data_points {
                let value = Many(point.count, point.sum);
                file(&point.attributes, &value, point.time_unix_nano);
            }
        }
    }
}

/// The value of a point that has one; nothing if it says that nothing was recorded.
struct Single<'a>(&'a NumberDataPoint);

impl Display for Single<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self.0.value {
            Some(Number::AsDouble(value)) => write!(out, "{value}"),
            Some(Number::AsInt(value)) => write!(out, "{value}"),
            None => Ok(()),
        }
    }
}

/// How many values a point stands for, and their sum.
struct Many(u64, f64);

impl Display for Many {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.0, self.1)
    }
}

/// An attribute's value. Lists are in brackets, maps in braces.
struct Shown<'a>(Option<&'a AnyValue>);

impl Display for Shown<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match value_of(self.0) {
            None => Ok(()),
            Some(Value::StringValue(text)) => out.write_str(text),
            Some(Value::BoolValue(value)) => write!(out, "{value}"),
            Some(Value::IntValue(value)) => write!(out, "{value}"),
            Some(Value::DoubleValue(value)) => write!(out, "{value}"),
            Some(Value::BytesValue(bytes)) => out.write_str(&hex(bytes)),
            Some(Value::ArrayValue(list)) => {
                let values = list.values.iter();
                let values: Vec<_> = values.map(|one| Shown(Some(one)).to_string()).collect();
                write!(out, "[{}]", values.join(","))
            }
            Some(Value::KvlistValue(map)) => {
                let pairs = map.values.iter();
                let pairs = pairs.map(|pair| (&pair.key, Shown(pair.value.as_ref())));
                out.write_str(&labelled("", pairs))
            }
        }
    }
}
