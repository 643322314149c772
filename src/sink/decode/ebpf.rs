//! What the eBPF agent streams: what is named once holds for what follows.

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;
use sw::EbpfProfilingStackType as StackType;
use sw::access_log_kernel_log::Operation;
use sw::access_log_protocol_logs::Protocol;
use sw::connection_address::Address;
use sw::ebpf_process_properties::Metadata;
use sw::ebpf_profiling_data::Profiling as Stacks;
use sw::ebpf_timestamp::Timestamp;
use tonic::Status;

use super::text::{hash_of, text_or};
use super::{Filing, Names, Reader, decode_as};
use crate::sink::processes::process_id;
use crate::sink::stacks::{Datum, StackSum, Target};

/// `EBPFAccessLogService`: node and connection hold until others come; without a connection an OAP
/// drops what it is told (T11).
#[derive(Default)]
pub(super) struct AccessLogs {
    node: Option<String>,
    connection: Option<String>,
}

impl Reader for AccessLogs {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let message: sw::EbpfAccessLogMessage = decode_as(bytes)?;
        if let Some(node) = message.node {
            self.node = Some(node.name);
        }
        if let Some(connection) = &message.connection {
            self.connection = Some(ends(connection));
        }
        let (Some(node), Some(connection)) = (&self.node, &self.connection) else {
            let logs = message.kernel_logs.len() + usize::from(message.protocol_log.is_some());
            filing.unnamed += logs as u64;
            return Ok(());
        };
        let names = Names::new(node, connection);
        for log in &message.kernel_logs {
            filing.file(&names, || kernel_id(log));
        }
        if let Some(log) = &message.protocol_log {
            filing.file(&names, || protocol_id(log));
        }
        Ok(())
    }
}

/// `local->remote`.
fn ends(connection: &sw::AccessLogConnection) -> String {
    let end = |address: &Option<sw::ConnectionAddress>| match address
        .as_ref()
        .and_then(|end| end.address.as_ref())
    {
        Some(Address::Kubernetes(pod)) => format!("{}:{}", pod.pod_name, pod.port),
        Some(Address::Ip(ip)) => format!("{}:{}", ip.host, ip.port),
        None => String::new(),
    };
    format!("{}->{}", end(&connection.local), end(&connection.remote))
}

fn kernel_id(log: &sw::AccessLogKernelLog) -> String {
    let (operation, start) = match &log.operation {
        Some(Operation::Connect(connect)) => ("connect", &connect.start_time),
        Some(Operation::Accept(accept)) => ("accept", &accept.start_time),
        Some(Operation::Close(close)) => ("close", &close.start_time),
        Some(Operation::Read(read)) => ("read", &read.start_time),
        Some(Operation::Write(write)) => ("write", &write.start_time),
        None => return hash_of(log),
    };
    let offset = match start.as_ref().and_then(|start| start.timestamp.as_ref()) {
        Some(Timestamp::Offset(start)) => start.offset,
        None => 0,
    };
    format!("kernel:{operation}:{offset}")
}

fn protocol_id(log: &sw::AccessLogProtocolLogs) -> String {
    let path = match &log.protocol {
        Some(Protocol::Http(http)) => http.request.as_ref().map(|request| &*request.path),
        None => None,
    };
    text_or(path.unwrap_or_default(), || hash_of(log))
}

/// `EBPFProcessService/reportProcesses`: each process of the list is one.
#[derive(Default)]
pub(super) struct Reports;

impl Reader for Reports {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let list: sw::EbpfProcessReportList = decode_as(bytes)?;
        for metadata in list.processes.into_iter().filter_map(|it| it.metadata) {
            let entity = match metadata {
                Metadata::HostProcess(host) => host.entity,
                Metadata::K8sProcess(pod) => pod.entity,
            };
            file_process(&entity.unwrap_or_default(), filing);
        }
        Ok(())
    }
}

/// `EBPFProcessService/keepAlive`: the same.
#[derive(Default)]
pub(super) struct Pings;

impl Reader for Pings {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let list: sw::EbpfProcessPingPkgList = decode_as(bytes)?;
        for process in list.processes {
            file_process(&process.entity_metadata.unwrap_or_default(), filing);
        }
        Ok(())
    }
}

fn file_process(entity: &sw::EbpfProcessEntityMetadata, filing: &mut Filing) {
    let names = Names::new(&entity.service_name, &entity.instance_name);
    filing.file(&names, || process_id(entity));
}

/// `EBPFProfilingService/collectProfilingData`: a task holds until the next; data before the first
/// makes an empty schedule in an OAP (T12).
#[derive(Default)]
pub(super) struct Profiling {
    task: sw::EbpfProfilingTaskMetadata,
    names: Names,
}

impl Reader for Profiling {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let data: sw::EbpfProfilingData = decode_as(bytes)?;
        if let Some(task) = data.task {
            self.names = Names::new(&task.task_id, &task.process_id);
            self.task = task;
        }
        let (target, halves, count, nanos) = match &data.profiling {
            Some(Stacks::OnCpu(on)) => {
                filing.file(&self.names, || hash_of(on));
                (Target::OnCpu, &on.stacks, on.dump_count, 0)
            }
            Some(Stacks::OffCpu(off)) => {
                filing.file(&self.names, || hash_of(off));
                (Target::OffCpu, &off.stacks, off.switch_count, off.duration)
            }
            None => return Ok(()),
        };
        filing.stacks.push(Datum {
            task: self.task.task_id.clone(),
            process: self.task.process_id.clone(),
            target,
            started_ms: self.task.profiling_start_time,
            uploaded_ms: self.task.current_time,
            ids: ids(halves),
            stack: StackSum {
                kernel: symbols(halves, StackType::ProcessKernelSpace),
                user: symbols(halves, StackType::ProcessUserSpace),
                count: u64::try_from(count).unwrap_or_default(),
                nanos: u64::try_from(nanos).unwrap_or_default(),
            },
        });
        Ok(())
    }
}

/// The kernel's id and the program's as an OAP joins them; one that is missing leaves no trace.
fn ids(halves: &[sw::EbpfProfilingStackMetadata]) -> String {
    let types = [StackType::ProcessKernelSpace, StackType::ProcessUserSpace];
    let there = types.iter().filter_map(|half| of_type(halves, *half));
    let ids: Vec<_> = there.map(|half| half.stack_id.to_string()).collect();
    ids.join("_")
}

fn symbols(halves: &[sw::EbpfProfilingStackMetadata], half: StackType) -> Vec<String> {
    let half = of_type(halves, half);
    half.map(|half| half.stack_symbols.clone())
        .unwrap_or_default()
}

/// The last of its type, as an OAP takes it.
fn of_type(
    halves: &[sw::EbpfProfilingStackMetadata],
    half: StackType,
) -> Option<&sw::EbpfProfilingStackMetadata> {
    let mut halves = halves.iter().rev();
    halves.find(|other| other.stack_type == i32::from(half))
}
