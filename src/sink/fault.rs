//! Misbehaviour on demand.
//!
//! There is one fault at a time, replaced as a whole. A call asks three times: before it reads,
//! when it has read a message, and before it answers.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tonic::{Code, Status};

/// How to misbehave. The default does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Misbehave only for methods whose path contains this
    #[arg(long = "fault-path", value_name = "TEXT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Read no message and answer nothing until the fault is lifted
    #[arg(long)]
    pub stall: bool,
    /// Refuse calls, and messages on open ones, with this status
    #[arg(long, value_name = "CODE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse: Option<CodeName>,
    /// Every so many accepted messages, end the call that carried the last one
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_after: Option<u64>,
    /// What `--fail-after` ends calls with; UNAVAILABLE unless told
    #[arg(long, value_name = "CODE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fail_code: Option<CodeName>,
    /// Wait this long before each answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub delay_ms: u64,
}

impl Fault {
    fn concerns(&self, path: &str) -> bool {
        self.path.as_deref().is_none_or(|part| path.contains(part))
    }

    fn stalls(&self, path: &str) -> bool {
        self.stall && self.concerns(path)
    }
}

/// A gRPC status code by its name, e.g. `UNAVAILABLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CodeName(pub Code);

const CODES: [(&str, Code); 17] = [
    ("OK", Code::Ok),
    ("CANCELLED", Code::Cancelled),
    ("UNKNOWN", Code::Unknown),
    ("INVALID_ARGUMENT", Code::InvalidArgument),
    ("DEADLINE_EXCEEDED", Code::DeadlineExceeded),
    ("NOT_FOUND", Code::NotFound),
    ("ALREADY_EXISTS", Code::AlreadyExists),
    ("PERMISSION_DENIED", Code::PermissionDenied),
    ("RESOURCE_EXHAUSTED", Code::ResourceExhausted),
    ("FAILED_PRECONDITION", Code::FailedPrecondition),
    ("ABORTED", Code::Aborted),
    ("OUT_OF_RANGE", Code::OutOfRange),
    ("UNIMPLEMENTED", Code::Unimplemented),
    ("INTERNAL", Code::Internal),
    ("UNAVAILABLE", Code::Unavailable),
    ("DATA_LOSS", Code::DataLoss),
    ("UNAUTHENTICATED", Code::Unauthenticated),
];

impl CodeName {
    /// The name as gRPC writes it.
    pub fn as_str(self) -> &'static str {
        CODES
            .iter()
            .find(|(_, code)| *code == self.0)
            .map_or("UNKNOWN", |(name, _)| name)
    }
}

impl fmt::Display for CodeName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// A text that names no status code.
#[derive(Debug, thiserror::Error)]
#[error("not a gRPC status code: {0:?}")]
pub struct NotACode(String);

impl FromStr for CodeName {
    type Err = NotACode;

    fn from_str(text: &str) -> Result<Self, NotACode> {
        CODES
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(text))
            .map(|(_, code)| Self(*code))
            .ok_or_else(|| NotACode(text.to_owned()))
    }
}

impl TryFrom<String> for CodeName {
    type Error = NotACode;

    fn try_from(text: String) -> Result<Self, NotACode> {
        text.parse()
    }
}

impl From<CodeName> for String {
    fn from(code: CodeName) -> Self {
        code.as_str().to_owned()
    }
}

/// The fault in force.
#[derive(Debug)]
pub(super) struct FaultBoard {
    current: watch::Sender<Fault>,
    /// Messages accepted since the fault was set.
    accepted: AtomicU64,
}

impl FaultBoard {
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            current: watch::Sender::new(fault),
            accepted: AtomicU64::new(0),
        }
    }

    pub(super) fn set(&self, fault: Fault) {
        self.accepted.store(0, Ordering::Relaxed);
        self.current.send_replace(fault);
    }

    /// Waits while the path is stalled. cancel-safe.
    pub(super) async fn stalled(&self, path: &str) {
        if !self.current.borrow().stalls(path) {
            return;
        }
        let mut fault = self.current.subscribe();
        // Fails only when the sender is gone, and that is us.
        let _ = fault.wait_for(|fault| !fault.stalls(path)).await;
    }

    /// Whether the path is refused.
    pub(super) fn refusal(&self, path: &str) -> Result<(), Status> {
        let fault = self.current.borrow();
        match fault.refuse {
            Some(CodeName(code)) if fault.concerns(path) => {
                Err(Status::new(code, "refused by the sink's fault"))
            }
            _ => Ok(()),
        }
    }

    /// Counts an accepted message; an error ends its call.
    pub(super) fn accepted(&self, path: &str) -> Result<(), Status> {
        let fault = self.current.borrow();
        let Some(every) = fault.fail_after.filter(|_| fault.concerns(path)) else {
            return Ok(());
        };
        let count = self.accepted.fetch_add(1, Ordering::Relaxed) + 1;
        if !count.is_multiple_of(every.max(1)) {
            return Ok(());
        }
        let code = fault.fail_code.map_or(Code::Unavailable, |name| name.0);
        Err(Status::new(
            code,
            format!("failed by the sink after {count} messages"),
        ))
    }

    /// Waits before an answer. cancel-safe.
    pub(super) async fn delay(&self, path: &str) {
        let delay = {
            let fault = self.current.borrow();
            Duration::from_millis(if fault.concerns(path) {
                fault.delay_ms
            } else {
                0
            })
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
}
