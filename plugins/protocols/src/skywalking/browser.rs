//! Page timings and script errors of browsers and native apps.

use perigee_plugin_api::protocol::{Method, Origin, Protocol};

use super::COMMANDS;

/// Browser monitoring.
pub static BROWSER: Protocol = Protocol {
    pipe: "browserpipe",
    receiver: "grpc-native-browser-receiver",
    forwarder: "native-browser-grpc-forwarder",
    sniff_type: "BrowserType",
    origin: Origin::BuiltIn,
    methods: &[
        COLLECT_PERF_DATA,
        Method::queued_unary(
            "/skywalking.v3.BrowserPerfService/collectWebVitalsPerfData",
            "skywalking.v3.BrowserWebVitalsPerfData",
            COMMANDS,
        ),
        Method::queued_unary(
            "/skywalking.v3.BrowserPerfService/collectResourcePerfData",
            "skywalking.v3.BrowserResourcePerfData",
            COMMANDS,
        ),
        Method::queued_unary(
            "/skywalking.v3.BrowserPerfService/collectWebInteractionsPerfData",
            "skywalking.v3.BrowserWebInteractionsPerfData",
            COMMANDS,
        ),
        COLLECT_ERROR_LOGS,
        COLLECT_PERF_DATA.alias("/BrowserPerfService/collectPerfData"),
        COLLECT_ERROR_LOGS.alias("/BrowserPerfService/collectErrorLogs"),
    ],
};

const COLLECT_PERF_DATA: Method = Method::queued_unary(
    "/skywalking.v3.BrowserPerfService/collectPerfData",
    "skywalking.v3.BrowserPerfData",
    COMMANDS,
);

const COLLECT_ERROR_LOGS: Method = Method::queued_stream(
    "/skywalking.v3.BrowserPerfService/collectErrorLogs",
    "skywalking.v3.BrowserErrorLog",
    COMMANDS,
);
