//! What a call gets that went well.

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;
use prost::Message;
use sw::ebpf_process_downstream::Process;
use sw::ebpf_process_properties::Metadata;
use tonic::Status;

use super::decode::{Method, Role, decode_as, hash};
use super::shared::Shared;
use super::task::{TaskKind, pairs};

/// `HealthCheckResponse { status: SERVING }`. An OAP always says so.
pub(super) const SERVING: Bytes = Bytes::from_static(&[0x08, 0x01]);

/// The answer to a call whose last message this was.
pub(super) fn answer(
    shared: &Shared,
    method: &Method,
    request: Option<&Bytes>,
) -> Result<Bytes, Status> {
    let Some(bytes) = request else {
        return Ok(Bytes::new());
    };
    let commands = match method.role {
        // All of these answer with a message in which nothing is set.
        Role::Report | Role::Upload(_) => return Ok(Bytes::new()),
        Role::HealthCheck => return Ok(SERVING),
        Role::Processes => return processes(shared, bytes),
        Role::Pings => {
            let list: sw::EbpfProcessPingPkgList = decode_as(bytes)?;
            let entities = list.processes.iter();
            let entities = entities.filter_map(|process| process.entity_metadata.as_ref());
            entities.for_each(|entity| shared.processes.ping(entity));
            return Ok(Bytes::new());
        }
        Role::Poll(TaskKind::Ebpf) => ebpf_tasks(shared, bytes)?,
        Role::Poll(kind) => {
            let names = method.names(bytes)?;
            shared.tasks.take(kind, &names.service, &names.instance)
        }
        Role::Configurations => configurations(bytes)?,
        Role::StartTask => vec![sw::Command {
            command: "ContinuousProfilingReportTask".to_owned(),
            args: pairs([
                ("SerialNumber".to_owned(), hash(bytes)),
                ("TaskId".to_owned(), shared.next_task_id()),
            ]),
        }],
    };
    Ok(sw::Commands { commands }.encode_to_vec().into())
}

/// One command, or none when the agent has this configuration already.
fn configurations(bytes: &Bytes) -> Result<Vec<sw::Command>, Status> {
    let request: sw::ConfigurationSyncRequest = decode_as(bytes)?;
    let uuid = hash(request.service.as_bytes());
    if request.uuid == uuid {
        return Ok(Vec::new());
    }
    Ok(vec![sw::Command {
        command: "ConfigurationDiscoveryCommand".to_owned(),
        args: pairs([
            ("SerialNumber".to_owned(), format!("configuration-{uuid}")),
            ("UUID".to_owned(), uuid),
        ]),
    }])
}

/// Tasks for the processes of the agent that asks, and those that are for no known process.
fn ebpf_tasks(shared: &Shared, bytes: &Bytes) -> Result<Vec<sw::Command>, Status> {
    let query: sw::EbpfProfilingTaskQuery = decode_as(bytes)?;
    let agent = &query.rover_instance_id;
    let processes = shared.processes.of(agent);
    let mut commands = shared
        .tasks
        .of_processes(&processes, query.latest_update_time);
    commands.extend(shared.tasks.take(TaskKind::Ebpf, "", agent));
    Ok(commands)
}

/// Each process with its id.
fn processes(shared: &Shared, bytes: &Bytes) -> Result<Bytes, Status> {
    let list: sw::EbpfProcessReportList = decode_as(bytes)?;
    let agent = list.ebpf_agent_id;
    let id = |entity: &Option<sw::EbpfProcessEntityMetadata>| {
        let entity = entity.as_ref();
        shared.processes.report(
            &agent,
            entity.unwrap_or(&sw::EbpfProcessEntityMetadata::default()),
        )
    };
    let processes = list
        .processes
        .into_iter()
        .filter_map(|process| process.metadata)
        .map(|metadata| match metadata {
            Metadata::HostProcess(host) => sw::EbpfProcessDownstream {
                process_id: id(&host.entity),
                process: Some(Process::HostProcess(sw::EbpfHostProcessDownstream {
                    pid: host.pid,
                    entity_metadata: host.entity,
                })),
            },
            Metadata::K8sProcess(pod) => sw::EbpfProcessDownstream {
                process_id: id(&pod.entity),
                process: Some(Process::K8sProcess(sw::EbpfKubernetesProcessDownstream {
                    pid: pod.pid,
                    entity_metadata: pod.entity,
                })),
            },
        })
        .collect();
    let answer = sw::EbpfReportProcessDownstream { processes };
    Ok(answer.encode_to_vec().into())
}
