//! eBPF access logs and profiling (`protocols.md` T11, T12).
//!
//! Rover cannot be had here: messages as its appendix and `rover.md` say that they look.

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::skywalking::v3::{
    AccessLogConnection, AccessLogHttpProtocol, AccessLogHttpProtocolRequest,
    AccessLogProtocolLogs, ConnectionAddress, EbpfAccessLogMessage, EbpfAccessLogNodeInfo,
    EbpfOnCpuProfiling, EbpfProfilingData, EbpfProfilingTaskMetadata, IpAddress,
    access_log_protocol_logs, connection_address, ebpf_profiling_data,
};
use perigee_protocols::adapter::Loss;
use proptest::prelude::*;
use prost::Message;

use super::queue::{Call, cuts, taken};

#[derive(Clone, Debug)]
struct Step {
    node: Option<String>,
    connection: Option<i32>,
    path: String,
}

fn step() -> impl Strategy<Value = Step> {
    let node = prop::option::weighted(0.15, "[xy]");
    let connection = prop::option::weighted(0.4, 1..4_i32);
    (node, connection, "[a-z]{3}").prop_map(|(node, connection, path)| Step {
        node,
        connection,
        path,
    })
}

fn connection(port: i32) -> AccessLogConnection {
    AccessLogConnection {
        local: Some(ConnectionAddress {
            address: Some(connection_address::Address::Ip(IpAddress {
                host: "10.0.0.1".into(),
                port,
            })),
        }),
        ..Default::default()
    }
}

fn message(step: &Step) -> EbpfAccessLogMessage {
    EbpfAccessLogMessage {
        node: step.node.as_ref().map(|name| EbpfAccessLogNodeInfo {
            name: name.clone(),
            ..Default::default()
        }),
        connection: step.connection.map(connection),
        kernel_logs: Vec::new(),
        protocol_log: Some(AccessLogProtocolLogs {
            protocol: Some(access_log_protocol_logs::Protocol::Http(
                AccessLogHttpProtocol {
                    request: Some(AccessLogHttpProtocolRequest {
                        path: step.path.clone(),
                        ..Default::default()
                    }),
                    ..Default::default()
                },
            )),
        }),
    }
}

/// Node, connection and path of a log.
type Found = (String, Vec<u8>, String);

fn path(message: EbpfAccessLogMessage) -> String {
    match message.protocol_log.unwrap().protocol.unwrap() {
        access_log_protocol_logs::Protocol::Http(http) => http.request.unwrap().path,
    }
}

/// An OAP takes the node of a call's first message, or the latest (whichever it does, the answer
/// must be the same), and the latest connection.
fn oap(call: &[Vec<u8>], latest_node: bool) -> Vec<Found> {
    let (mut node, mut connection) = (None, None);
    let mut found = Vec::new();
    for (index, message) in call.iter().enumerate() {
        let message = EbpfAccessLogMessage::decode(&**message).unwrap();
        if index == 0 || (latest_node && message.node.is_some()) {
            node = message.node.clone();
        }
        connection = message.connection.clone().or(connection);
        if let Some(connection) = &connection {
            let node = node.clone().unwrap_or_default().name;
            found.push((node, connection.encode_to_vec(), path(message)));
        }
    }
    found
}

fn meant(call: &[Step]) -> Vec<Found> {
    let (mut node, mut port) = (None, None);
    let mut found = Vec::new();
    for step in call {
        node = step.node.clone().or(node);
        port = step.connection.or(port);
        if let (Some(node), Some(port)) = (&node, port) {
            found.push((
                node.clone(),
                connection(port).encode_to_vec(),
                step.path.clone(),
            ));
        }
    }
    found
}

fn access_logs(calls: &[Vec<Step>]) -> Vec<Call> {
    let bytes = |call: &Vec<Step>| -> Vec<_> {
        call.iter()
            .map(|step| message(step).encode_to_vec())
            .collect()
    };
    let taken = |call| taken(Adapter::EbpfAccessLogs, &bytes(call));
    calls.iter().map(taken).collect()
}

fn sorted<T: Ord>(mut found: Vec<T>) -> Vec<T> {
    found.sort();
    found
}

