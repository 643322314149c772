//! From a client's queued call into the pipe's queue.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use perigee_plugin_api::gate::WaiterId;
use perigee_plugin_api::protocol::RouteKey;
use perigee_plugin_api::queue::{LaneKey, Queue, Record, WhenFull};
use perigee_protocols::peek;
use xxhash_rust::xxh3::xxh3_64;

use super::{Pipe, Served};
use crate::engine::{Ingest, PREFIX, Status, messages};
use crate::telemetry::books::DropReason;

/// An empty message with its prefix: every report's answer (`protocols.md` 1a).
const EMPTY: Bytes = Bytes::from_static(&[0; PREFIX]);

/// One queued call.
pub struct QueuedCall {
    pipe: Arc<Pipe>,
    queue: Arc<dyn Queue>,
    key: RouteKey,
    lane: LaneKey,
    partition: usize,
    waiter: WaiterId,
    /// Taken over this call, for the acknowledgement.
    taken: u64,
    /// Runs of more messages are taken one by one: a small queue would else be overfilled by the
    /// run that finds it empty.
    longest_run: u32,
    /// How much of the present run has been taken, where messages are taken one by one.
    done: usize,
    /// Reused for each message's key.
    scratch: Vec<u8>,
}

/// Where a call comes from.
pub struct Origin {
    /// Number of the connection.
    pub connection: u64,
    /// The caller's token, where callers' tokens are forwarded.
    pub token: Option<Arc<str>>,
}

impl QueuedCall {
    /// A call of a queued method; `None` if the pipe has no queue.
    pub fn new(served: &Served, key: RouteKey, origin: Origin) -> Option<Self> {
        let queue = Arc::clone(served.pipe.queue.as_ref()?);
        let waiter = WaiterId::next();
        // One connection's data stays in one partition, and so in order. Connections are dealt to
        // workers by the same remainder, so the partition's sender is on the same thread.
        let partition = origin.connection % queue.partitions() as u64;
        let room = queue.capacity() / queue.partitions() as u64;
        let route = (key == RouteKey::Stream).then(|| Arc::from(waiter.to_bytes()));
        Some(Self {
            pipe: Arc::clone(&served.pipe),
            queue,
            key,
            lane: LaneKey {
                method: served.number,
                route,
                token: origin.token,
            },
            partition: usize::try_from(partition).unwrap_or(0),
            waiter,
            taken: 0,
            longest_run: u32::try_from(room / 8).unwrap_or(u32::MAX),
            done: 0,
            scratch: Vec::new(),
        })
    }

    fn poll_push(&mut self, framed: &[u8], count: u32, cx: &mut Context<'_>) -> Poll<()> {
        let bytes = framed.len() as u64;
        ready!(
            self.queue
                .poll_ready(self.partition, self.waiter, bytes, cx)
        );
        let now = Instant::now();
        let record = Record {
            lane: &self.lane,
            messages: framed,
            count,
            now,
        };
        self.pipe.books.received(count.into(), bytes);
        let dropped = self.queue.push(self.partition, &record);
        if dropped.count > 0 {
            self.pipe.books.dropped(self.drop_reason(), dropped.count);
        }
        self.taken += u64::from(count);
        Poll::Ready(())
    }

    fn drop_reason(&self) -> DropReason {
        match self.pipe.settings.queue.map(|queue| queue.when_full) {
            Some(WhenFull::DropOldest) => DropReason::Evicted,
            Some(WhenFull::DropNewest) => DropReason::QueueFull,
            // A queue that blocks lets go of nothing until it is closed.
            Some(WhenFull::Block) | None => DropReason::Shutdown,
        }
    }

    /// Each message goes where its key says; a message without one follows the last that had one.
    fn poll_push_each(
        &mut self,
        framed: &[u8],
        fields: &[&[u32]],
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        for message in messages(&framed[self.done..]) {
            self.scratch.clear();
            if peek::route_key(fields, &message[PREFIX..], &mut self.scratch)
                && self.lane.route.as_deref() != Some(&self.scratch)
            {
                self.queue.forget(self.partition, self.waiter);
                self.lane.route = Some(Arc::from(self.scratch.as_slice()));
                self.partition = partition_of(&self.scratch, &*self.queue);
            }
            ready!(self.poll_push(message, 1, cx));
            self.done += message.len();
        }
        self.done = 0;
        Poll::Ready(())
    }
}

/// A key's partition is the same on every call and so is the one sender that places it.
fn partition_of(key: &[u8], queue: &dyn Queue) -> usize {
    usize::try_from(xxh3_64(key) % queue.partitions() as u64).unwrap_or(0)
}

impl Ingest for QueuedCall {
    fn poll_messages(&mut self, framed: &[u8], count: u32, cx: &mut Context<'_>) -> Poll<()> {
        match self.key {
            RouteKey::Fields(fields) => self.poll_push_each(framed, fields, cx),
            RouteKey::None | RouteKey::Stream if count <= self.longest_run => {
                self.poll_push(framed, count, cx)
            }
            RouteKey::None | RouteKey::Stream => self.poll_push_each(framed, &[], cx),
        }
    }

    fn half_closed(&mut self) -> Result<Bytes, Status> {
        self.pipe.books.acknowledged(self.taken);
        Ok(EMPTY)
    }

    fn reset(&mut self) {}
}

impl Drop for QueuedCall {
    fn drop(&mut self) {
        self.queue.forget(self.partition, self.waiter);
    }
}
