//! What the eBPF agent speaks: processes, profiling, access logs.

use std::time::Duration;

use perigee_plugin_api::protocol::{Adapter, Method, Origin, Protocol, Shape};

use super::COMMANDS;

/// Processes that the agent has found, and their heartbeats.
pub static PROCESS: Protocol = Protocol {
    pipe: "processpipe",
    receiver: "grpc-native-process-receiver",
    forwarder: "native-process-grpc-forwarder",
    sniff_type: "EBPFProcessType",
    origin: Origin::Satellite,
    methods: &[
        Method::passthrough(
            "/skywalking.v3.EBPFProcessService/reportProcesses",
            Shape::Unary,
            "skywalking.v3.EBPFProcessReportList",
            "skywalking.v3.EBPFReportProcessDownstream",
        ),
        // Stamped with the minute of arrival: a late one would revive dead processes.
        Method::queued_unary(
            "/skywalking.v3.EBPFProcessService/keepAlive",
            "skywalking.v3.EBPFProcessPingPkgList",
            COMMANDS,
        )
        .ttl(Duration::from_secs(60)),
    ],
};

/// Profiling that the OAP asks for, and profiling that the agent starts by itself.
pub static PROFILING: Protocol = Protocol {
    pipe: "ebpf-profilingpipe",
    receiver: "grpc-native-ebpf-profiling-receiver",
    forwarder: "native-ebpf-profiling-grpc-forwarder",
    sniff_type: "EBPFProfilingType",
    origin: Origin::Satellite,
    methods: &[
        Method::passthrough(
            "/skywalking.v3.EBPFProfilingService/queryTasks",
            Shape::Unary,
            "skywalking.v3.EBPFProfilingTaskQuery",
            COMMANDS,
        ),
        Method::queued_stream(
            "/skywalking.v3.EBPFProfilingService/collectProfilingData",
            "skywalking.v3.EBPFProfilingData",
            COMMANDS,
        )
        .adapted(Adapter::EbpfProfiling),
        Method::passthrough(
            "/skywalking.v3.ContinuousProfilingService/queryPolicies",
            Shape::Unary,
            "skywalking.v3.ContinuousProfilingPolicyQuery",
            COMMANDS,
        ),
        // Makes a task on each call: never repeated.
        Method::passthrough(
            "/skywalking.v3.ContinuousProfilingService/reportProfilingTask",
            Shape::Unary,
            "skywalking.v3.ContinuousProfilingReport",
            COMMANDS,
        ),
    ],
};

/// Connections and requests as the kernel saw them.
pub static ACCESS_LOG: Protocol = Protocol {
    pipe: "ebpf-accesslog-pipe",
    receiver: "grpc-native-ebpf-accesslog-receiver",
    forwarder: "native-ebpf-accesslog-grpc-forwarder",
    sniff_type: "EBPFAccessLogType",
    origin: Origin::Satellite,
    methods: &[Method::queued_stream(
        "/skywalking.v3.EBPFAccessLogService/collect",
        "skywalking.v3.EBPFAccessLogMessage",
        "skywalking.v3.EBPFAccessLogDownstream",
    )
    .adapted(Adapter::EbpfAccessLogs)],
};
