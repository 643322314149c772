//! A call whose messages pass an adapter on their way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use perigee_plugin_api::budget::Budget;
use perigee_protocols::adapter::{Inbound, Loss, Outbox};
use tokio::time::Sleep;
use tracing::warn;

use super::entry::Entry;
use crate::engine::{PREFIX, messages};
use crate::telemetry::books::DropReason;

/// An adapter and what it has made.
pub(super) struct Adapted {
    adapter: Box<dyn Inbound>,
    outbox: Outbox,
    /// The run of the outbox that is next.
    next: usize,
    /// How much of the run that is being taken has been through the adapter.
    adapted: usize,
    charge: Held,
    /// The call has one message only.
    is_unary: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Adapted {
    pub(super) fn new(adapter: Box<dyn Inbound>, is_unary: bool, budget: &Arc<Budget>) -> Self {
        Self {
            adapter,
            outbox: Outbox::default(),
            next: 0,
            adapted: 0,
            charge: Held::new(budget),
            is_unary,
            timer: None,
        }
    }

    /// Takes a run. When pending, it is called again with the same run.
    pub(super) fn poll_messages(
        &mut self,
        entry: &mut Entry,
        framed: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.poll_idle(entry, cx);
        let first = self.adapted;
        self.adapt(&framed[first..]);
        if self.adapted > first {
            self.charge_held();
        }
        if self.adapter.holds() {
            self.push_all(entry);
            ready!(entry.poll_room(cx));
        } else {
            ready!(self.poll_push_all(entry, cx));
        }
        if self.adapted == framed.len() {
            self.adapted = 0;
            return Poll::Ready(());
        }
        // Small messages that inherit much take long: others have their turn in between.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Hands messages to the adapter until the outbox is full.
    fn adapt(&mut self, framed: &[u8]) {
        let now = Instant::now();
        if !self.adapter.holds() {
            self.outbox.expect(framed.len());
        }
        let mut rest = messages(framed);
        while !self.outbox.is_full()
            && let Some(message) = rest.next()
        {
            self.adapter.take(&message[PREFIX..], now, &mut self.outbox);
            self.adapted += message.len();
        }
    }

    /// Passes on what is not to be held any longer.
    pub(super) fn poll_idle(&mut self, entry: &mut Entry, cx: &mut Context<'_>) {
        while let Some(due) = self.adapter.due() {
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
            if timer.deadline() > due.into() {
                timer.as_mut().reset(due.into());
            }
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            let now = Instant::now();
            if now < due {
                // It was set for a message before the latest.
                timer.as_mut().reset(due.into());
                continue;
            }
            self.adapter.tick(now, &mut self.outbox);
            self.charge_held();
            self.push_all(entry);
        }
    }

    /// The call has ended: what is held has to go.
    pub(super) fn end(&mut self, entry: &mut Entry, now: Instant) {
        self.adapter.end(now, &mut self.outbox);
        self.charge_held();
        if self.adapter.holds() {
            self.push_all(entry);
        }
    }

    /// What the client is to be told instead of OK.
    pub(super) fn complaint(&self) -> Option<&'static str> {
        self.adapter.complaint()
    }

    fn poll_push_all(&mut self, entry: &mut Entry, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_unary && self.outbox.runs().len() > 1 {
            // All of a call's message or, if its client leaves before there is room, nothing.
            for run in self.outbox.runs() {
                entry.go_to(&run.lane);
                ready!(entry.poll_room(cx));
            }
            self.push_all(entry);
            return Poll::Ready(());
        }
        while let Some(run) = self.outbox.runs().get(self.next) {
            entry.go_to(&run.lane);
            ready!(entry.poll_push(self.outbox.bytes(run), run.count, cx));
            self.next += 1;
        }
        self.emptied(entry);
        Poll::Ready(())
    }

    fn push_all(&mut self, entry: &mut Entry) {
        for run in self.outbox.runs() {
            entry.go_to(&run.lane);
            entry.push(self.outbox.bytes(run), run.count, run.merged);
        }
        self.emptied(entry);
    }

    /// What finds no room is let go of. Nobody waits for room here, since only the call itself can
    /// make any.
    fn charge_held(&mut self) {
        if !self.charge.try_set(self.adapter.held()) {
            self.adapter.release(&mut self.outbox);
            self.charge.try_set(self.adapter.held());
        }
    }

    fn emptied(&mut self, entry: &mut Entry) {
        for (loss, count) in self.outbox.take_losses() {
            let reason = drop_reason(loss);
            entry.lose(reason, count);
            if let Some(suppressed) = entry.pipe.losses.permit(Instant::now()) {
                let (pipe, reason) = (&entry.pipe.settings.name, reason.label());
                warn!(pipe, reason, count, suppressed, "dropped on arrival");
            }
        }
        self.outbox.clear();
        self.next = 0;
    }
}

/// Between two lines of the log about what is dropped on arrival.
pub(in crate::pipe) const LOG_PAUSE: Duration = Duration::from_secs(10);

fn drop_reason(loss: Loss) -> DropReason {
    match loss {
        Loss::Malformed => DropReason::Malformed,
        Loss::Layerless => DropReason::Layerless,
        Loss::Unattributed => DropReason::Unattributed,
        Loss::Incomplete => DropReason::Incomplete,
        Loss::Oversized => DropReason::Oversized,
        Loss::NoRoom => DropReason::NoRoom,
    }
}

/// What is charged for what an adapter holds.
struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Held {
    fn new(budget: &Arc<Budget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            bytes: 0,
        }
    }

    /// Charges so much in all, or as much as before if there is no room for more.
    fn try_set(&mut self, bytes: u64) -> bool {
        let gate = self.budget.held();
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            Some(more) => {
                // Of messages a gate lets one through that is larger than itself.
                if gate.level() + more > gate.limit() || !gate.try_take(more) {
                    return false;
                }
            }
            None => gate.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.try_set(0);
    }
}
