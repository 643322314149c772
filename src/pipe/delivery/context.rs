//! What one batch's parts share.

use std::time::{Duration, Instant};

use http::HeaderValue;
use perigee_plugin_api::protocol::{Adapter, Forward, Queued};
use perigee_plugin_api::queue::LaneKey;

use crate::config::settings::Retry;
use crate::pipe::sender::SenderOptions;

/// What one batch's parts share.
pub(super) struct Context {
    pub(super) lane: LaneKey,
    pub(super) adapter: Adapter,
    pub(super) path: &'static str,
    /// Longest time that a node may owe progress.
    pub(super) timeout: Duration,
    pub(super) oldest: Instant,
    pub(super) expires: Instant,
    /// Ours, or the callers' own.
    pub(super) token: Option<HeaderValue>,
}

impl Context {
    pub(super) fn new(
        lane: LaneKey,
        queued: Queued,
        oldest: Instant,
        retry: &Retry,
        options: &SenderOptions,
    ) -> Self {
        let ours = options.authentication.clone();
        let callers = || HeaderValue::from_str(lane.token.as_deref()?).ok();
        let longest = queued.ttl.unwrap_or(retry.max_age);
        Self {
            path: queued.forward.path(),
            timeout: match queued.forward {
                Forward::Stream(_) => options.stream_timeout,
                Forward::Unary(_) => options.unary_timeout,
            },
            oldest,
            adapter: queued.adapter,
            expires: oldest + longest.min(retry.max_age),
            token: ours.or_else(callers),
            lane,
        }
    }
}
