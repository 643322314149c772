//! Which methods there are, and how an OAP reads the messages of each.
//!
//! What an OAP files depends on more than the message: on who spoke before it on the call, on the
//! call's end, on what else is in the set (`protocols.md`, T2, T4, T5, T7, T9-T13). A method of
//! which that is so has a [`Reader`] of its own here, which files contents under the names that an
//! OAP would give them, so that a stream that was cut in the wrong place shows as a wrong name or
//! as an entry that is missing. All others file each message under the names that it bears.
//!
//! - `agent`: segments, events, logs. `meters`. `profiles`: Go's, in chunks. `ebpf`. `envoy`. `otlp`.
//! - `names`: where messages keep their names. `filing`: what readers hand out. `text`: ids.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use prost_reflect::{DescriptorError, DescriptorPool, DynamicMessage, MessageDescriptor};
use tonic::Status;

use super::task::TaskKind;
use super::upload::UploadKind;

mod agent;
mod ebpf;
mod envoy;
mod filing;
mod meters;
mod names;
mod otlp;
mod profiles;
mod text;

pub(super) use filing::Filing;
pub(super) use names::{Names, names};
pub(super) use text::{hash, hex};

/// A method that the sink knows.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) path: Arc<str>,
    pub(super) takes_stream: bool,
    pub(super) role: Role,
    input: MessageDescriptor,
    /// `None` if the messages name themselves.
    opens: Option<Open>,
}

/// What a method is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Takes data; the answer is empty.
    Report,
    /// Asks for tasks.
    Poll(TaskKind),
    /// Asks for the dynamic configuration.
    Configurations,
    /// Names processes and is told their ids.
    Processes,
    /// Says that processes live.
    Pings,
    /// Starts a task.
    StartTask,
    /// Uploads a profiler file.
    Upload(UploadKind),
    /// Asks whether we serve.
    HealthCheck,
}

/// Reads the messages of one call.
pub(super) trait Reader: Send {
    /// Takes a message; an error is an OAP's, and ends the call.
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status>;

    /// Works out what had to wait for the call's end, however it came.
    fn end(&mut self, _filing: &mut Filing) {}
}

/// Makes the reader of a new call.
type Open = fn() -> Box<dyn Reader>;

/// The methods by path.
pub(super) fn catalogue() -> Result<HashMap<Arc<str>, Arc<Method>>, DescriptorError> {
    let pool = DescriptorPool::decode(perigee_proto::DESCRIPTORS)?;
    let mut methods = HashMap::new();
    for service in pool.services() {
        for method in service.methods() {
            let Some(role) = role(service.full_name(), method.name()) else {
                continue;
            };
            let path: Arc<str> = format!("/{}/{}", service.full_name(), method.name()).into();
            let method = Method {
                path: Arc::clone(&path),
                takes_stream: method.is_client_streaming(),
                role,
                opens: opens(service.full_name(), method.name()),
                input: method.input(),
            };
            methods.insert(path, Arc::new(method));
        }
    }
    Ok(methods)
}

/// `None` for methods that we define and an OAP does not serve.
fn role(service: &str, method: &str) -> Option<Role> {
    Some(match (service, method) {
        ("grpc.health.v1.Health", "Check") => Role::HealthCheck,
        ("grpc.health.v1.Health", _) => return None,
        ("skywalking.v10.AsyncProfilerTask", "collect") => Role::Upload(UploadKind::Async),
        ("skywalking.v10.PprofTask", "collect") => Role::Upload(UploadKind::Pprof),
        (_, "getProfileTaskCommands") => Role::Poll(TaskKind::Profile),
        (_, "getAsyncProfilerTaskCommands") => Role::Poll(TaskKind::Async),
        (_, "getPprofTaskCommands") => Role::Poll(TaskKind::Pprof),
        (_, "queryTasks") => Role::Poll(TaskKind::Ebpf),
        (_, "queryPolicies") => Role::Poll(TaskKind::Continuous),
        (_, "fetchConfigurations") => Role::Configurations,
        (_, "reportProcesses") => Role::Processes,
        ("skywalking.v3.EBPFProcessService", "keepAlive") => Role::Pings,
        (_, "reportProfilingTask") => Role::StartTask,
        _ => Role::Report,
    })
}

/// Services are told apart without their package, where the old ones without a package and the
/// versions of Envoy's are read alike.
fn opens(service: &str, method: &str) -> Option<Open> {
    let (package, name) = service.rsplit_once('.').unwrap_or(("", service));
    let open: Open = match (name, method) {
        ("TraceSegmentReportService", "collect") => boxed::<agent::Segments>,
        ("TraceSegmentReportService", "collectInSync") => boxed::<agent::Collections>,
        ("EventService", _) => boxed::<agent::Events>,
        ("LogReportService", _) => boxed::<agent::Logs>,
        ("MeterReportService", "collect") => boxed::<meters::Stream>,
        ("MeterReportService", "collectBatch") => boxed::<meters::Batches>,
        ("ProfileTask", "goProfileReport") => boxed::<profiles::GoProfiles>,
        ("EBPFProcessService", "reportProcesses") => boxed::<ebpf::Reports>,
        ("EBPFProcessService", "keepAlive") => boxed::<ebpf::Pings>,
        ("EBPFProfilingService", "collectProfilingData") => boxed::<ebpf::Profiling>,
        ("EBPFAccessLogService", _) => boxed::<ebpf::AccessLogs>,
        ("AccessLogService", _) => boxed::<envoy::AccessLogs>,
        ("SatelliteAccessLogService", _) => boxed::<envoy::ProxiedAccessLogs>,
        ("MetricsService", _) if package.starts_with("envoy.") => boxed::<envoy::Metrics>,
        ("MetricsService", _) => boxed::<otlp::Metrics>,
        ("TraceService", _) => boxed::<otlp::Traces>,
        ("LogsService", _) => boxed::<otlp::Logs>,
        _ => return None,
    };
    Some(open)
}

fn boxed<R: Reader + Default + 'static>() -> Box<dyn Reader> {
    Box::<R>::default()
}

impl Method {
    /// The reader of a new call.
    pub(super) fn open(&self) -> Box<dyn Reader> {
        match self.opens {
            Some(open) => open(),
            None => Box::new(Plain(self.input.clone())),
        }
    }

    /// The names that a message of this method bears.
    pub(super) fn names(&self, bytes: &Bytes) -> Result<Names, Status> {
        decode_by(&self.input, bytes).map(|message| names(&message))
    }
}

/// Messages that are whole in themselves, of any type.
struct Plain(MessageDescriptor);

impl Reader for Plain {
    fn read(&mut self, bytes: &Bytes, filing: &mut Filing) -> Result<(), Status> {
        let message = decode_by(&self.0, bytes)?;
        filing.file(&names(&message), || hash(bytes));
        Ok(())
    }
}

fn decode_by(input: &MessageDescriptor, bytes: &Bytes) -> Result<DynamicMessage, Status> {
    DynamicMessage::decode(input.clone(), bytes.clone()).map_err(|_| processing_error())
}

/// Decodes a message; the error is an OAP's.
pub(super) fn decode_as<M: Message + Default>(bytes: &Bytes) -> Result<M, Status> {
    M::decode(bytes.clone()).map_err(|_| processing_error())
}

/// What grpc-java makes of an exception in a handler, undecodable bytes included.
pub(super) fn processing_error() -> Status {
    Status::unknown("Application error processing RPC")
}
