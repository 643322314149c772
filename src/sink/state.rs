//! The sink's books: plain data, the same in [`SinkHandle::snapshot`](super::SinkHandle::snapshot)
//! and in the control API's JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By path.
    pub methods: BTreeMap<String, MethodState>,
    /// Messages by `service/instance`, then by path, named as an OAP would file them.
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

/// One accepted message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Id {
    /// `traceSegmentId`, an event's `uuid`, otherwise the hash (XXH3, 64 bit, hexadecimal) of the
    /// message's bytes.
    pub id: String,
    /// Service that an OAP would file it under.
    pub service: String,
    /// Instance that an OAP would file it under.
    pub instance: String,
}
