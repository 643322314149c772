//! The metrics of who runs `perigee capture`, and those of that process which are not of capturing itself.

use super::{Metric, counter, gauge};

/// `perigee_capture_child_up`.
pub static CAPTURE_CHILD_UP: Metric = gauge(
    "perigee_capture_child_up",
    "processes",
    &[],
    "Whether the gateway's `perigee capture` runs: 1 or 0. Absent without `capture.enabled`.",
);
/// `perigee_capture_child_restarts_total`.
pub static CAPTURE_CHILD_RESTARTS: Metric = counter(
    "perigee_capture_child_restarts_total",
    "events",
    &[],
    "How often the gateway's `perigee capture` was started again. Absent without `capture.enabled`.",
);
/// `perigee_capture_paused`.
pub static CAPTURE_PAUSED: Metric = gauge(
    "perigee_capture_paused",
    "",
    &[],
    "Whether the off-switch is on: 1 or 0.",
);
/// `perigee_capture_possible`.
pub static CAPTURE_POSSIBLE: Metric = gauge(
    "perigee_capture_possible",
    "",
    &[],
    "Whether the machine lets `perigee capture` capture anything: 1 or 0; the log says why.",
);

/// Those that only the page of `perigee capture` shows.
pub(super) static OF_CAPTURE: [&Metric; 2] = [&CAPTURE_PAUSED, &CAPTURE_POSSIBLE];
