//! The off-switch: a signal turns it over, and a change of the file sets it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::config::CaptureConfig;

/// Between two looks at the file, which is what a person who has just written it will wait.
const LOOK: Duration = Duration::from_secs(2);

/// Whether capturing is off.
#[derive(Clone, Debug)]
pub(super) struct Switch(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug)]
struct State {
    paused: bool,
    /// What the file has said last.
    written: bool,
}

/// What becomes of problems with a changed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problems {
    /// They are logged.
    Told,
    /// Another process logs them.
    LeftToOthers,
}

impl Switch {
    /// As the file says, unless somebody has said otherwise since.
    pub(super) fn new(written: bool, told: Option<bool>) -> Self {
        let paused = told.unwrap_or(written);
        Self(Arc::new(watch::Sender::new(State { paused, written })))
    }

    /// Turns it over; answers whether it is off then.
    pub(super) fn toggle(&self) -> bool {
        let paused = !self.is_paused();
        self.set(paused);
        paused
    }

    /// Has it stand so, whatever the file says.
    pub(super) fn set(&self, paused: bool) {
        self.0.send_modify(|state| state.paused = paused);
    }

    /// Logs how it stands, where somebody has told us.
    pub(super) fn log(&self) {
        match self.is_paused() {
            true => info!("told to pause"),
            false => info!("told to go on"),
        }
    }

    /// Takes what the file says; only a change counts.
    fn read(&self, written: bool) {
        self.0.send_if_modified(|state| {
            let is_news = state.written != written;
            if is_news {
                *state = State {
                    paused: written,
                    written,
                };
            }
            is_news
        });
    }

    pub(super) fn is_paused(&self) -> bool {
        self.0.borrow().paused
    }

    /// How it stands, if the file says otherwise.
    pub(super) fn told(&self) -> Option<bool> {
        let State { paused, written } = *self.0.borrow();
        (paused != written).then_some(paused)
    }

    /// Waits until it stands so. cancel-safe: nothing is taken.
    pub(super) async fn is(&self, paused: bool) {
        let stands = |state: &State| state.paused == paused;
        // It cannot be closed while we hold it.
        let _ = self.0.subscribe().wait_for(stands).await;
    }

    /// Follows `capture.paused` in the file. Only a change counts: until then the signal has the last
    /// word. Never ends.
    pub(super) async fn follow(self, path: PathBuf, problems: Problems) {
        let mut text = read(&path).await;
        loop {
            tokio::time::sleep(LOOK).await;
            let now = read(&path).await;
            if now == text {
                continue;
            }
            text = now;
            match text.as_deref().map(|text| paused(text, &path)) {
                Some(Ok(paused)) => self.read(paused),
                _ if problems == Problems::LeftToOthers => {}
                Some(Err(errors)) => warn!("changed file not taken: {errors}"),
                None => warn!(file = %path.display(), "the configuration cannot be read any more"),
            }
        }
    }
}

/// `None`: it cannot be read.
async fn read(path: &Path) -> Option<String> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path));
    read.await.ok()?.ok()
}

fn paused(text: &str, path: &Path) -> Result<bool, crate::config::ConfigErrors> {
    let source = crate::config::Source::File(path.to_owned());
    let environment = |name: &str| std::env::var(name).ok();
    let config = CaptureConfig::parse(text, source, &environment)?;
    Ok(config.settings.capture.paused)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time stands still but for the looks at the file.
    async fn look() {
        tokio::time::sleep(LOOK + Duration::from_millis(1)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_file_sets_it_and_a_signal_has_the_last_word_until_then() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("perigee.yaml");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("capture: {paused: false}\n");
        let switch = Switch::new(false, None);
        tokio::spawn(switch.clone().follow(path.clone(), Problems::Told));
        look().await;
        assert!(switch.toggle());
        write("capture: {paused: false, enabled: true}\n");
        look().await;
        assert!(switch.is_paused(), "the file says what it has said before");
        write("capture: {paused: maybe}\n");
        look().await;
        assert!(switch.is_paused(), "a file that is wrong says nothing");
        write("capture: {paused: true}\n");
        look().await;
        assert!(switch.is_paused());
        write("capture: {paused: false}\n");
        switch.is(false).await;
        assert!(!switch.is_paused());
    }

    #[test]
    fn what_somebody_has_said_counts_until_the_file_changes() {
        let switch = Switch::new(false, Some(true));
        assert_eq!((switch.is_paused(), switch.told()), (true, Some(true)));
        switch.read(false);
        assert!(switch.is_paused(), "it has said so before");
        switch.read(true);
        assert_eq!((switch.is_paused(), switch.told()), (true, None));
        switch.toggle();
        assert_eq!((switch.is_paused(), switch.told()), (false, Some(false)));
    }
}
