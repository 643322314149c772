//! Runtime metrics, meters, and metrics of mesh probes.

use perigee_plugin_api::protocol::{Adapter, Method, Origin, Protocol};

use super::COMMANDS;

/// Java runtime metrics.
pub static JVM: Protocol = Protocol {
    pipe: "jvmpipe",
    receiver: "grpc-native-jvm-receiver",
    forwarder: "native-jvm-grpc-forwarder",
    sniff_type: "JVMMetricType",
    origin: Origin::Satellite,
    methods: &[
        COLLECT_JVM,
        COLLECT_JVM.alias("/JVMMetricReportService/collect"),
    ],
};

const COLLECT_JVM: Method = Method::queued_unary(
    "/skywalking.v3.JVMMetricReportService/collect",
    "skywalking.v3.JVMMetricCollection",
    COMMANDS,
);

/// .NET runtime metrics.
pub static CLR: Protocol = Protocol {
    pipe: "clrpipe",
    receiver: "grpc-native-clr-receiver",
    forwarder: "native-clr-grpc-forwarder",
    sniff_type: "CLRMetricType",
    origin: Origin::Satellite,
    methods: &[
        COLLECT_CLR,
        COLLECT_CLR.alias("/CLRMetricReportService/collect"),
    ],
};

const COLLECT_CLR: Method = Method::queued_unary(
    "/skywalking.v3.CLRMetricReportService/collect",
    "skywalking.v3.CLRMetricCollection",
    COMMANDS,
);

/// Meters. The OAP remembers counters in the process, so an instance stays with its node.
pub static METER: Protocol = Protocol {
    pipe: "meterpipe",
    receiver: "grpc-native-meter-receiver",
    forwarder: "native-meter-grpc-forwarder",
    sniff_type: "MeterType",
    origin: Origin::Satellite,
    methods: &[
        COLLECT_METERS,
        Method::queued_stream(COLLECT_BATCH, "skywalking.v3.MeterDataCollection", COMMANDS)
            .adapted(Adapter::Keyed(SERVICE_AND_INSTANCE_OF_THE_FIRST_METER)),
        COLLECT_METERS.alias("/MeterReportService/collect"),
    ],
};

const COLLECT_BATCH: &str = "/skywalking.v3.MeterReportService/collectBatch";

/// The whole stream is one set for the OAP; one message of `collectBatch` is one too.
const COLLECT_METERS: Method = Method::queued_stream(
    "/skywalking.v3.MeterReportService/collect",
    "skywalking.v3.MeterData",
    COMMANDS,
)
.forward_to(COLLECT_BATCH)
.adapted(Adapter::Meters);

/// `meterData` 1, in it `service` 3 and `serviceInstance` 4.
const SERVICE_AND_INSTANCE_OF_THE_FIRST_METER: &[&[u32]] = &[&[1, 3], &[1, 4]];

/// Metrics of mesh probes.
pub static MESH: Protocol = Protocol {
    pipe: "meshpipe",
    receiver: "grpc-native-mesh-receiver",
    forwarder: "native-mesh-grpc-forwarder",
    sniff_type: "ServiceMeshType",
    origin: Origin::BuiltIn,
    methods: &[Method::queued_stream(
        "/skywalking.v3.ServiceMeshMetricService/collect",
        "skywalking.v3.ServiceMeshMetrics",
        "skywalking.v3.MeshProbeDownstream",
    )],
};
