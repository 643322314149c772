//! What the eBPF agent speaks.

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;

use super::{Who, encoded};

pub(super) fn message(request: &str, who: &Who) -> Option<Bytes> {
    let agent = format!("rover-{}", who.instance);
    Some(match request.strip_prefix("skywalking.v3.")? {
        "EBPFProcessReportList" => encoded(&sw::EbpfProcessReportList {
            processes: vec![host_process(who)],
            ebpf_agent_id: agent,
        }),
        "EBPFProcessPingPkgList" => encoded(&sw::EbpfProcessPingPkgList {
            processes: vec![sw::EbpfProcessPingPkg {
                entity_metadata: Some(entity(who)),
                properties: Vec::new(),
            }],
            ebpf_agent_id: agent,
        }),
        "EBPFProfilingTaskQuery" => encoded(&sw::EbpfProfilingTaskQuery {
            rover_instance_id: agent,
            latest_update_time: who.now,
        }),
        "EBPFProfilingData" => encoded(&profiling(who)),
        "EBPFAccessLogMessage" => encoded(&access_log(who)),
        "ContinuousProfilingPolicyQuery" => encoded(&sw::ContinuousProfilingPolicyQuery {
            policies: vec![sw::ContinuousProfilingServicePolicyQuery {
                service_name: who.service.clone(),
                uuid: String::new(),
            }],
        }),
        "ContinuousProfilingReport" => encoded(&sw::ContinuousProfilingReport {
            layer: "OS_LINUX".to_owned(),
            service_name: who.service.clone(),
            instance_name: who.instance.clone(),
            process_name: "shop".to_owned(),
            duration: 60,
            target_task: Some(sw::continuous_profiling_report::TargetTask::OnCpu(
                sw::ContinuousOnCpuProfilingTask {},
            )),
            ..sw::ContinuousProfilingReport::default()
        }),
        _ => return None,
    })
}

fn entity(who: &Who) -> sw::EbpfProcessEntityMetadata {
    sw::EbpfProcessEntityMetadata {
        layer: "OS_LINUX".to_owned(),
        service_name: who.service.clone(),
        instance_name: who.instance.clone(),
        process_name: "shop".to_owned(),
        labels: Vec::new(),
    }
}

fn host_process(who: &Who) -> sw::EbpfProcessProperties {
    let process = sw::EbpfHostProcessMetadata {
        entity: Some(entity(who)),
        pid: 4242,
        properties: Vec::new(),
    };
    sw::EbpfProcessProperties {
        metadata: Some(sw::ebpf_process_properties::Metadata::HostProcess(process)),
    }
}

fn profiling(who: &Who) -> sw::EbpfProfilingData {
    let stack = sw::EbpfProfilingStackMetadata {
        stack_type: sw::EbpfProfilingStackType::ProcessUserSpace.into(),
        stack_id: 1,
        stack_symbols: vec!["main".to_owned(), "serve".to_owned()],
    };
    sw::EbpfProfilingData {
        task: Some(sw::EbpfProfilingTaskMetadata {
            task_id: "task-1".to_owned(),
            process_id: who.instance.clone(),
            profiling_start_time: who.now,
            current_time: who.now,
        }),
        profiling: Some(sw::ebpf_profiling_data::Profiling::OnCpu(
            sw::EbpfOnCpuProfiling {
                stacks: vec![stack],
                dump_count: 1,
            },
        )),
    }
}

/// Each names its node: a batch may begin anywhere in a stream.
fn access_log(who: &Who) -> sw::EbpfAccessLogMessage {
    let address = |host: &str, port| {
        let ip = sw::IpAddress {
            host: host.to_owned(),
            port,
        };
        Some(sw::ConnectionAddress {
            address: Some(sw::connection_address::Address::Ip(ip)),
        })
    };
    sw::EbpfAccessLogMessage {
        node: Some(sw::EbpfAccessLogNodeInfo {
            name: who.instance.clone(),
            cluster_name: "demo".to_owned(),
            ..sw::EbpfAccessLogNodeInfo::default()
        }),
        connection: Some(sw::AccessLogConnection {
            local: address("10.0.0.1", 40_000),
            remote: address("10.0.0.2", 8080),
            ..sw::AccessLogConnection::default()
        }),
        ..sw::EbpfAccessLogMessage::default()
    }
}
