//! Brings one batch to an OAP node, whatever that takes.
//!
//! A batch is kept until a node has said OK to all of it. What else a node can say is decided by
//! `judge` (`decisions.md` 31): try elsewhere, slow down, isolate the message that is refused by
//! halving, or drop what nobody will ever take. Every message ends in exactly one line of the
//! books.

mod context;
mod latest;
mod part;
mod verdict;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use perigee_plugin_api::protocol::{Adapter, Forward};
use perigee_plugin_api::queue::{Batch, Queue, Settled};
use perigee_protocols::adapter;
use tracing::{debug, error, warn};

use context::Context;
use part::Part;
use verdict::{Verdict, describe, judge};

use super::Pipe;
use super::sender::SenderOptions;
use crate::balance::backoff::RetryPause;
use crate::balance::{NodeId, Request, Route};
use crate::engine::{Outcome, Outgoing, messages};
use crate::telemetry::books::DropReason;
use crate::telemetry::log::RateLimited;
use crate::upstream::{Counted, Failure, Picked, Slot, Slots, Upstream, Usable};

/// Unary calls of one batch that are open at a time, where their order does not matter.
const UNARY_CALLS: usize = 32;

/// How long data is held whose own caller's token is refused. A token of ours that is refused is
/// for an operator to mend, and everything waits for that; a caller's is that caller's matter, and
/// its data must not fill the queue that others share.
const CALLERS_TOKEN: Duration = Duration::from_secs(10);

/// Between two lines of the log about the same trouble.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// What a partition's deliveries share.
pub struct Delivery {
    pub(super) pipe: Arc<Pipe>,
    pub(super) queue: Arc<dyn Queue>,
    pub(super) partition: usize,
    pub(super) upstream: Rc<Upstream>,
    pub(super) slots: Rc<Slots>,
    pub(super) options: SenderOptions,
    /// Deliveries that have not found their first node.
    waiting: Cell<usize>,
    drops: RateLimited,
    holds: RateLimited,
}

/// A node, and the slot that is held there.
type Place = (Picked, Rc<Slot>);

/// What an attempt has left to do.
enum Attempt {
    Settled,
    Halved(Part, Part),
}

impl Delivery {
    /// For one partition of a pipe.
    pub(super) fn new(
        pipe: &Arc<Pipe>,
        queue: &Arc<dyn Queue>,
        partition: usize,
        upstream: &Rc<Upstream>,
        options: SenderOptions,
    ) -> Self {
        Self {
            pipe: Arc::clone(pipe),
            queue: Arc::clone(queue),
            partition,
            upstream: Rc::clone(upstream),
            slots: Rc::new(Slots::new(options.max_in_flight)),
            options,
            waiting: Cell::new(0),
            drops: RateLimited::new(LOG_PAUSE),
            holds: RateLimited::new(LOG_PAUSE),
        }
    }

    /// How many deliveries take up room at nodes that can be used, or look for it. What is parked,
    /// because it is to be tried again later or its node is lagging, is no part of it: it must not
    /// keep the partition's other data from leaving.
    pub(super) fn under_way(&self, usable: &Usable) -> usize {
        usable.used + self.waiting.get()
    }

    /// Delivers a batch and settles it.
    pub(super) async fn run(self: Rc<Self>, batch: Batch) {
        self.pipe
            .histograms
            .batch_messages
            .record(f64::from(batch.count));
        self.pipe.histograms.batch_bytes.record(to_f64(batch.bytes));
        let Some((_, queued)) = self.pipe.queued(batch.lane.method) else {
            // Queues are filled by queued methods only.
            return;
        };
        let whole = Part {
            chunks: batch.chunks,
            count: batch.count,
            bytes: batch.bytes,
        };
        let retry = &self.pipe.settings.retry;
        let context = Context::new(batch.lane, queued, batch.oldest, retry, &self.options);
        let whole = match queued.adapter {
            Adapter::Latest(fields) => self.merge(&context, fields, &whole),
            _ => whole,
        };
        match queued.forward {
            Forward::Stream(_) => self.deliver_all(&context, whole).await,
            Forward::Unary(_) => self.deliver_each(&context, whole).await,
        }
        self.queue.settle(
            self.partition,
            &context.lane,
            Settled { count: 0, bytes: 0 },
            true,
        );
    }

