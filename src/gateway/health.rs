//! `grpc.health.v1`, answered by the gateway itself: whether *it* accepts data.

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;

use crate::admin::{Readiness, State};
use crate::engine::{Ingest, Status};

/// The service's paths begin so; `Watch` is not served, as on an OAP.
pub(super) const SERVICE: &str = "/grpc.health.v1.Health/";

/// The method that is served.
pub(super) const CHECK: &str = "/grpc.health.v1.Health/Check";

/// `HealthCheckResponse { status: SERVING }` with its prefix.
const SERVING: Bytes = Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 1]);

/// `HealthCheckResponse { status: NOT_SERVING }` with its prefix.
const NOT_SERVING: Bytes = Bytes::from_static(&[0, 0, 0, 0, 2, 0x08, 2]);

/// One check. Every service name gets the same answer: there is one gateway.
pub(super) struct Check {
    readiness: Arc<Readiness>,
}

impl Check {
    pub(super) fn new(readiness: Arc<Readiness>) -> Self {
        Self { readiness }
    }
}

impl Ingest for Check {
    fn poll_messages(&mut self, _framed: &[u8], _count: u32, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn half_closed(&mut self) -> Result<Bytes, Status> {
        match self.readiness.state() {
            State::Ready => Ok(SERVING),
            State::Starting | State::AtLimit(_) | State::Draining => Ok(NOT_SERVING),
        }
    }

    fn reset(&mut self) {}
}
