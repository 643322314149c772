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

const REPORT: &str = "/skywalking.v3.EBPFProcessService/reportProcesses";
const PING: &str = "/skywalking.v3.EBPFProcessService/keepAlive";
const QUERY: &str = "/skywalking.v3.EBPFProfilingService/queryTasks";

fn entity(service: &str, process: &str) -> Option<sw::EbpfProcessEntityMetadata> {
    Some(sw::EbpfProcessEntityMetadata {
        service_name: service.to_owned(),
        instance_name: "host".to_owned(),
        process_name: process.to_owned(),
        ..Default::default()
    })
}

/// The agent reports the process; returns its id.
pub(super) async fn report(
    client: &mut Client,
    agent: &str,
    service: &str,
    process: &str,
) -> String {
    let host = sw::EbpfHostProcessMetadata {
        entity: entity(service, process),
        pid: 7,
        properties: Vec::new(),
    };
    let list = sw::EbpfProcessReportList {
        processes: vec![sw::EbpfProcessProperties {
            metadata: Some(sw::ebpf_process_properties::Metadata::HostProcess(host)),
        }],
        ebpf_agent_id: agent.to_owned(),
    };
    let answers = client.call(REPORT, vec![encoded(&list)]).await.unwrap();
    let mut answer = sw::EbpfReportProcessDownstream::decode(answers[0].clone()).unwrap();
    answer.processes.remove(0).process_id
}

async fn ping(client: &mut Client, service: &str, process: &str) {
    let list = sw::EbpfProcessPingPkgList {
        processes: vec![sw::EbpfProcessPingPkg {
            entity_metadata: entity(service, process),
            properties: Vec::new(),
        }],
        ebpf_agent_id: String::new(),
    };
    client.call(PING, vec![encoded(&list)]).await.unwrap();
}

/// It was the first one's alone.
#[tokio::test]
async fn each_process_of_a_list_is_filed_under_its_own_names() {
    let names = [("shop", "one"), ("bank", "two"), ("shop", "three")];
    let host = |(service, process)| sw::EbpfProcessProperties {
        metadata: Some(sw::ebpf_process_properties::Metadata::HostProcess(
            sw::EbpfHostProcessMetadata {
                entity: entity(service, process),
                ..Default::default()
            },
        )),
    };
    let reported = sw::EbpfProcessReportList {
        processes: names.map(host).to_vec(),
        ..Default::default()
    };
    let alive = |(service, process)| sw::EbpfProcessPingPkg {
        entity_metadata: entity(service, process),
        ..Default::default()
    };
    let pinged = sw::EbpfProcessPingPkgList {
        processes: names.map(alive).to_vec(),
        ..Default::default()
    };
    for (path, message) in [(REPORT, encoded(&reported)), (PING, encoded(&pinged))] {
        let (entries, state) = filed(path, vec![message]).await;
        let services: Vec<_> = entries.iter().map(|(_, service, _)| &**service).collect();
        assert_eq!(services, ["shop", "bank", "shop"], "{path}");
        assert_eq!((state.messages, state.unnamed), (1, 0), "{path}");
    }
}

/// Task and process of each command that the agent gets.
async fn tasks_of(client: &mut Client, agent: &str, since_ms: i64) -> Vec<(String, String)> {
    let query = sw::EbpfProfilingTaskQuery {
        rover_instance_id: agent.to_owned(),
        latest_update_time: since_ms,
    };
    let answers = client.call(QUERY, vec![encoded(&query)]).await.unwrap();
    let commands = sw::Commands::decode(answers[0].clone()).unwrap().commands;
    let tasks = commands.iter().map(|command| {
        let arg = |key: &str| {
            let arg = command.args.iter().find(|arg| arg.key == key);
            arg.unwrap().value.clone()
        };
        (arg("TaskId"), arg("ProcessId"))
    });
    tasks.collect()
}

#[tokio::test]
async fn ebpf_tasks_go_to_who_reported_the_process_once_it_was_pinged() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let task = r#"{"kind":"ebpf","service":"shop","args":{"TaskId":"t","TaskUpdateTime":"1000"}}"#;
    sink.hand_out(task.parse().unwrap());
    let one = report(&mut client, "rover", "shop", "one").await;
    let two = report(&mut client, "rover", "shop", "two").await;
    report(&mut client, "rover", "bank", "three").await;
    assert_eq!(tasks_of(&mut client, "rover", 0).await, [], "not pinged");
    ping(&mut client, "bank", "three").await;
    ping(&mut client, "shop", "one").await;
    let task = |id: &String| ("t".to_owned(), id.clone());
    assert_eq!(tasks_of(&mut client, "rover", 0).await, [task(&one)]);
    assert_eq!(tasks_of(&mut client, "another", 0).await, []);
    ping(&mut client, "shop", "two").await;
    // Again, as long as the agent asks from before the change.
    let mut both = [task(&one), task(&two)];
    both.sort_unstable();
    assert_eq!(tasks_of(&mut client, "rover", 999).await, both);
    assert_eq!(tasks_of(&mut client, "rover", 1000).await, []);
    // The latest reporter has it.
    report(&mut client, "another", "shop", "two").await;
    assert_eq!(tasks_of(&mut client, "another", 0).await, [task(&two)]);
    sink.reset();
    assert_eq!(tasks_of(&mut client, "another", 0).await, []);
    sink.hand_out(r#"{"kind":"ebpf","process":"two"}"#.parse().unwrap());
    assert_eq!(tasks_of(&mut client, "another", 0).await.len(), 1);
    assert_eq!(tasks_of(&mut client, "rover", 0).await, []);
}

