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
    timer: Option<Pin<Box<Sleep>>>,
}

impl Adapted {
    pub(super) fn new(adapter: Box<dyn Inbound>, budget: &Arc<Budget>) -> Self {
        Self {
            adapter,
            outbox: Outbox::default(),
            next: 0,
            adapted: 0,
            charge: Held::new(budget),
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
        loop {
            let now = Instant::now();
            let rest = &framed[self.adapted..];
            if !self.adapter.holds() {
                self.outbox.expect(rest.len());
            }
            let mut rest = messages(rest);
            while !self.outbox.is_full()
                && let Some(message) = rest.next()
            {
                self.adapter.take(&message[PREFIX..], now, &mut self.outbox);
                self.adapted += message.len();
            }
            if self.adapter.holds() {
                // What is held is charged already. If it waited for room before it went on, calls
                // that together hold all the room would wait for each other.
                self.push_all(entry);
                ready!(entry.poll_room(cx));
            } else {
                ready!(self.poll_push_all(entry, cx));
            }
            if self.adapted == framed.len() {
                self.adapted = 0;
                return Poll::Ready(());
            }
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
            self.push_all(entry);
        }
    }

    /// The call has ended: what is held has to go.
    pub(super) fn end(&mut self, entry: &mut Entry, now: Instant) {
        self.adapter.end(now, &mut self.outbox);
        if self.adapter.holds() {
            self.push_all(entry);
        }
    }

    /// What the client is to be told instead of OK.
    pub(super) fn complaint(&self) -> Option<&'static str> {
        self.adapter.complaint()
    }

    fn poll_push_all(&mut self, entry: &mut Entry, cx: &mut Context<'_>) -> Poll<()> {
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
        self.charge.set(self.adapter.held());
        self.emptied(entry);
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
    }
}

/// What is charged for messages that an adapter holds.
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

    fn set(&mut self, bytes: u64) {
        let gate = self.budget.gate();
        match bytes.checked_sub(self.bytes) {
            Some(0) => {}
            Some(more) => gate.take(more),
            None => gate.give_back(self.bytes - bytes),
        }
        self.bytes = bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}
