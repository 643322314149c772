//! OpenTelemetry's Python SDK over gRPC with gzip: spans, metrics and logs.

use std::path::Path;
use std::process::Command;

use perigee_loadtest::process::Running;

use crate::books::{self, Books, Signal};
use crate::{collector, gateway, lines_of, prepared, said, source};

/// Spans of each program, and logs.
const EACH: usize = 100;
/// Points of an export: of three metrics for two kinds each.
const POINTS: usize = 6;
/// Least exports of a program.
const EXPORTS: usize = 3;

fn program(directory: &Path, collector: &str, (service, instance): (&str, &str)) -> Command {
    let mut program = Command::new(directory.join("bin/opentelemetry-instrument"));
    program
        .arg(directory.join("bin/python"))
        .arg(source("otel/otel.py"))
        .arg(EACH.to_string())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
        .env("OTEL_SERVICE_NAME", service)
        .env(
            "OTEL_RESOURCE_ATTRIBUTES",
            format!("service.instance.id={instance}"),
        )
        .env("OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED", "true")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "100")
        .env("OTEL_METRIC_EXPORT_INTERVAL", "300");
    program
}

#[test]
fn spans_metrics_and_logs_of_opentelemetry_programs_arrive_once() {
    let Some(directory) = prepared("otel") else {
        return;
    };
    let scenario = gateway();
    let collector = collector(&scenario).to_string();
    let all = [("otel-one", "otel-one-1"), ("otel-two", "otel-two-1")];
    let programs = all.map(|names| {
        let mut program = program(&directory, &collector, names);
        Running::start(names.0, &mut program).unwrap()
    });
    let mut expected = Books::default();
    for (program, names) in programs.into_iter().zip(all) {
        let lines = lines_of(program);
        assert_eq!(said(&lines, "compression"), ["Gzip"], "of {names:?}");
        let (spans, logs) = (said(&lines, "span"), said(&lines, "log"));
        assert_eq!((spans.len(), logs.len()), (EACH, EACH), "of {names:?}");
        let points = said(&lines, "point");
        assert!(points.len() >= EXPORTS * POINTS, "of {names:?}: {points:?}");
        expected.add(Signal::Span, names, spans);
        expected.add(Signal::OtlpLog, names, logs);
        expected.add(Signal::Point, names, points);
    }

    let mut arrived = Books::default();
    arrived.await_all(&scenario, &expected).unwrap();
    let arrived = books::close(scenario, arrived);
    arrived.assert_exactly(&expected, &[Signal::Span, Signal::OtlpLog, Signal::Point]);
}
