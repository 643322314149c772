//! What a call gets that went well.

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;
use prost::Message;
use sw::ebpf_process_downstream::Process;
use sw::ebpf_process_properties::Metadata;
use tonic::Status;
use xxhash_rust::xxh3::xxh3_128;

use super::decode::{Method, Role, decode_as, hash};
use super::shared::Shared;
use super::task::pairs;

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
        Role::Processes => return processes(bytes),
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

/// Ids are a hash of names, so that every node gives the same.
fn processes(bytes: &Bytes) -> Result<Bytes, Status> {
    let list: sw::EbpfProcessReportList = decode_as(bytes)?;
    let processes = list
        .processes
        .into_iter()
        .filter_map(|process| process.metadata)
        .map(|metadata| match metadata {
            Metadata::HostProcess(host) => sw::EbpfProcessDownstream {
                process_id: process_id(host.entity.as_ref()),
                process: Some(Process::HostProcess(sw::EbpfHostProcessDownstream {
                    pid: host.pid,
                    entity_metadata: host.entity,
                })),
            },
            Metadata::K8sProcess(pod) => sw::EbpfProcessDownstream {
                process_id: process_id(pod.entity.as_ref()),
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

fn process_id(entity: Option<&sw::EbpfProcessEntityMetadata>) -> String {
    let names = entity.map_or_else(String::new, |entity| {
        format!(
            "{}\n{}\n{}",
            entity.service_name, entity.instance_name, entity.process_name
        )
    });
    format!("{:032x}", xxh3_128(names.as_bytes()))
}
