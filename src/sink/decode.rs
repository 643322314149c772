//! Which methods there are, and whose data a message is.
//!
//! Messages are decoded by the method's input type, whatever it is: a method that our definitions
//! have needs no line here. Names are found in the handful of places where the protocols keep them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost_reflect::{
    DescriptorError, DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, Value,
};
use tonic::Status;
use xxhash_rust::xxh3::xxh3_64;

use super::state::Id;
use super::task::TaskKind;
use super::upload::UploadKind;

/// A method that the sink knows.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) path: Arc<str>,
    pub(super) takes_stream: bool,
    pub(super) role: Role,
    input: MessageDescriptor,
    naming: Naming,
}

/// What a method is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Takes data; the answer is empty.
    Report,
    /// Takes events, which need a layer.
    Events,
    /// Asks for tasks.
    Poll(TaskKind),
    /// Asks for the dynamic configuration.
    Configurations,
    /// Names processes and is told their ids.
    Processes,
    /// Starts a task.
    StartTask,
    /// Uploads a profiler file.
    Upload(UploadKind),
    /// Asks whether we serve.
    HealthCheck,
}

/// How the names of a stream's messages depend on each other in an OAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Naming {
    /// They do not.
    Own,
    /// The stream's first non-empty service stands for all (`LogReportService`).
    FirstService,
    /// The latest names hold until others come (`MeterReportService/collect`, access logs of the
    /// variant made for proxies).
    Latest,
    /// Only the first message's names count (Envoy's own services).
    FirstMessage,
}

/// Service and instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) service: String,
    pub(super) instance: String,
}

/// What is known of a stream's names so far.
#[derive(Debug, Default)]
pub(super) struct StreamNames {
    known: Option<Names>,
}

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
                naming: naming(service.full_name(), method.name()),
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
        ("skywalking.v3.EventService", _) => Role::Events,
        ("skywalking.v10.AsyncProfilerTask", "collect") => Role::Upload(UploadKind::Async),
        ("skywalking.v10.PprofTask", "collect") => Role::Upload(UploadKind::Pprof),
        (_, "getProfileTaskCommands") => Role::Poll(TaskKind::Profile),
        (_, "getAsyncProfilerTaskCommands") => Role::Poll(TaskKind::Async),
        (_, "getPprofTaskCommands") => Role::Poll(TaskKind::Pprof),
        (_, "queryTasks") => Role::Poll(TaskKind::Ebpf),
        (_, "queryPolicies") => Role::Poll(TaskKind::Continuous),
        (_, "fetchConfigurations") => Role::Configurations,
        (_, "reportProcesses") => Role::Processes,
        (_, "reportProfilingTask") => Role::StartTask,
        _ => Role::Report,
    })
}

fn naming(service: &str, method: &str) -> Naming {
    match service.rsplit('.').next().unwrap_or(service) {
        "LogReportService" => Naming::FirstService,
        "MeterReportService" if method == "collect" => Naming::Latest,
        "SatelliteAccessLogService" => Naming::Latest,
        "AccessLogService" => Naming::FirstMessage,
        "MetricsService" if service.starts_with("envoy.") => Naming::FirstMessage,
        _ => Naming::Own,
    }
}

impl Method {
    /// Decodes a message; the error is an OAP's.
    pub(super) fn decode(&self, bytes: Bytes) -> Result<DynamicMessage, Status> {
        DynamicMessage::decode(self.input.clone(), bytes).map_err(|_| processing_error())
    }

    /// What there is to file: the message, or each segment of a collection. Ids are left empty
    /// unless wanted.
    pub(super) fn entries(
        &self,
        message: &DynamicMessage,
        bytes: &[u8],
        stream: &mut StreamNames,
        want_ids: bool,
    ) -> Vec<Id> {
        let id_of = |message: &DynamicMessage| {
            if !want_ids {
                return String::new();
            }
            let field = match message.descriptor().name() {
                "SegmentObject" => "traceSegmentId",
                "Event" => "uuid",
                _ => return hash(bytes),
            };
            text_at(message, &[field]).unwrap_or_else(|| hash(bytes))
        };
        if self.input.name() == "SegmentCollection" {
            return messages_at(message, "segments", |segment| {
                let names = names(segment);
                Id {
                    id: id_of(segment),
                    service: names.service,
                    instance: names.instance,
                }
            });
        }
        let names = stream.attribute(self.naming, names(message));
        vec![Id {
            id: id_of(message),
            service: names.service,
            instance: names.instance,
        }]
    }
}

