//! What capturing shows: in the gateway its child, in that process its own page.

use std::fmt::{self, Debug};

use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};

use super::{Labels, Page, recorder};
use crate::telemetry::books::CaptureBooks;
use crate::telemetry::catalogue;
use crate::telemetry::log;

pub(super) fn write_child(page: &Page, child: &CaptureBooks) {
    if !child.is_wanted() {
        return;
    }
    let up = f64::from(u8::from(child.is_up()));
    page.set(&catalogue::CAPTURE_CHILD_UP, &[], up);
    page.count(
        &catalogue::CAPTURE_CHILD_RESTARTS,
        &[],
        child.restarts.value(),
    );
}

/// What `perigee capture` knows of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureState {
    /// The off-switch is on.
    pub paused: bool,
    /// The machine lets us capture.
    pub possible: bool,
}

/// The page of `perigee capture`: what its parts record by the macros of the crate `metrics`, which go
/// to the recorder of the process, and the process itself.
pub struct CaptureExporter {
    labels: Labels,
    recorded: PrometheusHandle,
    process: metrics_process::Collector,
}

impl Debug for CaptureExporter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CaptureExporter")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

impl CaptureExporter {
    /// Makes its recorder the process's. `None`: there is one already.
    pub fn install(labels: Labels) -> Option<Self> {
        let (exporter, recorder) = Self::new(labels);
        metrics::set_global_recorder(recorder).ok()?;
        Some(exporter)
    }

    pub(super) fn new(labels: Labels) -> (Self, PrometheusRecorder) {
        let recorder = recorder(&labels);
        let exporter = Self {
            labels,
            recorded: recorder.handle(),
            process: metrics_process::Collector::default(),
        };
        (exporter, recorder)
    }

    /// The page.
    pub fn render(&self, state: CaptureState) -> String {
        let page = Page(recorder(&self.labels));
        let flag = |value: bool| f64::from(u8::from(value));
        page.set(&catalogue::CAPTURE_PAUSED, &[], flag(state.paused));
        page.set(&catalogue::CAPTURE_POSSIBLE, &[], flag(state.possible));
        page.set(&catalogue::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        page.count(&catalogue::LOG_LINES_DROPPED, &[], log::dropped_lines());
        metrics::with_local_recorder(&page.0, || {
            self.process.describe();
            self.process.collect();
        });
        let mut text = page.0.handle().render();
        text.push_str(&self.recorded.render());
        text
    }

    /// Sorts recorded values into their buckets. Must run every few seconds.
    pub fn upkeep(&self) {
        self.recorded.run_upkeep();
    }
}
