//! The seam to `plugins/ebpf-profiler`: what the configuration says becomes what the module is made of.

use std::convert::Infallible;
use std::sync::Arc;

use perigee_ebpf_profiler::engine::{Capture, Refused};

use super::connection::Connection;
use crate::config::settings::capture::{self as settings, Budget, Scope};

/// What was tried on this machine.
#[derive(Clone, Debug)]
pub(super) struct Examination {
    /// Everything that was tried.
    pub(super) findings: Vec<Finding>,
    /// What a capture would use; `None`: nothing is possible.
    pub(super) level: Option<String>,
}

/// One thing that was tried.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    /// What was tried.
    pub(super) thing: String,
    /// Whether it works.
    pub(super) works: bool,
    /// Why not, or what there is to know.
    pub(super) because: Option<String>,
    /// What would help.
    pub(super) grant: Option<String>,
}

/// Tries everything that capturing needs.
pub(super) fn examine() -> Examination {
    Examination {
        findings: Vec::new(),
        level: None,
    }
}

/// Makes ready what captures. Dropped, nothing of ours is left in the kernel.
///
/// # Errors
/// The machine lets us capture nothing.
pub(crate) fn open(_budget: Budget, _scope: &Scope) -> Result<Arc<dyn Capture>, Refused> {
    Err(Refused {
        what: "profiling".to_owned(),
        because: "the kernel's part is not built in".to_owned(),
        missing: None,
    })
}

/// Finds processes, reports them, and does the OAP's tasks. Runs until dropped; `capture` is `None`
/// where nothing can be captured.
pub(super) async fn work(
    _settings: &settings::Capture,
    _capture: Option<Arc<dyn Capture>>,
    _gateway: &Connection,
) -> Infallible {
    std::future::pending().await
}