impl StreamNames {
    fn attribute(&mut self, naming: Naming, own: Names) -> Names {
        match naming {
            Naming::Own => own,
            Naming::FirstMessage => self.known.get_or_insert(own).clone(),
            Naming::FirstService => {
                let known = self.known.get_or_insert_default();
                if known.service.is_empty() {
                    known.service = own.service;
                }
                Names {
                    service: known.service.clone(),
                    instance: own.instance,
                }
            }
            Naming::Latest => {
                let known = self.known.get_or_insert_default();
                if !own.service.is_empty() {
                    known.service = own.service;
                }
                if !own.instance.is_empty() {
                    known.instance = own.instance;
                }
                known.clone()
            }
        }
    }
}

/// What grpc-java makes of an exception in a handler, undecodable bytes included.
pub(super) fn processing_error() -> Status {
    Status::unknown("Application error processing RPC")
}

/// XXH3, 64 bit, hexadecimal.
pub(super) fn hash(bytes: &[u8]) -> String {
    format!("{:016x}", xxh3_64(bytes))
}

/// Where service and instance are kept; of a list the first element speaks.
const PLACES: [(&[&str], &[&str]); 13] = [
    (&["service"], &["serviceInstance"]),
    (&["source", "service"], &["source", "serviceInstance"]),
    (&["meterData", "service"], &["meterData", "serviceInstance"]),
    (&["metaData", "service"], &["metaData", "serviceInstance"]),
    (&["metadata", "service"], &["metadata", "serviceInstance"]),
    (&["serviceName"], &["instanceName"]),
    (&["identifier", "node", "id"], &[]),
    (
        &["processes", "hostProcess", "entity", "serviceName"],
        &["processes", "hostProcess", "entity", "instanceName"],
    ),
    (
        &["processes", "k8sProcess", "entity", "serviceName"],
        &["processes", "k8sProcess", "entity", "instanceName"],
    ),
    (
        &["processes", "entityMetadata", "serviceName"],
        &["processes", "entityMetadata", "instanceName"],
    ),
    (&["policies", "serviceName"], &[]),
    (&[], &["roverInstanceId"]),
    (
        &["httpMetrics", "metrics", "destServiceName"],
        &["httpMetrics", "metrics", "destServiceInstance"],
    ),
];

/// Service and instance that the message itself names.
pub(super) fn names(message: &DynamicMessage) -> Names {
    PLACES
        .iter()
        .map(|(service, instance)| Names {
            service: text_at(message, service).unwrap_or_default(),
            instance: text_at(message, instance).unwrap_or_default(),
        })
        .find(|names| *names != Names::default())
        .or_else(|| resource_names(message))
        .unwrap_or_default()
}

/// OpenTelemetry: attributes of the first resource.
fn resource_names(message: &DynamicMessage) -> Option<Names> {
    let list = ["resource_metrics", "resource_spans", "resource_logs"]
        .into_iter()
        .find(|list| message.has_field_by_name(list))?;
    let mut names = Names::default();
    let list = message.get_field_by_name(list)?;
    let first = list.as_list()?.first()?.as_message()?;
    let resource = first.get_field_by_name("resource")?;
    messages_at(resource.as_message()?, "attributes", |attribute| {
        let value = text_at(attribute, &["value", "string_value"]).unwrap_or_default();
        match text_at(attribute, &["key"]).as_deref() {
            Some("service.name") => names.service = value,
            Some("service.instance.id") => names.instance = value,
            _ => {}
        }
    });
    Some(names)
}

/// The non-empty text at a path of field names.
pub(super) fn text_at(message: &DynamicMessage, path: &[&str]) -> Option<String> {
    let (field, rest) = path.split_first()?;
    text_in(message.get_field_by_name(field)?.as_ref(), rest)
}

fn text_in(value: &Value, rest: &[&str]) -> Option<String> {
    match value {
        Value::String(text) if rest.is_empty() && !text.is_empty() => Some(text.clone()),
        Value::Message(message) => text_at(message, rest),
        Value::List(values) => text_in(values.first()?, rest),
        _ => None,
    }
}

fn messages_at<T>(
    message: &DynamicMessage,
    field: &str,
    each: impl FnMut(&DynamicMessage) -> T,
) -> Vec<T> {
    let Some(list) = message.get_field_by_name(field) else {
        return Vec::new();
    };
    let values = list.as_list().unwrap_or_default();
    values
        .iter()
        .filter_map(Value::as_message)
        .map(each)
        .collect()
}
