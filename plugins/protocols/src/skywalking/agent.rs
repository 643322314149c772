//! Traces, logs, events, instances and dynamic configuration of language agents.

use std::time::Duration;

use perigee_plugin_api::protocol::{Adapter, Method, Origin, Protocol, Shape};

use super::COMMANDS;

/// Logs. A record without service belongs to the service before it in the same stream.
pub static LOG: Protocol = Protocol {
    pipe: "logpipe",
    receiver: "grpc-native-log-receiver",
    forwarder: "native-log-grpc-forwarder",
    sniff_type: "Logging",
    origin: Origin::Satellite,
    methods: &[Method::queued_stream(
        "/skywalking.v3.LogReportService/collect",
        "skywalking.v3.LogData",
        COMMANDS,
    )
    .adapted(Adapter::Logs)],
};

/// Instance properties and heartbeats.
pub static MANAGEMENT: Protocol = Protocol {
    pipe: "managementpipe",
    receiver: "grpc-native-management-receiver",
    forwarder: "native-management-grpc-forwarder",
    sniff_type: "ManagementType",
    origin: Origin::Satellite,
    methods: &[
        REPORT_INSTANCE_PROPERTIES,
        KEEP_ALIVE,
        REPORT_INSTANCE_PROPERTIES.alias("/ManagementService/reportInstanceProperties"),
        KEEP_ALIVE.alias("/ManagementService/keepAlive"),
    ],
};

/// Go agents send them once, so they are kept until they are delivered.
const REPORT_INSTANCE_PROPERTIES: Method = Method::queued_unary(
    "/skywalking.v3.ManagementService/reportInstanceProperties",
    "skywalking.v3.InstanceProperties",
    COMMANDS,
);

/// The OAP stamps it with the minute of arrival: a late one would revive a dead instance.
const KEEP_ALIVE: Method = Method::queued_unary(
    "/skywalking.v3.ManagementService/keepAlive",
    "skywalking.v3.InstancePingPkg",
    COMMANDS,
)
.ttl(Duration::from_secs(60))
.adapted(Adapter::Latest(SERVICE_AND_INSTANCE));

/// `InstancePingPkg.service` and `serviceInstance`.
const SERVICE_AND_INSTANCE: &[&[u32]] = &[&[1], &[2]];

/// Trace segments, and events that other observers attach to spans.
pub static TRACING: Protocol = Protocol {
    pipe: "tracingpipe",
    receiver: "grpc-native-tracing-receiver",
    forwarder: "native-tracing-grpc-forwarder",
    sniff_type: "TracingType",
    origin: Origin::Satellite,
    methods: &[
        COLLECT_SEGMENTS,
        COLLECT_SEGMENTS_IN_SYNC,
        Method::queued_stream(
            "/skywalking.v3.SpanAttachedEventReportService/collect",
            "skywalking.v3.SpanAttachedEvent",
            COMMANDS,
        ),
        COLLECT_SEGMENTS.alias("/TraceSegmentReportService/collect"),
        COLLECT_SEGMENTS_IN_SYNC.alias("/TraceSegmentReportService/collectInSync"),
    ],
};

const COLLECT_SEGMENTS: Method = Method::queued_stream(
    "/skywalking.v3.TraceSegmentReportService/collect",
    "skywalking.v3.SegmentObject",
    COMMANDS,
);

/// Not in sync with the OAP: the answer is empty either way.
const COLLECT_SEGMENTS_IN_SYNC: Method = Method::queued_unary(
    "/skywalking.v3.TraceSegmentReportService/collectInSync",
    "skywalking.v3.SegmentCollection",
    COMMANDS,
);

/// Dynamic configuration.
pub static CONFIGURATION_DISCOVERY: Protocol = Protocol {
    pipe: "cdspipe",
    receiver: "grpc-native-cds-receiver",
    forwarder: "native-cds-grpc-forwarder",
    sniff_type: "ConfigurationDiscoveryServiceType",
    origin: Origin::Satellite,
    methods: &[Method::passthrough(
        "/skywalking.v3.ConfigurationDiscoveryService/fetchConfigurations",
        Shape::Unary,
        "skywalking.v3.ConfigurationSyncRequest",
        COMMANDS,
    )],
};

/// Events. One without layer would end the OAP's stream.
pub static EVENT: Protocol = Protocol {
    pipe: "eventpipe",
    receiver: "grpc-native-event-receiver",
    forwarder: "native-event-grpc-forwarder",
    sniff_type: "EventType",
    origin: Origin::Satellite,
    methods: &[Method::queued_stream(
        "/skywalking.v3.EventService/collect",
        "skywalking.v3.Event",
        COMMANDS,
    )
    .adapted(Adapter::Events)],
};
