//! Where the messages of a call enter the queue, and the books.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use perigee_plugin_api::gate::WaiterId;
use perigee_plugin_api::queue::{LaneKey, Queue, Record, Settled, WhenFull};
use perigee_protocols::adapter::Lane;
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::messages;
use crate::pipe::Pipe;
use crate::telemetry::books::DropReason;

/// One call's way into the queue.
pub(super) struct Entry {
    pub(super) pipe: Arc<Pipe>,
    queue: Arc<dyn Queue>,
    lane: LaneKey,
    partition: usize,
    /// The partition of what may go to any node.
    home: usize,
    waiter: WaiterId,
    /// Taken over this call, for the acknowledgement.
    taken: u64,
    /// Runs of more messages are taken in parts: a small queue could else be filled by one of them,
    /// and who has few messages would wait for its turn for long.
    longest_run: u32,
    /// How much of the present run has been taken, where it is taken in parts.
    done: usize,
}

impl Entry {
    /// `None` if the pipe has no queue.
    pub(super) fn new(
        pipe: &Arc<Pipe>,
        lane: LaneKey,
        waiter: WaiterId,
        connection: u64,
    ) -> Option<Self> {
        let queue = Arc::clone(pipe.queue.as_ref()?);
        let partitions = queue.partitions() as u64;
        // One connection's data stays in one partition, and so in order. Connections are dealt to
        // workers by the same remainder, so the partition's sender is on the same thread.
        let home = usize::try_from(connection % partitions).unwrap_or(0);
        let room = queue.capacity() / partitions;
        Some(Self {
            pipe: Arc::clone(pipe),
            queue,
            lane,
            partition: home,
            home,
            waiter,
            taken: 0,
            longest_run: u32::try_from(room / 8).unwrap_or(u32::MAX),
            done: 0,
        })
    }

    /// What comes next belongs there.
    pub(super) fn go_to(&mut self, lane: &Lane) {
        if (&self.lane.route, &self.lane.group) == (&lane.route, &lane.group) {
            return;
        }
        self.lane.route.clone_from(&lane.route);
        self.lane.group.clone_from(&lane.group);
        let partition = match &self.lane.route {
            None => self.home,
            // A key's partition is the same on every call and so is the one sender that places it.
            Some(key) => {
                usize::try_from(xxh3_64(key) % self.queue.partitions() as u64).unwrap_or(0)
            }
        };
        if partition != self.partition {
            self.queue.forget(self.partition, self.waiter);
            self.partition = partition;
        }
    }

    /// Waits until there is any room, and takes none.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_ready(Settled { count: 1, bytes: 1 }, cx)
    }

    fn poll_ready(&self, arriving: Settled, cx: &mut Context<'_>) -> Poll<()> {
        self.queue
            .poll_ready(self.partition, self.waiter, arriving, cx)
    }

    /// Takes a run when there is room. When pending, it is called again with the same run.
    pub(super) fn poll_push(
        &mut self,
        framed: &[u8],
        count: u32,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if count <= self.longest_run {
            ready!(self.poll_ready(weight(framed, count), cx));
            self.push(framed, count, 0);
            return Poll::Ready(());
        }
        while self.done < framed.len() {
            let left = &framed[self.done..];
            let first = messages(left).take(self.longest_run.max(1) as usize);
            let (count, length) = first.fold((0, 0), |(count, length), message| {
                (count + 1, length + message.len())
            });
            let run = &left[..length];
            ready!(self.poll_ready(weight(run, count), cx));
            self.push(run, count, 0);
            self.done += length;
        }
        self.done = 0;
        Poll::Ready(())
    }

    /// Takes messages, which `merged` more of the client are in, whether there is room or not.
    pub(super) fn push(&mut self, framed: &[u8], count: u32, merged: u32) {
        let record = Record {
            lane: &self.lane,
            messages: framed,
            count,
            now: Instant::now(),
        };
        let received = u64::from(count) + u64::from(merged);
        let books = &self.pipe.books;
        books.received(received, framed.len() as u64);
        if merged > 0 {
            books.merged(merged.into());
        }
        let dropped = self.queue.push(self.partition, &record);
        if dropped.count > 0 {
            books.dropped(self.drop_reason(), dropped.count);
        }
        self.taken += received;
    }

    /// Messages that go no further.
    pub(super) fn lose(&mut self, reason: DropReason, count: u32) {
        self.pipe.books.received(count.into(), 0);
        self.pipe.books.dropped(reason, count.into());
        self.taken += u64::from(count);
    }

    /// The client is told that everything is taken.
    pub(super) fn acknowledge(&self) {
        self.pipe.books.acknowledged(self.taken);
    }

    fn drop_reason(&self) -> DropReason {
        match self.pipe.settings.queue.map(|queue| queue.when_full) {
            Some(WhenFull::DropOldest) => DropReason::Evicted,
            Some(WhenFull::DropNewest) => DropReason::QueueFull,
            // A queue that blocks lets go of nothing until it is closed.
            Some(WhenFull::Block) | None => DropReason::Shutdown,
        }
    }
}

fn weight(framed: &[u8], count: u32) -> Settled {
    Settled {
        count: count.into(),
        bytes: framed.len() as u64,
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.queue.forget(self.partition, self.waiter);
    }
}
