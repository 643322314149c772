//! T11, T12: node, connection and task stand where they change only.

use perigee::telemetry::books::DropReason;
use perigee_proto::skywalking::v3 as sw;
use prost::Message;

use super::{names, send_each};
use crate::gateway::{Gateway, pipe};

const ACCESS_LOGS: &str = "/skywalking.v3.EBPFAccessLogService/collect";
const PROFILING: &str = "/skywalking.v3.EBPFProfilingService/collectProfilingData";

fn node(name: &str) -> sw::EbpfAccessLogNodeInfo {
    sw::EbpfAccessLogNodeInfo {
        name: name.to_owned(),
        ..Default::default()
    }
}

fn connection(port: i32) -> sw::AccessLogConnection {
    let address = |port| sw::ConnectionAddress {
        address: Some(sw::connection_address::Address::Ip(sw::IpAddress {
            host: "10.0.0.1".to_owned(),
            port,
        })),
    };
    sw::AccessLogConnection {
        local: Some(address(port)),
        remote: Some(address(80)),
        ..Default::default()
    }
}

fn access_log(
    node: Option<sw::EbpfAccessLogNodeInfo>,
    connection: Option<sw::AccessLogConnection>,
    path: &str,
) -> Vec<u8> {
    let http = sw::AccessLogHttpProtocol {
        request: Some(sw::AccessLogHttpProtocolRequest {
            path: path.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let message = sw::EbpfAccessLogMessage {
        node,
        connection,
        protocol_log: Some(sw::AccessLogProtocolLogs {
            protocol: Some(sw::access_log_protocol_logs::Protocol::Http(http)),
        }),
        ..Default::default()
    };
    message.encode_to_vec()
}

#[tokio::test]
async fn t11_access_logs_keep_their_node_and_connection_at_every_cut() {
    const EACH: usize = 50;
    let gateway = Gateway::start_with(3, |settings| {
        pipe(settings, "grpc-native-ebpf-accesslog-receiver")
            .sender
            .max_buffer_size = 3;
    })
    .await;
    let client = gateway.client().await;
    let mut calls = Vec::new();
    for host in ["n1", "n2"] {
        let mut call = client.open(ACCESS_LOGS).await;
        for port in [1001, 1002] {
            let first = access_log(
                (port == 1001).then(|| node(host)),
                Some(connection(port)),
                &format!("/{host}/{port}/0"),
            );
            let others =
                (1..EACH).map(|number| access_log(None, None, &format!("/{host}/{port}/{number}")));
            send_each(&mut call, std::iter::once(first).chain(others)).await;
        }
        calls.push(call);
    }
    let filed = gateway.wait_for_entries(ACCESS_LOGS, 4 * EACH).await;
    for host in ["n1", "n2"] {
        for port in [1001, 1002] {
            let name = format!("{host}/10.0.0.1:{port}->10.0.0.1:80");
            let mut filed = filed[&name].clone();
            filed.sort_unstable();
            let mut expected = names(0..EACH, &format!("/{host}/{port}/"));
            expected.sort_unstable();
            assert_eq!(filed, expected);
        }
    }
    gateway.assert_nothing_unfiled();
}

/// An OAP drops it without a word.
#[tokio::test]
async fn t11_an_access_log_before_the_first_connection_is_dropped_and_counted() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(ACCESS_LOGS).await;
    let messages = [
        access_log(Some(node("n1")), None, "/nobodys"),
        access_log(None, Some(connection(1001)), "/somebodys"),
    ];
    send_each(&mut call, messages).await;
    let filed = gateway.wait_for_entries(ACCESS_LOGS, 1).await;
    assert_eq!(filed["n1/10.0.0.1:1001->10.0.0.1:80"], ["/somebodys"]);
    gateway.wait_for_dropped(DropReason::Unattributed, 1).await;
    let totals = gateway.stop().await;
    assert_eq!((totals.received, totals.delivered), (2, 1));
}

fn profile(task: Option<&str>, dumps: i32) -> Vec<u8> {
    let data = sw::EbpfProfilingData {
        task: task.map(|id| sw::EbpfProfilingTaskMetadata {
            task_id: id.to_owned(),
            process_id: format!("process of {id}"),
            profiling_start_time: 1,
            current_time: 2,
        }),
        profiling: Some(sw::ebpf_profiling_data::Profiling::OnCpu(
            sw::EbpfOnCpuProfiling {
                stacks: Vec::new(),
                dump_count: dumps,
            },
        )),
    };
    data.encode_to_vec()
}

/// Several tasks in one stream, the metadata on the first of each.
#[tokio::test]
async fn t12_profiles_keep_their_task_at_every_cut() {
    const EACH: i32 = 50;
    let gateway = Gateway::start_with(3, |settings| {
        pipe(settings, "grpc-native-ebpf-profiling-receiver")
            .sender
            .max_buffer_size = 3;
    })
    .await;
    let client = gateway.client().await;
    let mut call = client.open(PROFILING).await;
    for task in ["one", "two", "one"] {
        let others = (1..EACH).map(|dumps| profile(None, dumps));
        let first = profile(Some(task), 0);
        send_each(&mut call, std::iter::once(first).chain(others)).await;
    }
    let each = usize::try_from(EACH).unwrap();
    let filed = gateway.wait_for_entries(PROFILING, 3 * each).await;
    assert_eq!(filed["one/process of one"].len(), 2 * each);
    assert_eq!(filed["two/process of two"].len(), each);
    assert_eq!(filed.len(), 2, "{filed:?}");
}
