//! A capture from its start to its profile.

use std::io::Write;
use std::time::Duration;

use perigee_ebpf_profiler::engine::{Capture, Refused, Request};
use perigee_ebpf_profiler::profile::Profile;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::progress::Progress;
use super::selection::Selection;

/// What is to be captured, and for how long.
pub(super) struct Recording {
    pub(super) request: Request,
    pub(super) length: Duration,
    /// The first ends the capture early; the second gives up the profile.
    pub(super) interrupts: mpsc::Receiver<()>,
}

/// What came of it.
pub(super) struct Recorded {
    pub(super) profile: Profile,
    /// Why not everybody was captured who should have been.
    pub(super) unfollowed: Option<Refused>,
}

impl Recording {
    /// Captures until the time is over, somebody interrupts, or nobody is left to be captured. `None`:
    /// somebody could not wait for the names.
    pub(super) async fn run<W: Write>(
        mut self,
        capture: &dyn Capture,
        selection: &mut Selection,
        progress: &mut Progress<W>,
    ) -> Result<Option<Recorded>, Refused> {
        let mut session = capture.start(&self.request)?;
        let began = Instant::now();
        let mut unfollowed = None;
        let mut looks = tokio::time::interval(selection.pause());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(began + self.length) => break,
                _ = self.interrupts.recv() => break,
                now = looks.tick() => {
                    if selection.look(now.into_std())
                        && let Err(refused) = session.retarget(&selection.targets())
                    {
                        // Those of before are captured all the same.
                        unfollowed.get_or_insert(refused);
                    }
                    if selection.has_ended() {
                        break;
                    }
                    progress.show(now - began, self.length, selection.count());
                }
            }
        }
        progress.show_naming();
        let naming = tokio::task::spawn_blocking(move || session.take());
        tokio::select! {
            biased;
            _ = self.interrupts.recv() => Ok(None),
            profile = naming => match profile {
                Ok(profile) => Ok(Some(Recorded { profile, unfollowed })),
                Err(panic) => Err(Refused {
                    what: "naming functions".to_owned(),
                    because: panic.to_string(),
                    missing: None,
                }),
            },
        }
    }
}
