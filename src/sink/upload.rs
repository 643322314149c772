//! Profiler files: metadata first, then, once that is answered, chunks.
//!
//! T6 of `protocols.md`: an OAP answers a JFR's metadata unless it says that the task failed; a
//! pprof's in every case. After that it is silent until the client half-closes.

use bytes::Bytes;
use perigee_proto::skywalking::v10 as sw;
use prost::Message;
use sw::async_profiler_data::Result as AsyncResult;
use sw::pprof_data::Result as PprofResult;
use tonic::Status;
use xxhash_rust::xxh3::Xxh3;

use super::decode::{decode_as, processing_error};
use super::state::{UploadState, UploadStatus};

/// `jfrMaxSize` and `pprofMaxSize` of an OAP.
const MAX_CONTENT: i64 = 30 * 1024 * 1024;

const SUCCESS: i32 = 0;
const TASK_ERROR: i32 = 1;
const OVERSIZE: i32 = 2;

/// Whose file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadKind {
    /// Java's.
    Async,
    /// Go's.
    Pprof,
}

/// A file on its way.
pub(super) struct Upload {
    kind: UploadKind,
    state: UploadState,
    hasher: Xxh3,
    phase: Phase,
}

enum Phase {
    Metadata,
    Content,
    /// Whatever comes is ignored.
    Over(UploadStatus),
}

/// One message, of either kind.
struct Part {
    metadata: Option<Metadata>,
    content: Option<Vec<u8>>,
}

struct Metadata {
    service: String,
    instance: String,
    task_id: String,
    outcome: i32,
    content_size: i32,
}

impl Upload {
    pub(super) fn new(kind: UploadKind, path: &str) -> Self {
        Self {
            kind,
            state: UploadState {
                path: path.to_owned(),
                ..UploadState::default()
            },
            hasher: Xxh3::new(),
            phase: Phase::Metadata,
        }
    }

    /// Takes a message; gives the answer, if there is one to it.
    pub(super) fn take(&mut self, bytes: &Bytes) -> Result<Option<Bytes>, Status> {
        let part = match self.kind {
            UploadKind::Async => part_of_async(bytes)?,
            UploadKind::Pprof => part_of_pprof(bytes)?,
        };
        match self.phase {
            Phase::Metadata => {
                let metadata = part.metadata.ok_or_else(processing_error)?;
                Ok(self.begin(metadata))
            }
            Phase::Content => {
                self.append(&part.content.unwrap_or_default())?;
                Ok(None)
            }
            Phase::Over(_) => Ok(None),
        }
    }

    fn begin(&mut self, metadata: Metadata) -> Option<Bytes> {
        self.state.service = metadata.service;
        self.state.instance = metadata.instance;
        self.state.task_id = metadata.task_id;
        self.state.content_size = metadata.content_size.into();
        let outcome = if metadata.outcome == TASK_ERROR {
            self.phase = Phase::Over(UploadStatus::TaskError);
            TASK_ERROR
        } else if self.state.content_size > MAX_CONTENT {
            self.phase = Phase::Over(UploadStatus::Oversize);
            OVERSIZE
        } else {
            self.phase = Phase::Content;
            SUCCESS
        };
        match self.kind {
            UploadKind::Async if outcome == TASK_ERROR => None,
            UploadKind::Async => {
                let answer = sw::AsyncProfilerCollectionResponse { r#type: outcome };
                Some(answer.encode_to_vec().into())
            }
            UploadKind::Pprof => {
                let answer = sw::PprofCollectionResponse { status: outcome };
                Some(answer.encode_to_vec().into())
            }
        }
    }

    /// An OAP puts the chunks into a buffer of the announced size.
    fn append(&mut self, content: &[u8]) -> Result<(), Status> {
        self.state.received += content.len() as u64;
        self.hasher.update(content);
        if i64::try_from(self.state.received)
            .is_ok_and(|received| received <= self.state.content_size)
        {
            return Ok(());
        }
        self.phase = Phase::Over(UploadStatus::Overflow);
        Err(processing_error())
    }

    /// What became of it, when the client has half-closed (`whole`) or the call has ended otherwise.
    pub(super) fn end(self, whole: bool) -> UploadState {
        let complete = u64::try_from(self.state.content_size) == Ok(self.state.received);
        let status = match self.phase {
            Phase::Over(status) => status,
            Phase::Content if whole && complete => UploadStatus::Ok,
            Phase::Content | Phase::Metadata if whole => UploadStatus::Incomplete,
            Phase::Content | Phase::Metadata => UploadStatus::Cut,
        };
        UploadState {
            xxh3: format!("{:016x}", self.hasher.digest()),
            status,
            ..self.state
        }
    }
}

fn part_of_async(bytes: &Bytes) -> Result<Part, Status> {
    let data: sw::AsyncProfilerData = decode_as(bytes)?;
    Ok(Part {
        metadata: data.meta_data.map(|metadata| Metadata {
            service: metadata.service,
            instance: metadata.service_instance,
            task_id: metadata.task_id,
            outcome: metadata.r#type,
            content_size: metadata.content_size,
        }),
        content: match data.result {
            Some(AsyncResult::Content(content)) => Some(content),
            _ => None,
        },
    })
}

fn part_of_pprof(bytes: &Bytes) -> Result<Part, Status> {
    let data: sw::PprofData = decode_as(bytes)?;
    Ok(Part {
        metadata: data.metadata.map(|metadata| Metadata {
            service: metadata.service,
            instance: metadata.service_instance,
            task_id: metadata.task_id,
            outcome: metadata.r#type,
            content_size: metadata.content_size,
        }),
        content: match data.result {
            Some(PprofResult::Content(content)) => Some(content),
            _ => None,
        },
    })
}
