//! From a client's queued call into the pipe's queue.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use perigee_plugin_api::gate::WaiterId;
use perigee_plugin_api::protocol::{Adapter, Shape};
use perigee_plugin_api::queue::LaneKey;
use perigee_protocols::adapter;

use super::Served;
use crate::engine::{Code, Ingest, PREFIX, Status};

mod adapted;
mod entry;

use adapted::Adapted;
pub(super) use adapted::LOG_PAUSE;
use entry::Entry;

/// An empty message with its prefix: every report's answer (`protocols.md` 1a).
const EMPTY: Bytes = Bytes::from_static(&[0; PREFIX]);

/// One queued call.
pub struct QueuedCall {
    entry: Entry,
    /// Where messages cannot go on as they are.
    adapted: Option<Adapted>,
}

/// Where a call comes from.
pub struct Origin {
    /// The client's address, which shares its turns when the queue is full.
    pub source: IpAddr,
    /// Number of the connection.
    pub connection: u64,
    /// The caller's token, where callers' tokens are forwarded.
    pub token: Option<Arc<str>>,
}

impl QueuedCall {
    /// A call of a queued method; `None` if the pipe has no queue.
    pub fn new(served: &Served, adapter: Adapter, origin: Origin) -> Option<Self> {
        let pipe = &served.pipe;
        let lane = LaneKey {
            method: served.number,
            route: None,
            group: None,
            token: origin.token,
        };
        let waiter = WaiterId::of(origin.source, origin.connection);
        let entry = Entry::new(pipe, lane, waiter, origin.connection)?;
        let is_unary = served.method.shape == Shape::Unary;
        let adapted = adapter::inbound(adapter, &pipe.adapter_options)
            .map(|adapter| Adapted::new(adapter, is_unary, &pipe.budget));
        Some(Self { entry, adapted })
    }
}

impl Ingest for QueuedCall {
    fn poll_messages(&mut self, framed: &[u8], count: u32, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.adapted {
            None => self.entry.poll_push(framed, count, cx),
            Some(adapted) => adapted.poll_messages(&mut self.entry, framed, cx),
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) {
        if let Some(adapted) = &mut self.adapted {
            adapted.poll_idle(&mut self.entry, cx);
        }
    }

    fn half_closed(&mut self) -> Result<Bytes, Status> {
        if let Some(adapted) = &mut self.adapted {
            adapted.end(&mut self.entry, Instant::now());
            if let Some(complaint) = adapted.complaint() {
                return Err(Status::new(Code::InvalidArgument, complaint));
            }
        }
        self.entry.acknowledge();
        Ok(EMPTY)
    }

    fn reset(&mut self) {
        if let Some(adapted) = &mut self.adapted {
            adapted.end(&mut self.entry, Instant::now());
        }
    }
}