fn upload_of(task: Option<(&str, i64)>, user: (i32, &str), count: i32) -> Bytes {
    let half = |half: sw::EbpfProfilingStackType, (id, symbols): (i32, &str)| {
        sw::EbpfProfilingStackMetadata {
            stack_type: half.into(),
            stack_id: id,
            stack_symbols: symbols.split(' ').map(str::to_owned).collect(),
        }
    };
    encoded(&sw::EbpfProfilingData {
        task: task.map(|(id, now)| sw::EbpfProfilingTaskMetadata {
            task_id: id.to_owned(),
            process_id: "p".to_owned(),
            profiling_start_time: 5,
            current_time: now,
        }),
        profiling: Some(Profiling::OffCpu(sw::EbpfOffCpuProfiling {
            stacks: vec![
                half(sw::EbpfProfilingStackType::ProcessUserSpace, user),
                half(
                    sw::EbpfProfilingStackType::ProcessKernelSpace,
                    (9, "schedule"),
                ),
            ],
            switch_count: count,
            duration: i64::from(count) * 10,
        })),
    })
}

/// Task, number of uploads, symbols with count and nanoseconds, redefinitions.
type Collected = (String, u64, Vec<(String, u64, u64)>, u64);

/// What a sink has of each task.
fn stacks_of(sink: &SinkHandle) -> Vec<Collected> {
    let tasks = sink.stacks().tasks.into_iter();
    let sums = |task: &crate::sink::stacks::TaskStacks| {
        let stacks = task.stacks.iter();
        let text = |all: &[String]| all.join(" ");
        stacks
            .map(|stack| {
                let symbols = format!("{} <- {}", text(&stack.kernel), text(&stack.user));
                (symbols, stack.count, stack.nanos)
            })
            .collect::<Vec<_>>()
    };
    tasks
        .map(|task| (task.task.clone(), task.uploads, sums(&task), task.redefined))
        .collect()
}

#[tokio::test]
async fn stacks_add_up_over_times_and_overwrite_each_other_at_one() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let first = || {
        vec![
            upload_of(Some(("t", 10)), (1, "read main"), 3),
            upload_of(None, (2, "lock main"), 4),
        ]
    };
    client.call(PROFILING, first()).await.unwrap();
    client.call(PROFILING, first()).await.unwrap();
    let later = vec![upload_of(Some(("t", 20)), (1, "read main"), 5)];
    client.call(PROFILING, later).await.unwrap();
    let stack = |symbols: &str, count| (symbols.to_owned(), count, count * 10);
    let expected = vec![
        stack("schedule <- lock main", 4),
        stack("schedule <- read main", 8),
    ];
    assert_eq!(stacks_of(&sink), [("t".to_owned(), 2, expected, 0)]);
    let other = vec![upload_of(Some(("t", 30)), (1, "write main"), 1)];
    client.call(PROFILING, other).await.unwrap();
    assert_eq!(stacks_of(&sink)[0].3, 1, "an id that means two things");
    sink.reset();
    assert_eq!(stacks_of(&sink), []);
}

/// As Rover does it, and as a receiver needs it that mixes streams.
#[tokio::test]
async fn stacks_are_the_same_with_the_task_in_the_first_message_and_in_all() {
    let mut both = Vec::new();
    for always in [false, true] {
        let sink = start();
        let mut client = Client::of(&sink).await;
        let task = |id, first: bool| (first || always).then_some((id, 10));
        let mut messages = vec![
            upload_of(task("t", true), (1, "a"), 1),
            upload_of(task("t", false), (2, "b"), 2),
            upload_of(task("u", true), (1, "c"), 3),
            upload_of(task("u", false), (2, "d"), 4),
        ];
        if always {
            messages.swap(1, 2);
        }
        client.call(PROFILING, messages).await.unwrap();
        both.push(stacks_of(&sink));
    }
    assert_eq!(both[0].len(), 2);
    assert_eq!(both[0], both[1]);
}
