//! The sink's books: plain data, the same in [`SinkHandle::snapshot`](super::SinkHandle::snapshot)
//! and in the control API's JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By path.
    pub methods: BTreeMap<String, MethodState>,
    /// Messages by `service/instance`, then by path, named as an OAP would file them. A message
    /// counts once for each name in it; a `collect` call's set of meters and a Go profile count
    /// as one message; what is not filed at all does not count.
    pub services: BTreeMap<String, BTreeMap<String, u64>>,
    /// Messages accepted on all paths but health checks.
    pub total_messages: u64,
    /// Calls that the sink ended with an error, by the status code's name.
    pub errors: BTreeMap<String, u64>,
    /// Profiler files, in the order in which their calls ended; the last 1000.
    pub uploads: Vec<UploadState>,
    /// Open connections.
    pub connections: u64,
    /// Connections ever accepted.
    pub accepted_connections: u64,
    /// Ids that were not kept because there were too many.
    pub ids_dropped: u64,
}

impl State {
    /// Messages accepted on a path.
    pub fn messages(&self, path: &str) -> u64 {
        self.methods.get(path).map_or(0, |method| method.messages)
    }
}

/// What was counted for one path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodState {
    /// Calls begun, refused ones included.
    pub calls: u64,
    /// Messages accepted.
    pub messages: u64,
    /// Their bytes, without prefixes, as decompressed.
    pub bytes: u64,
    /// Calls open now.
    pub open: u64,
    /// Calls that the client gave up: reset, or lost with the connection.
    pub cut: u64,
    /// Entries that an OAP drops silently, or files under nobody, because nothing said on the call
    /// so far names them: logs before the first service; meters of a set without service, instance
    /// or timestamp; what Envoy sends without an identifier where it counts; eBPF access logs
    /// without a node or a connection.
    pub unnamed: u64,
    /// Meter values that an OAP drops because their set has one of this name and these labels.
    pub repeated: u64,
    /// Chunks of Go profiles whose last chunk had not come when the call ended.
    pub unfinished: u64,
}

impl MethodState {
    /// All that an OAP would have dropped without a word.
    pub fn unfiled(&self) -> u64 {
        self.unnamed + self.repeated + self.unfinished
    }
}

/// What became of one profiler file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadState {
    /// The method.
    pub path: String,
    /// Service in the metadata.
    pub service: String,
    /// Instance in the metadata.
    pub instance: String,
    /// Task in the metadata.
    pub task_id: String,
    /// Length that the metadata announced.
    pub content_size: i64,
    /// Length that came.
    pub received: u64,
    /// Hash (XXH3, 64 bit, hexadecimal) of what came.
    pub xxh3: String,
    /// How it ended.
    pub status: UploadStatus,
}

/// How an upload ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UploadStatus {
    /// As long as announced.
    Ok,
    /// Half-closed before the announced length.
    Incomplete,
    /// More came than announced.
    Overflow,
    /// Announced more than an OAP takes.
    Oversize,
    /// The metadata said that the task had failed.
    TaskError,
    /// The client went away, or the call was ended for another reason.
    #[default]
    Cut,
}

/// One entry: as much of an accepted message as an OAP files for itself.
///
/// | method | one for each | id | service, instance |
/// | --- | --- | --- | --- |
/// | segments | segment | `traceSegmentId` | its own |
/// | events | event | `uuid` | its source's |
/// | logs | record | its text | the call's first service; its own |
/// | meters | value | `name{label=value}=VALUE@TIMESTAMP`; of a histogram `VALUE` is `[bucket:count,...]` | the last in the set |
/// | Go profiles | profile | hash of its content | task; none |
/// | eBPF processes, reported or said to live | process of the list | its id | its own |
/// | eBPF profiling | datum | hash of `onCPU` or `offCPU` | `taskId`, `processId` of the latest task |
/// | eBPF access log | kernel and protocol log | `kernel:OPERATION:START`; request path | latest node; `LOCAL->REMOTE` of the latest connection |
/// | Envoy access logs | entry | request path, `tcp:PORT` of the downstream | node's `id`, `cluster` |
/// | Envoy metrics | counter or gauge; other family | `name{label=value}=VALUE`; `name` | node's `id`, `cluster` |
/// | OTLP traces | span | `span_id`, hexadecimal | the resource's `service.name`, `service.instance.id` |
/// | OTLP logs | record | body, if it is a text | the same |
/// | OTLP metrics | data point | `name{attribute=value}=VALUE@NANOSECONDS`; of all but gauges and sums `VALUE` is `count/sum` | the same |
/// | others | message | hash | its own |
///
/// Whatever has no such id is called by its hash: XXH3, 64 bit, hexadecimal, of the message's bytes
/// or of the part that stands for itself, encoded again. Without labels there are no braces.
/// Numbers are written as Rust's `{}` does it; a bucket that is negative infinity is `-inf`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    /// What it says, as in the table above.
    pub id: String,
    /// Service that an OAP would file it under.
    pub service: String,
    /// Instance that an OAP would file it under.
    pub instance: String,
}
