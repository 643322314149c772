//! What the eBPF agent streams.

use sw::access_log_kernel_log::Operation;
use sw::ebpf_profiling_data::Profiling;

use super::super::decode::hash;
use super::*;

const ACCESS_LOGS: &str = "/skywalking.v3.EBPFAccessLogService/collect";
const PROFILING: &str = "/skywalking.v3.EBPFProfilingService/collectProfilingData";

fn at(offset: u64) -> Option<sw::EbpfTimestamp> {
    let offset = sw::EbpfOffsetTimestamp { offset };
    Some(sw::EbpfTimestamp {
        timestamp: Some(sw::ebpf_timestamp::Timestamp::Offset(offset)),
    })
}

fn kernel_log(operation: Operation) -> sw::AccessLogKernelLog {
    sw::AccessLogKernelLog {
        operation: Some(operation),
    }
}

fn write_at(offset: u64) -> sw::AccessLogKernelLog {
    kernel_log(Operation::Write(sw::AccessLogKernelWriteOperation {
        start_time: at(offset),
        ..Default::default()
    }))
}

fn request(path: &str) -> Option<sw::AccessLogProtocolLogs> {
    let http = sw::AccessLogHttpProtocol {
        request: Some(sw::AccessLogHttpProtocolRequest {
            path: path.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    Some(sw::AccessLogProtocolLogs {
        protocol: Some(sw::access_log_protocol_logs::Protocol::Http(http)),
    })
}

fn node(name: &str) -> Option<sw::EbpfAccessLogNodeInfo> {
    Some(sw::EbpfAccessLogNodeInfo {
        name: name.to_owned(),
        ..Default::default()
    })
}

/// From a port of an address to a port of a pod.
fn connection(from: i32, to: i32) -> Option<sw::AccessLogConnection> {
    use sw::connection_address::Address;
    let end = |address| {
        Some(sw::ConnectionAddress {
            address: Some(address),
        })
    };
    Some(sw::AccessLogConnection {
        local: end(Address::Ip(sw::IpAddress {
            host: "10.0.0.1".to_owned(),
            port: from,
        })),
        remote: end(Address::Kubernetes(sw::KubernetesProcessAddress {
            service_name: "shop".to_owned(),
            pod_name: "shop-0".to_owned(),
            port: to,
            ..Default::default()
        })),
        ..Default::default()
    })
}

fn logs(path: &str, kernel: &[u64]) -> sw::EbpfAccessLogMessage {
    sw::EbpfAccessLogMessage {
        kernel_logs: kernel.iter().copied().map(write_at).collect(),
        protocol_log: request(path),
        ..Default::default()
    }
}

#[tokio::test]
async fn access_logs_belong_to_the_latest_node_and_connection() {
    let messages = [
        sw::EbpfAccessLogMessage {
            node: node("n"),
            connection: connection(1, 80),
            ..logs("/a", &[11, 12])
        },
        logs("/b", &[]),
        sw::EbpfAccessLogMessage {
            connection: connection(2, 80),
            ..logs("/c", &[13])
        },
        sw::EbpfAccessLogMessage {
            node: node("m"),
            ..logs("/d", &[])
        },
    ];
    let (entries, state) = filed(ACCESS_LOGS, messages.iter().map(encoded).collect()).await;
    assert_eq!(
        entries,
        expected(&[
            "kernel:write:11 n 10.0.0.1:1->shop-0:80",
            "kernel:write:12 n 10.0.0.1:1->shop-0:80",
            "/a n 10.0.0.1:1->shop-0:80",
            "/b n 10.0.0.1:1->shop-0:80",
            "kernel:write:13 n 10.0.0.1:2->shop-0:80",
            "/c n 10.0.0.1:2->shop-0:80",
            "/d m 10.0.0.1:2->shop-0:80",
        ])
    );
    assert_eq!(state.unfiled(), 0);
}

#[tokio::test]
async fn access_logs_before_a_connection_or_a_node_are_dropped_silently() {
    let known_node = sw::EbpfAccessLogMessage {
        node: node("n"),
        ..logs("/a", &[1, 2])
    };
    let known_connection = sw::EbpfAccessLogMessage {
        connection: connection(1, 80),
        ..logs("/b", &[])
    };
    let both = [encoded(&known_node), encoded(&known_connection)];
    let (entries, state) = filed(ACCESS_LOGS, both.to_vec()).await;
    assert_eq!(entries, expected(&["/b n 10.0.0.1:1->shop-0:80"]));
    assert_eq!(state.unnamed, 3);
    let (entries, state) = filed(ACCESS_LOGS, vec![both[1].clone(), both[1].clone()]).await;
    assert_eq!(entries, []);
    assert_eq!(state.unnamed, 2);
}

#[tokio::test]
async fn a_kernel_log_is_called_by_its_operation_and_start() {
    let operations = [
        Operation::Connect(sw::AccessLogKernelConnectOperation {
            start_time: at(1),
            ..Default::default()
        }),
        Operation::Accept(sw::AccessLogKernelAcceptOperation {
            start_time: at(2),
            end_time: at(9),
        }),
        Operation::Close(sw::AccessLogKernelCloseOperation {
            start_time: at(3),
            ..Default::default()
        }),
        Operation::Read(sw::AccessLogKernelReadOperation::default()),
    ];
    let message = sw::EbpfAccessLogMessage {
        node: node("n"),
        connection: connection(1, 80),
        kernel_logs: operations.map(kernel_log).into(),
        protocol_log: None,
    };
    let (entries, _) = filed(ACCESS_LOGS, vec![encoded(&message)]).await;
    let ids: Vec<_> = entries.into_iter().map(|(id, ..)| id).collect();
    assert_eq!(
        ids,
        [
            "kernel:connect:1",
            "kernel:accept:2",
            "kernel:close:3",
            "kernel:read:0"
        ]
    );
}

#[tokio::test]
async fn profiling_data_belong_to_the_latest_task_and_before_any_to_none() {
    let on_cpu = |count: i32| sw::EbpfOnCpuProfiling {
        stacks: vec![],
        dump_count: count,
    };
    let data = |task: Option<(&str, &str)>, profiling: Profiling| {
        encoded(&sw::EbpfProfilingData {
            task: task.map(|(task, process)| sw::EbpfProfilingTaskMetadata {
                task_id: task.to_owned(),
                process_id: process.to_owned(),
                ..Default::default()
            }),
            profiling: Some(profiling),
        })
    };
    let off_cpu = sw::EbpfOffCpuProfiling {
        switch_count: 5,
        ..Default::default()
    };
    let messages = vec![
        data(None, Profiling::OnCpu(on_cpu(1))),
        data(Some(("t", "p")), Profiling::OnCpu(on_cpu(2))),
        data(None, Profiling::OnCpu(on_cpu(3))),
        data(Some(("u", "q")), Profiling::OffCpu(off_cpu.clone())),
        encoded(&sw::EbpfProfilingData::default()),
    ];
    let (entries, _) = filed(PROFILING, messages).await;
    let of = |payload: &Bytes, names: &str| format!("{} {names}", hash(payload));
    assert_eq!(
        entries,
        expected(&[
            &of(&encoded(&on_cpu(1)), "- -"),
            &of(&encoded(&on_cpu(2)), "t p"),
            &of(&encoded(&on_cpu(3)), "t p"),
            &of(&encoded(&off_cpu), "u q"),
        ])
    );
}
