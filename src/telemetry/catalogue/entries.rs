//! The entries of the catalogue.

use super::capture::{CAPTURE_CHILD_RESTARTS, CAPTURE_CHILD_UP, CAPTURE_PAUSED, CAPTURE_POSSIBLE};
use super::{Metric, counter, gauge, histogram};

/// `gatherer_receive_count`.
pub static GATHERER_RECEIVE_COUNT: Metric = counter(
    "gatherer_receive_count",
    "messages",
    &["pipe", "status"],
    "Messages that arrived (status all), and of these the ones the queue had no room for (status abandoned). Satellite's name.",
);
/// `queue_output_count`.
pub static QUEUE_OUTPUT_COUNT: Metric = counter(
    "queue_output_count",
    "messages",
    &["pipe", "status"],
    "Messages taken from the queue (status success); status error is always 0. Satellite's name.",
);
/// `sender_output_count`.
pub static SENDER_OUTPUT_COUNT: Metric = counter(
    "sender_output_count",
    "messages",
    &["pipe", "status", "type"],
    "Messages an OAP confirmed (status success) and messages whose delivery was given up (status failure). Satellite's name.",
);
/// `pipeline_queue_total_capacity`.
pub static QUEUE_CAPACITY: Metric = gauge(
    "pipeline_queue_total_capacity",
    "messages",
    &["pipeline"],
    "Messages that the queue may hold, over all partitions. Satellite's name.",
);
/// `pipeline_queue_partition_size`.
pub static QUEUE_PARTITION_SIZE: Metric = gauge(
    "pipeline_queue_partition_size",
    "messages",
    &["pipeline", "partition"],
    "Messages waiting in a partition. Satellite's name.",
);
/// `grpc_server_connection_count`.
pub static SERVER_CONNECTIONS: Metric = gauge(
    "grpc_server_connection_count",
    "connections",
    &[],
    "Open connections of agents. Satellite's name.",
);
/// `grpc_server_cpu_gauge`.
pub static SERVER_CPU: Metric = gauge(
    "grpc_server_cpu_gauge",
    "percent",
    &[],
    "CPU time of our own control group, or of this process where that is the whole machine, in percent of perigee_cpu_cores, over the last 5 seconds. Satellite's name; there it is the whole host's.",
);
/// `perigee_cpu_limit`.
pub static CPU_LIMIT: Metric = gauge(
    "perigee_cpu_limit",
    "percent",
    &[],
    "grpc_server_cpu_gauge above which new connections are refused; 100 is never exceeded.",
);
/// `perigee_cpu_cores`.
pub static CPU_CORES: Metric = gauge(
    "perigee_cpu_cores",
    "cores",
    &[],
    "Cores that we may use: the tightest quota of our control group and those around it, or those of the affinity mask.",
);
/// `perigee_received_messages_total`.
pub static RECEIVED: Metric = counter(
    "perigee_received_messages_total",
    "messages",
    &["pipe"],
    "Messages that arrived. Equal to delivered + queued + in flight + merged + dropped.",
);
/// `perigee_received_bytes_total`.
pub static RECEIVED_BYTES: Metric = counter(
    "perigee_received_bytes_total",
    "bytes",
    &["pipe"],
    "Bytes of the messages that arrived.",
);
/// `perigee_acknowledged_messages_total`.
pub static ACKNOWLEDGED: Metric = counter(
    "perigee_acknowledged_messages_total",
    "messages",
    &["pipe"],
    "Messages that their client was told are taken.",
);
/// `perigee_delivered_messages_total`.
pub static DELIVERED: Metric = counter(
    "perigee_delivered_messages_total",
    "messages",
    &["pipe"],
    "Messages that an OAP confirmed.",
);
/// `perigee_dropped_messages_total`.
pub static DROPPED: Metric = counter(
    "perigee_dropped_messages_total",
    "messages",
    &["pipe", "reason"],
    "Messages that were let go, by reason.",
);
/// `perigee_merged_messages_total`.
pub static MERGED: Metric = counter(
    "perigee_merged_messages_total",
    "messages",
    &["pipe"],
    "Messages that went on inside another one, or that a later one replaced.",
);
/// `perigee_resent_messages_total`.
pub static RESENT: Metric = counter(
    "perigee_resent_messages_total",
    "messages",
    &["pipe"],
    "Messages that were sent again after a failed attempt.",
);
/// `perigee_passthrough_calls_total`.
pub static PASSTHROUGH_CALLS: Metric = counter(
    "perigee_passthrough_calls_total",
    "calls",
    &["pipe"],
    "Calls that are answered by an OAP itself.",
);
/// `perigee_passthrough_failures_total`.
pub static PASSTHROUGH_FAILURES: Metric = counter(
    "perigee_passthrough_failures_total",
    "calls",
    &["pipe"],
    "Passthrough calls that got no answer from an OAP.",
);
/// `perigee_queued_messages`.
pub static QUEUED: Metric = gauge(
    "perigee_queued_messages",
    "messages",
    &["pipe"],
    "Messages waiting in the queue.",
);
/// `perigee_queued_bytes`.
pub static QUEUED_BYTES: Metric = gauge(
    "perigee_queued_bytes",
    "bytes",
    &["pipe"],
    "Bytes of the messages waiting in the queue.",
);
/// `perigee_queue_oldest_age_seconds`.
pub static OLDEST_AGE: Metric = gauge(
    "perigee_queue_oldest_age_seconds",
    "seconds",
    &["pipe"],
    "Age of the oldest waiting message; 0 when none waits.",
);
/// `perigee_in_flight_messages`.
pub static IN_FLIGHT: Metric = gauge(
    "perigee_in_flight_messages",
    "messages",
    &["pipe"],
    "Messages on their way to an OAP and not yet confirmed.",
);
/// `perigee_node_delivered_messages_total`.
pub static NODE_DELIVERED: Metric = counter(
    "perigee_node_delivered_messages_total",
    "messages",
    &["node"],
    "Messages that the node confirmed.",
);
/// `perigee_node_delivered_batches_total`.
pub static NODE_BATCHES: Metric = counter(
    "perigee_node_delivered_batches_total",
    "batches",
    &["node"],
    "Batches that the node confirmed.",
);
/// `perigee_node_failed_batches_total`.
pub static NODE_FAILED_BATCHES: Metric = counter(
    "perigee_node_failed_batches_total",
    "batches",
    &["node"],
    "Batches that the node refused or that were lost with its connection.",
);
/// `perigee_node_resent_messages_total`.
pub static NODE_RESENT: Metric = counter(
    "perigee_node_resent_messages_total",
    "messages",
    &["node"],
    "Messages sent to the node that had been sent to some node before.",
);
/// `perigee_node_in_flight_calls`.
pub static NODE_IN_FLIGHT: Metric = gauge(
    "perigee_node_in_flight_calls",
    "calls",
    &["node"],
    "Calls that wait for the node.",
);
/// `perigee_node_ready_connections`.
pub static NODE_READY: Metric = gauge(
    "perigee_node_ready_connections",
    "connections",
    &["node"],
    "Connections to the node that take calls; 0: the node is not ready.",
);
/// `perigee_node_ejections_total`.
pub static NODE_EJECTIONS: Metric = counter(
    "perigee_node_ejections_total",
    "events",
    &["node"],
    "How often the node was set aside because its calls failed.",
);
/// `perigee_node_connects_total`.
pub static NODE_CONNECTS: Metric = counter(
    "perigee_node_connects_total",
    "attempts",
    &["node"],
    "Attempts to connect to the node.",
);
/// `perigee_node_failed_connects_total`.
pub static NODE_FAILED_CONNECTS: Metric = counter(
    "perigee_node_failed_connects_total",
    "attempts",
    &["node"],
    "Attempts to connect to the node that failed.",
);
/// `perigee_connections_total`.
pub static CONNECTIONS: Metric = counter(
    "perigee_connections_total",
    "connections",
    &[],
    "Connections that agents made.",
);
/// `perigee_connection_errors_total`.
pub static CONNECTION_ERRORS: Metric = counter(
    "perigee_connection_errors_total",
    "connections",
    &["reason"],
    "Connections of agents that failed, by reason. Refused: limit (connection_count, or open files), source_limit (connections_per_source), cpu_limit (cpu_utilization). Broken: handshake (no HTTP/2), tls, protocol, io.",
);
/// `perigee_streams`.
pub static STREAMS_OPEN: Metric = gauge(
    "perigee_streams",
    "streams",
    &[],
    "Calls of agents that are open.",
);
/// `perigee_streams_total`.
pub static STREAMS: Metric = counter(
    "perigee_streams_total",
    "streams",
    &[],
    "Calls that agents began.",
);
/// `perigee_refusals_total`.
pub static REFUSALS: Metric = counter(
    "perigee_refusals_total",
    "calls",
    &["reason"],
    "Calls of agents that the gateway ended with an error, by reason.",
);
/// `perigee_certificate_reloads_total`.
pub static CERTIFICATE_RELOADS: Metric = counter(
    "perigee_certificate_reloads_total",
    "events",
    &["side", "result"],
    "Changes of certificate files towards agents (side server) and the OAP (side client) that were taken, or refused because the files cannot be used.",
);
/// `perigee_front_received_bytes_total`.
pub static FRONT_BYTES: Metric = counter(
    "perigee_front_received_bytes_total",
    "bytes",
    &[],
    "Bytes of request bodies, passthrough calls included.",
);
/// `perigee_paused_streams`.
pub static PAUSED_STREAMS: Metric = gauge(
    "perigee_paused_streams",
    "streams",
    &[],
    "Calls that are not read on because a queue or the byte budget is full.",
);
/// `perigee_budget_used_bytes`.
pub static BUDGET_USED: Metric = gauge(
    "perigee_budget_used_bytes",
    "bytes",
    &[],
    "Bytes held for clients.",
);
/// `perigee_budget_limit_bytes`.
pub static BUDGET_LIMIT: Metric = gauge(
    "perigee_budget_limit_bytes",
    "bytes",
    &[],
    "Bytes that may be held for clients.",
);
/// `perigee_log_lines_dropped_total`.
pub static LOG_LINES_DROPPED: Metric = counter(
    "perigee_log_lines_dropped_total",
    "lines",
    &[],
    "Log lines that were not written because standard output was too slow.",
);
/// `perigee_build_info`.
pub static BUILD_INFO: Metric = gauge(
    "perigee_build_info",
    "",
    &["version"],
    "Always 1; the version is in the label.",
);
/// `perigee_batch_messages`.
pub static BATCH_MESSAGES: Metric = histogram(
    "perigee_batch_messages",
    "messages",
    &[
        1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4,
    ],
    "Messages in a batch.",
);
/// `perigee_batch_bytes`.
pub static BATCH_BYTES: Metric = histogram(
    "perigee_batch_bytes",
    "bytes",
    &[
        256.0, 1024.0, 4096.0, 16384.0, 65536.0, 131072.0, 262144.0, 524288.0, 1048576.0,
        4194304.0, 16777216.0, 52428800.0,
    ],
    "Bytes in a batch.",
);
/// `perigee_delivery_seconds`.
pub static DELIVERY_SECONDS: Metric = histogram(
    "perigee_delivery_seconds",
    "seconds",
    &[
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    ],
    "From the arrival of a batch's oldest message to the OAP's confirmation.",
);
/// `perigee_upstream_call_seconds`.
pub static CALL_SECONDS: Metric = histogram(
    "perigee_upstream_call_seconds",
    "seconds",
    &[
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    ],
    "One call to an OAP, from its first byte to its status.",
);

