//! Profilers of language agents: thread snapshots, JFR files, pprof files.

use perigee_plugin_api::protocol::{Adapter, Method, Origin, Protocol, Shape};

use super::COMMANDS;

/// Trace profiling, and the profiles of Go agents.
pub static PROFILE: Protocol = Protocol {
    pipe: "profilepipe",
    receiver: "grpc-native-profile-receiver",
    forwarder: "native-profile-grpc-forwarder",
    sniff_type: "ProfileType",
    origin: Origin::Satellite,
    methods: &[
        GET_TASK_COMMANDS,
        COLLECT_SNAPSHOT,
        Method::queued_stream(
            "/skywalking.v3.ProfileTask/goProfileReport",
            "skywalking.v3.GoProfileData",
            COMMANDS,
        )
        .adapted(Adapter::GoProfiles),
        REPORT_TASK_FINISH,
        GET_TASK_COMMANDS.alias("/ProfileTask/getProfileTaskCommands"),
        COLLECT_SNAPSHOT.alias("/ProfileTask/collectSnapshot"),
        REPORT_TASK_FINISH.alias("/ProfileTask/reportTaskFinish"),
    ],
};

const GET_TASK_COMMANDS: Method = Method::passthrough(
    "/skywalking.v3.ProfileTask/getProfileTaskCommands",
    Shape::Unary,
    "skywalking.v3.ProfileTaskCommandQuery",
    COMMANDS,
);

const COLLECT_SNAPSHOT: Method = Method::queued_stream(
    "/skywalking.v3.ProfileTask/collectSnapshot",
    "skywalking.v3.ThreadSnapshot",
    COMMANDS,
);

const REPORT_TASK_FINISH: Method = Method::passthrough(
    "/skywalking.v3.ProfileTask/reportTaskFinish",
    Shape::Unary,
    "skywalking.v3.ProfileTaskFinishReport",
    COMMANDS,
);

/// JFR files of Java agents.
pub static ASYNC_PROFILER: Protocol = Protocol {
    pipe: "asyncprofilerpipe",
    receiver: "grpc-native-async-profiler-receiver",
    forwarder: "native-async-profiler-grpc-forwarder",
    sniff_type: "AsyncProfilerType",
    origin: Origin::Satellite,
    methods: &[
        Method::passthrough(
            "/skywalking.v10.AsyncProfilerTask/collect",
            Shape::Bidi,
            "skywalking.v10.AsyncProfilerData",
            "skywalking.v10.AsyncProfilerCollectionResponse",
        ),
        Method::passthrough(
            "/skywalking.v10.AsyncProfilerTask/getAsyncProfilerTaskCommands",
            Shape::Unary,
            "skywalking.v10.AsyncProfilerTaskCommandQuery",
            COMMANDS,
        ),
    ],
};

/// pprof files of Go agents.
pub static PPROF: Protocol = Protocol {
    pipe: "pprofpipe",
    receiver: "grpc-native-pprof-receiver",
    forwarder: "native-pprof-grpc-forwarder",
    sniff_type: "PprofType",
    origin: Origin::BuiltIn,
    methods: &[
        Method::passthrough(
            "/skywalking.v10.PprofTask/collect",
            Shape::Bidi,
            "skywalking.v10.PprofData",
            "skywalking.v10.PprofCollectionResponse",
        ),
        Method::passthrough(
            "/skywalking.v10.PprofTask/getPprofTaskCommands",
            Shape::Unary,
            "skywalking.v10.PprofTaskCommandQuery",
            COMMANDS,
        ),
    ],
};
