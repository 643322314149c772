//! The table and the definitions of the services agree.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use perigee_plugin_api::protocol::{Adapter, Forward, Mode, Origin, Queued, Shape};
use perigee_protocols::{PROTOCOLS, by_receiver, find, markdown_table, rows};
use prost::Message;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

#[test]
fn every_row_describes_its_method_as_the_definitions_do() {
    let described = described();
    for row in rows() {
        let method = row.method;
        let path = method.path;
        let described = described
            .get(path)
            .unwrap_or_else(|| panic!("no definition of {path}"));
        assert_eq!(
            described.input_type(),
            format!(".{}", method.request),
            "{path}"
        );
        assert_eq!(
            described.output_type(),
            format!(".{}", method.response),
            "{path}"
        );
        assert_eq!(shape(described), Some(method.shape), "{path}");
    }
}

#[test]
fn every_described_method_has_one_row() {
    let described: BTreeSet<String> = described()
        .into_keys()
        .filter(|path| !path.starts_with("/RemoteService/"))
        .filter(|path| !path.starts_with("/grpc.health.v1.Health/"))
        .collect();
    let paths: BTreeSet<String> = rows().map(|row| row.method.path.to_owned()).collect();
    assert_eq!(paths, described);
    assert_eq!(rows().count(), paths.len(), "a path has two rows");
}

#[test]
fn methods_leave_on_a_path_that_takes_their_messages() {
    let described = described();
    for row in rows() {
        let (method, upstream) = (row.method, row.method.upstream_path());
        let target = described
            .get(upstream)
            .unwrap_or_else(|| panic!("no definition of {upstream}"));
        let leaves = match method.mode {
            Mode::Queued(queued) if queued.adapter == Adapter::Meters => {
                "skywalking.v3.MeterDataCollection"
            }
            _ => method.request,
        };
        assert_eq!(target.input_type(), format!(".{leaves}"), "{upstream}");
        let leaves_as = match method.mode {
            Mode::Passthrough => method.shape,
            Mode::Queued(queued) => match queued.forward {
                Forward::Stream(_) => Shape::ClientStream,
                Forward::Unary(_) => Shape::Unary,
            },
        };
        assert_eq!(shape(target), Some(leaves_as), "{upstream}");
    }
}

#[test]
fn names_of_protocols_are_unique() {
    for name in [
        |index: usize| PROTOCOLS[index].pipe,
        |index: usize| PROTOCOLS[index].receiver,
        |index: usize| PROTOCOLS[index].forwarder,
        |index: usize| PROTOCOLS[index].sniff_type,
    ] {
        let names: BTreeSet<&str> = (0..PROTOCOLS.len()).map(name).collect();
        assert_eq!(names.len(), PROTOCOLS.len(), "{names:?}");
    }
}

#[test]
fn satellite_knows_18_of_the_protocols() {
    let of = |origin| {
        PROTOCOLS
            .iter()
            .filter(|protocol| protocol.origin == origin)
            .count()
    };
    assert_eq!((of(Origin::Satellite), of(Origin::BuiltIn)), (18, 5));
}

#[test]
fn a_path_leads_to_its_row() {
    for row in rows() {
        let found = find(row.method.path).unwrap();
        assert!(std::ptr::eq(found.protocol, row.protocol));
        assert!(std::ptr::eq(found.method, row.method));
        assert!(std::ptr::eq(
            &raw const found.protocol.methods[found.method_index],
            row.method
        ));
    }
    for unknown in [
        "",
        "/",
        "/RemoteService/call",
        "skywalking.v3.EventService/collect",
    ] {
        assert!(find(unknown).is_none(), "{unknown}");
    }
}

#[test]
fn a_receiver_leads_to_its_protocol() {
    for protocol in PROTOCOLS {
        assert!(std::ptr::eq(
            by_receiver(protocol.receiver).unwrap(),
            protocol
        ));
    }
    assert!(by_receiver("grpc-native-nothing-receiver").is_none());
}

#[test]
fn old_names_of_reports_leave_on_the_new_path_and_of_queries_on_their_own() {
    for row in rows() {
        let method = row.method;
        if method.path.matches('.').count() > 0 {
            continue;
        }
        let new = find(&format!("/skywalking.v3.{}", &method.path[1..]));
        let expected = match method.mode {
            Mode::Queued(_) => new.unwrap().method.upstream_path(),
            Mode::Passthrough => method.path,
        };
        assert_eq!(method.upstream_path(), expected);
    }
}

#[test]
fn only_methods_whose_answer_matters_pass_through() {
    let passthrough: BTreeSet<&str> = rows()
        .filter(|row| row.method.mode == Mode::Passthrough)
        .map(|row| row.method.path)
        .collect();
    let expected = BTreeSet::from([
        "/ProfileTask/getProfileTaskCommands",
        "/ProfileTask/reportTaskFinish",
        "/skywalking.v10.AsyncProfilerTask/collect",
        "/skywalking.v10.AsyncProfilerTask/getAsyncProfilerTaskCommands",
        "/skywalking.v10.PprofTask/collect",
        "/skywalking.v10.PprofTask/getPprofTaskCommands",
        "/skywalking.v3.ConfigurationDiscoveryService/fetchConfigurations",
        "/skywalking.v3.ContinuousProfilingService/queryPolicies",
        "/skywalking.v3.ContinuousProfilingService/reportProfilingTask",
        "/skywalking.v3.EBPFProcessService/reportProcesses",
        "/skywalking.v3.EBPFProfilingService/queryTasks",
        "/skywalking.v3.ProfileTask/getProfileTaskCommands",
        "/skywalking.v3.ProfileTask/reportTaskFinish",
    ]);
    assert_eq!(passthrough, expected);
}