    /// As one call, or several once halved.
    async fn deliver_all(&self, context: &Context, whole: Part) {
        let mut parts = vec![whole];
        while let Some(part) = parts.pop() {
            if let Attempt::Halved(first, second) = self.deliver(context, part, None).await {
                parts.push(second);
                parts.push(first);
            }
        }
    }

    /// One call a message, all to the same node as long as it takes them.
    async fn deliver_each(&self, context: &Context, whole: Part) {
        let mut place = self.first_place(context, whole.count).await;
        // What has a key has an order.
        let most = match context.lane.route {
            Some(_) => 1,
            None => UNARY_CALLS,
        };
        let mut calls = FuturesUnordered::new();
        for chunk in &whole.chunks {
            for message in messages(chunk) {
                if calls.len() >= most {
                    calls.next().await;
                }
                let bytes = message.len() as u64;
                let part = Part {
                    chunks: vec![chunk.slice_ref(message)],
                    count: 1,
                    bytes,
                };
                let here = match context.lane.route {
                    // Where the one before it has arrived in the end.
                    Some(_) => place.take(),
                    None => place.clone(),
                };
                calls.push(self.deliver(context, part, here));
            }
        }
        // What is left of the calls holds the slot, and nothing that waits to be tried again.
        drop(place);
        while calls.next().await.is_some() {}
    }

    /// Tries until the part is delivered, dropped, or known to hold a message to be isolated.
    async fn deliver(&self, context: &Context, part: Part, mut place: Option<Place>) -> Attempt {
        let retry = &self.pipe.settings.retry;
        let pauses = RetryPause::new(retry.first_pause, retry.max_pause);
        let mut attempts = 0;
        let mut avoid = None;
        loop {
            let next = match place.take() {
                Some(place) => Some(place),
                None if attempts == 0 => self.first_place(context, part.count).await,
                None => self.place(context, part.count, avoid).await,
            };
            let Some((picked, slot)) = next else {
                return self.drop_part(
                    context,
                    &part,
                    DropReason::Expired,
                    "no node took it in time",
                );
            };
            attempts += 1;
            let (outcome, verdict) = self.send(context, &part, &picked, attempts).await;
            drop(slot);
            self.tell_node(&picked, &outcome, verdict, part.count);
            match verdict {
                Verdict::Delivered => return self.delivered(context, &part),
                Verdict::Isolate if part.count > 1 => return self.halve(context, part),
                Verdict::Isolate | Verdict::Drop(_) | Verdict::Elsewhere(_) | Verdict::Hold => {}
            }
            if let Some(reason) = self.reason_to_drop(context, verdict, attempts) {
                return self.drop_part(context, &part, reason, &describe(&outcome));
            }
            self.log_kept(&picked, &outcome, verdict, part.count);
            avoid = Some(picked.id);
            let pause = match verdict {
                Verdict::Hold => retry.max_pause,
                _ => pauses.pause(attempts, &mut fastrand::Rng::new()),
            };
            let wake = (Instant::now() + pause).min(context.expires);
            tokio::time::sleep_until(wake.into()).await;
        }
    }

    /// Why a part that a node has not taken is not kept; `None`: it is.
    fn reason_to_drop(
        &self,
        context: &Context,
        verdict: Verdict,
        attempts: u32,
    ) -> Option<DropReason> {
        let is_callers = self.options.authentication.is_none();
        match verdict {
            Verdict::Isolate => return Some(DropReason::Rejected),
            Verdict::Drop(reason) => return Some(reason),
            Verdict::Hold if is_callers && context.oldest.elapsed() > CALLERS_TOKEN => {
                return Some(DropReason::Rejected);
            }
            Verdict::Hold | Verdict::Elsewhere(_) | Verdict::Delivered => {}
        }
        let most = self.pipe.settings.retry.max_attempts;
        most.is_some_and(|most| attempts >= most)
            .then_some(DropReason::Attempts)
    }

    fn log_kept(&self, picked: &Picked, outcome: &Outcome, verdict: Verdict, count: u32) {
        let pipe = &self.pipe.settings.name;
        let node = picked.node.endpoint();
        let outcome = describe(outcome);
        if verdict != Verdict::Hold {
            debug!(pipe, %node, outcome, count, "batch kept for retry");
        } else if let Some(suppressed) = self.holds.permit(Instant::now()) {
            let text = "the OAP refuses the token, data is held";
            error!(pipe, %node, outcome, suppressed, "{text}");
        }
    }

