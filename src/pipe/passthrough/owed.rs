//! What the node of a live call owes, and for how long it may (decision 33).

use std::cell::Cell;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long a node may owe something. An idle call owes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Longest silence after the half-close; `None`: a method of no table may be made for it.
    pub answer: Option<Duration>,
    /// Longest time without credit for bytes that the client has sent.
    pub credit: Duration,
}

/// The state of one call.
pub(super) struct Owed {
    patience: Patience,
    everything_sent: Cell<bool>,
    stuck: Cell<bool>,
    client_is_slow: Cell<bool>,
    client_was_slow: Cell<Option<Instant>>,
    changed: Notify,
}

impl Owed {
    pub(super) fn new(patience: Patience) -> Self {
        Self {
            patience,
            everything_sent: Cell::new(false),
            stuck: Cell::new(false),
            client_is_slow: Cell::new(false),
            client_was_slow: Cell::new(None),
            changed: Notify::new(),
        }
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Nothing more goes up: from now on the answer is owed.
    pub(super) fn everything_sent(&self) {
        self.everything_sent.set(true);
        self.changed.notify_one();
    }

    /// The node has taken nothing for too long.
    pub(super) fn stuck(&self) {
        self.stuck.set(true);
        self.changed.notify_one();
    }

    /// The node need not read while its own words do not get through to the client.
    pub(super) fn is_excused(&self) -> bool {
        let recently = |at: Instant| at.elapsed() < self.patience.credit;
        self.client_is_slow.get() || self.client_was_slow.get().is_some_and(recently)
    }

    /// To be held while the client has to give credit.
    pub(super) fn client_is_slow(&self) -> SlowClient<'_> {
        self.client_is_slow.set(true);
        SlowClient(self)
    }

    /// Resolves when something has been owed for too long; asked anew after each sign of life.
    pub(super) async fn overdue(&self) {
        loop {
            let changed = self.changed.notified();
            if self.stuck.get() {
                return;
            }
            match self.patience.answer.filter(|_| self.everything_sent.get()) {
                None => changed.await,
                Some(answer) => match tokio::time::timeout(answer, changed).await {
                    Ok(()) => {}
                    Err(_) => return,
                },
            }
        }
    }
}

pub(super) struct SlowClient<'a>(&'a Owed);

impl Drop for SlowClient<'_> {
    fn drop(&mut self) {
        self.0.client_is_slow.set(false);
        self.0.client_was_slow.set(Some(Instant::now()));
    }
}