#[test]
fn only_heartbeats_grow_old() {
    let with_ttl: BTreeSet<(&str, Duration)> = queued()
        .filter_map(|(path, queued)| Some((path, queued.ttl?)))
        .collect();
    let minute = Duration::from_secs(60);
    let expected = BTreeSet::from([
        ("/ManagementService/keepAlive", minute),
        ("/skywalking.v3.EBPFProcessService/keepAlive", minute),
        ("/skywalking.v3.ManagementService/keepAlive", minute),
    ]);
    assert_eq!(with_ttl, expected);
}

#[test]
fn methods_whose_messages_depend_on_others_have_their_adapters() {
    let adapted: BTreeSet<(&str, String)> = queued()
        .filter(|(_, queued)| queued.adapter != Adapter::Plain)
        .map(|(path, queued)| (path, format!("{:?}", queued.adapter)))
        .collect();
    let expected = [
        ("/ManagementService/keepAlive", "Latest([[1], [2]])"),
        ("/MeterReportService/collect", "Meters"),
        (
            "/envoy.service.accesslog.v2.AccessLogService/StreamAccessLogs",
            "EnvoyAccessLogs",
        ),
        (
            "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
            "EnvoyAccessLogs",
        ),
        (
            "/envoy.service.metrics.v2.MetricsService/StreamMetrics",
            "EnvoyMetrics",
        ),
        (
            "/envoy.service.metrics.v3.MetricsService/StreamMetrics",
            "EnvoyMetrics",
        ),
        (
            "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            "OtlpMetrics",
        ),
        (
            "/satellite.envoy.accesslog.v3.SatelliteAccessLogService/StreamAccessLogs",
            "EnvoyAccessLogs",
        ),
        (
            "/skywalking.v3.EBPFAccessLogService/collect",
            "EbpfAccessLogs",
        ),
        (
            "/skywalking.v3.EBPFProfilingService/collectProfilingData",
            "EbpfProfiling",
        ),
        ("/skywalking.v3.EventService/collect", "Events"),
        ("/skywalking.v3.LogReportService/collect", "Logs"),
        (
            "/skywalking.v3.ManagementService/keepAlive",
            "Latest([[1], [2]])",
        ),
        ("/skywalking.v3.MeterReportService/collect", "Meters"),
        (
            "/skywalking.v3.MeterReportService/collectBatch",
            "Keyed([[1, 3], [1, 4]])",
        ),
        ("/skywalking.v3.ProfileTask/goProfileReport", "GoProfiles"),
    ];
    let expected = expected.map(|(path, adapter)| (path, adapter.to_owned()));
    assert_eq!(adapted, BTreeSet::from(expected));
}

#[test]
fn the_markdown_table_has_a_line_for_each_method() {
    let table = markdown_table();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), rows().count() + 2);
    for line in &lines {
        assert_eq!(line.matches('|').count(), 6, "{line}");
    }
    for expected in [
        "| `managementpipe` | `/ManagementService/keepAlive` | queued, at most 60 s | \
         any node; once a batch for fields 1, 2 | \
         unary calls on `/skywalking.v3.ManagementService/keepAlive` |",
        "| `pprofpipe` | `/skywalking.v10.PprofTask/collect` | passthrough | any node | \
         the stream itself |",
        "| `meterpipe` | `/skywalking.v3.MeterReportService/collectBatch` | queued | \
         one node for fields 1.3, 1.4 | streams |",
    ] {
        assert!(lines.contains(&expected), "{expected}\nis not in\n{table}");
    }
}

fn queued() -> impl Iterator<Item = (&'static str, Queued)> {
    rows().filter_map(|row| match row.method.mode {
        Mode::Passthrough => None,
        Mode::Queued(queued) => Some((row.method.path, queued)),
    })
}

#[expect(clippy::unwrap_used, reason = "a test may end here")]
fn described() -> BTreeMap<String, MethodDescriptorProto> {
    let set = FileDescriptorSet::decode(perigee_proto::DESCRIPTORS).unwrap();
    let mut methods = BTreeMap::new();
    for file in set.file {
        let package = match file.package() {
            "" => String::new(),
            package => format!("{package}."),
        };
        for service in file.service {
            let name = service.name().to_owned();
            for method in service.method {
                methods.insert(format!("/{package}{name}/{}", method.name()), method);
            }
        }
    }
    methods
}

fn shape(method: &MethodDescriptorProto) -> Option<Shape> {
    match (method.client_streaming(), method.server_streaming()) {
        (false, false) => Some(Shape::Unary),
        (true, false) => Some(Shape::ClientStream),
        (true, true) => Some(Shape::Bidi),
        (false, true) => None,
    }
}
