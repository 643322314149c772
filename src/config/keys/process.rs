//! Keys of the process as a whole: logging, metrics, limits.

use super::super::kind::Kind::{Bytes, Choice, Choices, Listen, Text, UrlPath};
use super::{Key, count, seconds};

const LEVELS: &[&str] = &[
    "trace", "debug", "info", "warn", "warning", "error", "fatal", "panic",
];
const EXPORTS: &[&str] = &["prometheus", "metrics_service", "pprof", "none"];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "logger.log_pattern",
        Text,
        "%time [%level][%field] - %msg",
        "How a log line looks: `%time`, `%level`, `%field`, `%msg`.",
    ),
    Key::new(
        "logger.time_pattern",
        Text,
        "2006-01-02 15:04:05.000",
        "How `%time` looks, written as Go's reference time.",
    ),
    Key::new(
        "logger.level",
        Choice(LEVELS),
        "info",
        "Lowest level that is logged; `fatal` and `panic` count as `error`.",
    ),
    Key::new(
        "logger.format",
        Choice(&["text", "json"]),
        "text",
        "Lines by `log_pattern`, or one JSON object each.",
    )
    .ours(),
    Key::new(
        "telemetry.cluster",
        Text,
        "default_cluster",
        "Label `cluster` on every metric.",
    ),
    Key::new(
        "telemetry.service",
        Text,
        "default_service",
        "Label `service` on every metric.",
    ),
    Key::new(
        "telemetry.instance",
        Text,
        "default_instance",
        "Label `instance` on every metric.",
    ),
    Key::new(
        "telemetry.export_type",
        Choices(EXPORTS),
        "prometheus",
        "Where metrics go. Without `prometheus` there is no health endpoint either. `metrics_service` is not built yet; `pprof` means nothing here.",
    ),
    Key::new(
        "telemetry.prometheus.address",
        Listen,
        ":1234",
        "Where metrics, `/healthz` and `/readyz` are served.",
    ),
    Key::new(
        "telemetry.prometheus.endpoint",
        UrlPath,
        "/metrics",
        "Path of the metrics.",
    ),
    Key::new(
        "telemetry.metrics_service.client_name",
        Text,
        "grpc-client",
        "Client that metrics are sent by.",
    )
    .ignored(),
    Key::new(
        "telemetry.metrics_service.interval",
        seconds(1, 86_400),
        "10",
        "Time between two reports.",
    )
    .ignored(),
    Key::new(
        "telemetry.metrics_service.metric_prefix",
        Text,
        "sw_stl_",
        "Prefix of metric names.",
    )
    .ignored(),
    Key::new(
        "telemetry.pprof.address",
        Text,
        ":6060",
        "Go's profiler; there is none here.",
    )
    .ignored(),
    Key::new(
        "limits.memory_bytes",
        Bytes {
            least: 16 << 20,
            most: 16 << 40,
        },
        "auto",
        "Bytes held for clients in all. Default: half of the cgroup's limit, 512MiB without one.",
    )
    .ours(),
    Key::new(
        "limits.workers",
        count("threads", 1, 1_024),
        "auto",
        "Worker threads. Default: the cores we may run on.",
    )
    .ours(),
];