proptest! {
    #[test]
    fn every_log_keeps_its_node_and_connection_however_the_queue_cuts(
        calls in prop::collection::vec(prop::collection::vec(step(), 0..15), 1..4),
        cuts in cuts(),
        latest_node in any::<bool>(),
    ) {
        let upstream = cuts.upstream_calls(Adapter::EbpfAccessLogs, &access_logs(&calls));
        let found = upstream.iter().flat_map(|call| oap(call, latest_node)).collect();
        let meant = calls.iter().flat_map(|call| meant(call)).collect();
        prop_assert_eq!(sorted(found), sorted(meant));
    }

    #[test]
    fn every_stack_keeps_its_task_however_the_queue_cuts(
        calls in prop::collection::vec(
            prop::collection::vec((prop::option::weighted(0.3, "[st]"), any::<i32>()), 0..12), 1..4),
        cuts in cuts(),
    ) {
        let adapter = Adapter::EbpfProfiling;
        let queued: Vec<Call> = calls.iter().map(|call| {
            let bytes: Vec<_> = call.iter().map(|(task, dumps)| stacks(task.as_deref(), *dumps)).collect();
            taken(adapter, &bytes)
        }).collect();
        let upstream = cuts.upstream_calls(adapter, &queued);
        let found = upstream.iter().flat_map(|call| stacks_at_oap(call)).collect();
        let mut meant = Vec::new();
        for call in &calls {
            let mut latest = None;
            for (task, dumps) in call {
                latest = task.clone().or(latest);
                meant.extend(latest.clone().map(|task| (task, *dumps)));
            }
        }
        prop_assert_eq!(sorted(found), sorted(meant));
    }
}

fn stacks(task: Option<&str>, dump_count: i32) -> Vec<u8> {
    let data = EbpfProfilingData {
        task: task.map(|id| EbpfProfilingTaskMetadata {
            task_id: id.into(),
            ..Default::default()
        }),
        profiling: Some(ebpf_profiling_data::Profiling::OnCpu(EbpfOnCpuProfiling {
            stacks: Vec::new(),
            dump_count,
        })),
    };
    data.encode_to_vec()
}

/// The latest task. A call that begins without one makes an empty schedule.
fn stacks_at_oap(call: &[Vec<u8>]) -> Vec<(String, i32)> {
    let mut task = String::new();
    let stacks = call.iter().map(|data| {
        let data = EbpfProfilingData::decode(&**data).unwrap();
        if let Some(own) = data.task {
            task = own.task_id;
        }
        match data.profiling.unwrap() {
            ebpf_profiling_data::Profiling::OnCpu(stacks) => (task.clone(), stacks.dump_count),
            ebpf_profiling_data::Profiling::OffCpu(_) => unreachable!("none was sent"),
        }
    });
    stacks.collect()
}

fn log(node: Option<&str>, connection: Option<i32>, path: &str) -> Vec<u8> {
    let step = Step {
        node: node.map(Into::into),
        connection,
        path: path.into(),
    };
    message(&step).encode_to_vec()
}

#[test]
fn a_message_before_any_connection_is_nobodys() {
    let logs = [log(Some("x"), None, "a"), log(None, Some(1), "b")];
    let call = taken(Adapter::EbpfAccessLogs, &logs);
    assert_eq!(call.losses, [(Loss::Unattributed, 1)]);
    let sent = super::queue::sent(Adapter::EbpfAccessLogs, &call.queued);
    assert_eq!(
        oap(&sent, false),
        [("x".into(), connection(1).encode_to_vec(), "b".into())]
    );
}

#[test]
fn what_follows_a_connection_that_nobody_can_read_is_not_of_the_one_before() {
    let broken = b"\x12\x03\x0a\x05x".to_vec();
    let logs = [
        log(Some("x"), Some(1), "a"),
        broken,
        log(None, None, "b"),
        log(None, Some(2), "c"),
    ];
    let call = taken(Adapter::EbpfAccessLogs, &logs);
    assert_eq!(call.losses, [(Loss::Malformed, 1), (Loss::Unattributed, 1)]);
    let sent = super::queue::sent(Adapter::EbpfAccessLogs, &call.queued);
    let found = oap(&sent, false);
    assert_eq!(
        found.last().unwrap(),
        &("x".into(), connection(2).encode_to_vec(), "c".into())
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn a_node_is_said_once_in_a_call_and_a_connection_where_it_changes() {
    let logs = [
        log(Some("x"), Some(1), "a"),
        log(None, None, "b"),
        log(None, Some(2), "c"),
        log(None, None, "d"),
        log(None, Some(1), "e"),
    ];
    let call = taken(Adapter::EbpfAccessLogs, &logs);
    let sent = super::queue::sent(Adapter::EbpfAccessLogs, &call.queued);
    assert_eq!(sent, logs, "what Rover sends leaves as it came");
}