/// All of them, Satellite's first.
pub static ALL: [&Metric; 51] = [
    &GATHERER_RECEIVE_COUNT,
    &QUEUE_OUTPUT_COUNT,
    &SENDER_OUTPUT_COUNT,
    &QUEUE_CAPACITY,
    &QUEUE_PARTITION_SIZE,
    &SERVER_CONNECTIONS,
    &SERVER_CPU,
    &CPU_LIMIT,
    &CPU_CORES,
    &RECEIVED,
    &RECEIVED_BYTES,
    &ACKNOWLEDGED,
    &DELIVERED,
    &DROPPED,
    &MERGED,
    &RESENT,
    &PASSTHROUGH_CALLS,
    &PASSTHROUGH_FAILURES,
    &QUEUED,
    &QUEUED_BYTES,
    &OLDEST_AGE,
    &IN_FLIGHT,
    &NODE_DELIVERED,
    &NODE_BATCHES,
    &NODE_FAILED_BATCHES,
    &NODE_RESENT,
    &NODE_IN_FLIGHT,
    &NODE_READY,
    &NODE_EJECTIONS,
    &NODE_CONNECTS,
    &NODE_FAILED_CONNECTS,
    &CONNECTIONS,
    &CONNECTION_ERRORS,
    &STREAMS_OPEN,
    &STREAMS,
    &REFUSALS,
    &CERTIFICATE_RELOADS,
    &FRONT_BYTES,
    &PAUSED_STREAMS,
    &BUDGET_USED,
    &BUDGET_LIMIT,
    &LOG_LINES_DROPPED,
    &BUILD_INFO,
    &CAPTURE_CHILD_UP,
    &CAPTURE_CHILD_RESTARTS,
    &CAPTURE_PAUSED,
    &CAPTURE_POSSIBLE,
    &BATCH_MESSAGES,
    &BATCH_BYTES,
    &DELIVERY_SECONDS,
    &CALL_SECONDS,
];
