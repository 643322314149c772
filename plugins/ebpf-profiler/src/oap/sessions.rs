//! The captures of all tasks: one for each kind, whose targets are the processes of all jobs of it.
//!
//! However many tasks and processes there are, a CPU is sampled once. Calls of a session take up to seconds
//! and are made on a thread for blocking work.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, spawn_blocking};

use crate::engine::{Capture, Refused, Request, Session, Targets};
use crate::profile::{Kind, Profile};

/// What is captured for tasks, and how.
pub(super) struct Sessions {
    capture: Arc<dyn Capture>,
    period: Duration,
    minimum: Duration,
    on_cpu: Option<Live>,
    off_cpu: Option<Live>,
}

struct Live {
    session: Box<dyn Session>,
    targets: BTreeSet<u32>,
}

impl Sessions {
    pub(super) fn new(capture: Arc<dyn Capture>, period: Duration, minimum: Duration) -> Self {
        Self {
            capture,
            period,
            minimum,
            on_cpu: None,
            off_cpu: None,
        }
    }

    fn slot(&mut self, kind: Kind) -> &mut Option<Live> {
        match kind {
            Kind::OnCpu => &mut self.on_cpu,
            Kind::OffCpu => &mut self.off_cpu,
        }
    }

    /// Whether these are the targets already.
    pub(super) fn aims_at(&mut self, kind: Kind, targets: &BTreeSet<u32>) -> bool {
        match self.slot(kind) {
            Some(live) => live.targets == *targets,
            None => targets.is_empty(),
        }
    }

    /// What has come since the last call; `None` if nothing is captured.
    ///
    /// cancel-safe: no, the session is lost.
    pub(super) async fn take(&mut self, kind: Kind) -> Option<Profile> {
        let Live {
            mut session,
            targets,
        } = self.slot(kind).take()?;
        let taken = spawn_blocking(move || {
            let profile = session.take();
            (session, profile)
        });
        match taken.await {
            Ok((session, profile)) => {
                *self.slot(kind) = Some(Live { session, targets });
                Some(profile)
            }
            Err(error) => {
                tracing::error!(?kind, %error, "capture failed; starting it anew");
                None
            }
        }
    }

    /// Captures these processes from now on, and no others. After an error everything is as it was.
    ///
    /// cancel-safe: no, the session is lost.
    pub(super) async fn aim(&mut self, kind: Kind, targets: &BTreeSet<u32>) -> Result<(), Refused> {
        if self.aims_at(kind, targets) {
            return Ok(());
        }
        let live = self.slot(kind).take();
        if targets.is_empty() {
            // Ends it, which may take a while.
            return match spawn_blocking(move || drop(live)).await {
                Ok(()) => Ok(()),
                Err(error) => Err(broken(&error)),
            };
        }
        let (live, result) = match live {
            Some(live) => retarget(live, targets).await,
            None => {
                let request = self.request(kind, targets);
                start(Arc::clone(&self.capture), request, targets).await
            }
        };
        *self.slot(kind) = live;
        result
    }

    fn request(&self, kind: Kind, targets: &BTreeSet<u32>) -> Request {
        Request {
            kind,
            targets: Targets::Processes(targets.clone()),
            period: self.period,
            minimum: self.minimum,
            elastic: true,
        }
    }
}

async fn start(
    capture: Arc<dyn Capture>,
    request: Request,
    targets: &BTreeSet<u32>,
) -> (Option<Live>, Result<(), Refused>) {
    match spawn_blocking(move || capture.start(&request)).await {
        Ok(Ok(session)) => {
            let targets = targets.clone();
            (Some(Live { session, targets }), Ok(()))
        }
        Ok(Err(refused)) => (None, Err(refused)),
        Err(error) => (None, Err(broken(&error))),
    }
}

async fn retarget(live: Live, targets: &BTreeSet<u32>) -> (Option<Live>, Result<(), Refused>) {
    let Live {
        mut session,
        targets: old,
    } = live;
    let wanted = Targets::Processes(targets.clone());
    let done = spawn_blocking(move || {
        let result = session.retarget(&wanted);
        (session, result)
    });
    match done.await {
        Ok((session, result)) => {
            let targets = if result.is_ok() { targets.clone() } else { old };
            (Some(Live { session, targets }), result)
        }
        Err(error) => (None, Err(broken(&error))),
    }
}

fn broken(error: &JoinError) -> Refused {
    Refused {
        what: "capture".to_owned(),
        because: error.to_string(),
        missing: None,
    }
}