    /// Like [`Self::place`], for data that nobody has tried to deliver.
    async fn first_place(&self, context: &Context, count: u32) -> Option<Place> {
        let _waiting = Counted::new(&self.waiting);
        self.place(context, count, None).await
    }

    /// A node and a slot there; `None` when the part expires first.
    async fn place(&self, context: &Context, count: u32, avoid: Option<NodeId>) -> Option<Place> {
        if Instant::now() >= context.expires {
            return None;
        }
        let route = context.lane.route.as_deref().map_or(Route::Any, Route::Key);
        let request = Request {
            pipe: self.pipe.index,
            route,
            count,
            avoid,
        };
        let ready = self.upstream.pick_when_ready(&request, &self.slots);
        let (picked, slot) = tokio::time::timeout_at(context.expires.into(), ready)
            .await
            .ok()?;
        Some((picked, Rc::new(slot)))
    }

    async fn send(
        &self,
        context: &Context,
        part: &Part,
        to: &Picked,
        attempt: u32,
    ) -> (Outcome, Verdict) {
        if attempt > 1 {
            self.pipe.books.resent(part.count.into());
            to.node.books().resent.add(part.count.into());
        }
        let _sending = to.node.sending(part.count);
        let started = Instant::now();
        let call = adapter::outbound(context.adapter, &part.chunks);
        let batch = Outgoing {
            path: context.path,
            chunks: call.as_deref().unwrap_or(&part.chunks),
            token: context.token.clone(),
            timeout: context.timeout,
        };
        let outcome = to.channel.send(batch).await;
        self.pipe
            .histograms
            .call_seconds
            .record(started.elapsed().as_secs_f64());
        let verdict = match judge(&outcome) {
            // The node has been heard meanwhile: it is this call that is slow.
            Verdict::Elsewhere(Failure::Stalled) if to.channel.has_heard_since(started) => {
                Verdict::Elsewhere(Failure::Other)
            }
            verdict => verdict,
        };
        (outcome, verdict)
    }

    fn tell_node(&self, picked: &Picked, outcome: &Outcome, verdict: Verdict, count: u32) {
        let node = &picked.node;
        if matches!(outcome, Outcome::Answered(_)) {
            node.answered();
        }
        match verdict {
            Verdict::Delivered => {
                node.books().delivered.add(count.into());
                node.books().batches.add(1);
                node.succeeded();
            }
            Verdict::Elsewhere(failure) => {
                node.books().failed_batches.add(1);
                node.failed(failure, &picked.channel, &self.upstream);
            }
            Verdict::Isolate | Verdict::Drop(_) | Verdict::Hold => {
                node.books().failed_batches.add(1);
                node.succeeded();
            }
        }
    }

    /// What is left of a batch when what later messages say again is taken out.
    fn merge(&self, context: &Context, fields: &[&[u32]], whole: &Part) -> Part {
        let (kept, superseded) = latest::latest(fields, whole);
        self.pipe.books.merged(superseded.count.into());
        self.settle(context, &superseded);
        kept
    }

    fn delivered(&self, context: &Context, part: &Part) -> Attempt {
        self.pipe.books.delivered(part.count.into());
        self.pipe
            .histograms
            .delivery_seconds
            .record(context.oldest.elapsed().as_secs_f64());
        self.settle(context, part)
    }

    fn drop_part(&self, context: &Context, part: &Part, reason: DropReason, why: &str) -> Attempt {
        if let Some(suppressed) = self.drops.permit(Instant::now()) {
            warn!(
                pipe = self.pipe.settings.name,
                path = context.path,
                reason = reason.label(),
                count = part.count,
                why,
                suppressed,
                "dropped"
            );
        }
        self.pipe.books.dropped(reason, part.count.into());
        self.settle(context, part)
    }

    fn settle(&self, context: &Context, part: &Part) -> Attempt {
        let settled = Settled {
            count: part.count.into(),
            bytes: part.bytes,
        };
        self.queue
            .settle(self.partition, &context.lane, settled, false);
        Attempt::Settled
    }

    /// Both halves will be sent again.
    fn halve(&self, context: &Context, part: Part) -> Attempt {
        debug!(
            path = context.path,
            count = part.count,
            "halving a refused batch"
        );
        self.pipe.books.resent(part.count.into());
        let (first, second) = part.halves();
        Attempt::Halved(first, second)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a distribution needs no exact sizes"
)]
fn to_f64(bytes: u64) -> f64 {
    bytes as f64
}
