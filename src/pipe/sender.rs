//! Empties one partition of a pipe's queue towards the nodes.
//!
//! One task a partition: it takes a batch when one is due and a slot is free, and keeps several on
//! their way. It is woken by the queue, by a delivery that ends, and by a node that changes; it
//! never polls.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use perigee_plugin_api::queue::{Batch, Limits, Next, Queue};
use tokio::time::Sleep;

use super::Pipe;
use super::delivery::Delivery;
use crate::upstream::{LAG, Upstream};

/// A batch is not cut below this many messages to reach more nodes: the tolerance of even shares.
const SMALLEST_SHARE: u32 = 16;

/// One partition's sender.
pub struct Sender {
    pipe: Arc<Pipe>,
    queue: Arc<dyn Queue>,
    partition: usize,
    upstream: Rc<Upstream>,
    delivery: Rc<Delivery>,
    max_in_flight: usize,
}

/// What a sender needs to know of the client settings.
#[derive(Clone, Debug)]
pub struct SenderOptions {
    /// Batches a node.
    pub max_in_flight: usize,
    /// Deadline of unary calls.
    pub unary_timeout: Duration,
    /// Longest time a stream may owe progress.
    pub stream_timeout: Duration,
    /// Our own token.
    pub authentication: Option<http::HeaderValue>,
}

impl Sender {
    /// The sender of one partition; `None` for a pipe without a queue.
    pub fn new(
        pipe: &Arc<Pipe>,
        partition: usize,
        upstream: &Rc<Upstream>,
        options: &SenderOptions,
    ) -> Option<Self> {
        let queue = Arc::clone(pipe.queue.as_ref()?);
        let options = SenderOptions {
            max_in_flight: options.max_in_flight * pipe.calls_a_batch(),
            ..options.clone()
        };
        let max_in_flight = options.max_in_flight;
        let delivery = Delivery::new(pipe, &queue, partition, upstream, options);
        Some(Self {
            pipe: Arc::clone(pipe),
            queue,
            partition,
            upstream: Rc::clone(upstream),
            delivery: Rc::new(delivery),
            max_in_flight,
        })
    }

    /// Runs until the queue is closed and empty and everything has been settled.
    pub async fn run(self) {
        let mut deliveries = FuturesUnordered::new();
        let mut nodes = self.upstream.subscribe();
        let mut timer = std::pin::pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            let under_way = deliveries.len();
            let taken = std::future::poll_fn(|cx| self.poll_take(under_way, timer.as_mut(), cx));
            tokio::select! {
                biased; // what ends makes room for what begins
                Some(()) = deliveries.next(), if under_way > 0 => {}
                batch = taken => match batch {
                    Some(batch) => {
                        self.pipe.books.taken_from_queue(batch.count.into());
                        deliveries.push(Rc::clone(&self.delivery).run(batch));
                    }
                    None => break,
                },
                _ = nodes.changed() => {}
            }
        }
        while deliveries.next().await.is_some() {}
    }

    fn poll_take(
        &self,
        under_way: usize,
        mut timer: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Batch>> {
        if !self.upstream.has_settled() {
            return Poll::Pending;
        }
        let usable = self.upstream.usable(&self.delivery.slots);
        let busy = match usable.nodes {
            // One set of batches waits outside the queue, ready to go.
            0 => under_way,
            _ => self.delivery.under_way(&usable),
        };
        if busy >= self.max_in_flight * usable.nodes.max(1) {
            // A node becomes lagging by the passing of time alone, which nobody announces.
            timer.as_mut().reset((Instant::now() + LAG).into());
            let _armed = timer.as_mut().poll(cx);
            return Poll::Pending;
        }
        let limits = self.limits(busy, usable.nodes);
        loop {
            match self
                .queue
                .next(self.partition, &limits, Instant::now(), cx.waker())
            {
                Next::Batch(batch) => return Poll::Ready(Some(batch)),
                Next::Closed => return Poll::Ready(None),
                Next::Wait(None) => return Poll::Pending,
                Next::Wait(Some(due)) => {
                    timer.as_mut().reset(due.into());
                    std::task::ready!(timer.as_mut().poll(cx));
                }
            }
        }
    }

    /// While batches are under way, the next one collects company until it is full or
    /// `flush_time` has passed; a partition at rest sends after the short `linger_time`.
    fn limits(&self, under_way: usize, ready: usize) -> Limits {
        let sender = &self.pipe.settings.sender;
        let linger = match under_way {
            0 => sender.linger_time.min(sender.flush_time),
            _ => sender.flush_time,
        };
        Limits {
            count: sender.max_buffer_size,
            bytes: sender.max_batch_bytes,
            linger,
            shares: u32::try_from(ready).unwrap_or(u32::MAX),
            smallest_share: SMALLEST_SHARE,
        }
    }
}
