//! What the eBPF agent streams: what is named once holds for what follows.

use bytes::Bytes;
use perigee_proto::skywalking::v3 as sw;
use sw::access_log_kernel_log::Operation;
use sw::access_log_protocol_logs::Protocol;
use sw::connection_address::Address;
use sw::ebpf_profiling_data::Profiling as Stacks;
use sw::ebpf_timestamp::Timestamp;
use tonic::Status;

use super::text::{hash_of, text_or};
use super::{Filing, Names, Reader, decode_as};

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

/// `EBPFProfilingService/collectProfilingData`: a task holds until the next; data before the first
/// makes an empty schedule in an OAP (T12).
#[derive(Default)]
pub(super) struct Profiling {
    task: Names,
}

impl Reader for Profiling {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let data: sw::EbpfProfilingData = decode_as(bytes)?;
        if let Some(task) = &data.task {
            self.task = Names::new(&task.task_id, &task.process_id);
        }
        match &data.profiling {
            Some(Stacks::OnCpu(stacks)) => filing.file(&self.task, || hash_of(stacks)),
            Some(Stacks::OffCpu(stacks)) => filing.file(&self.task, || hash_of(stacks)),
            None => {}
        }
        Ok(())
    }
}
