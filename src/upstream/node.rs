//! One OAP node: its connection, and whether it is held back.
//!
//! ```text
//!   connecting --connected--> ready --held--> ejected --pause over--> ready
//!       ^                       |                |
//!       +---- backoff ----------+--- lost -------+
//! ```
//!
//! A node is held back when it answers that it is overloaded or unavailable, or fails several
//! times in a row. One that makes no progress also loses its connection: it has to speak again
//! before it is used. That it connects does not mean that it answers, so after a stall only an
//! answer shortens its next pause.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use perigee_plugin_api::discovery::Endpoint;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::Upstream;
use crate::balance::backoff::{ConnectBackoff, MAX_CONNECT_PAUSE, RetryPause};
use crate::engine::tls::Current;
use crate::engine::{Channel, Target};
use crate::telemetry::books::NodeBooks;
use crate::telemetry::log::RateLimited;

/// Failures in a row after which a node is held back although it is connected.
const FAILURES: u32 = 3;

const FIRST_HOLD: Duration = Duration::from_millis(200);
const LONGEST_HOLD: Duration = Duration::from_secs(5);

/// A node that owes answers and has given none for this long gets no more batches meanwhile.
pub const LAG: Duration = Duration::from_millis(250);

/// Between two lines of the log about a node that is held back.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// How a node failed a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// RESOURCE_EXHAUSTED: healthy, and over its watermark.
    Overloaded,
    /// UNAVAILABLE.
    Unavailable,
    /// No progress in time.
    Stalled,
    /// Anything else; the connection may be gone.
    Other,
}

/// One node of one worker.
pub struct Node {
    endpoint: Endpoint,
    books: Arc<NodeBooks>,
    channel: RefCell<Option<Channel>>,
    held_until: Cell<Option<Instant>>,
    failures: Cell<u32>,
    /// The latest connection was given up, and the node has answered nothing since.
    stalled: Cell<bool>,
    in_flight: Cell<u64>,
    /// When it last answered a batch, or was first asked after a rest.
    heard: Cell<Instant>,
    /// Ends the present connection.
    disconnect: Notify,
    left: Cell<bool>,
    /// The first attempt to connect has succeeded or failed.
    tried: Cell<bool>,
    holds: RateLimited,
}

impl Node {
    pub(super) fn new(endpoint: Endpoint, books: Arc<NodeBooks>) -> Self {
        Self {
            endpoint,
            books,
            channel: RefCell::new(None),
            held_until: Cell::new(None),
            failures: Cell::new(0),
            stalled: Cell::new(false),
            in_flight: Cell::new(0),
            heard: Cell::new(Instant::now()),
            disconnect: Notify::new(),
            left: Cell::new(false),
            tried: Cell::new(false),
            holds: RateLimited::new(LOG_PAUSE),
        }
    }

    pub(super) fn is_tried(&self) -> bool {
        self.tried.get()
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Its counters.
    pub fn books(&self) -> &NodeBooks {
        &self.books
    }

    /// Messages sent and not answered.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.get()
    }

    pub(super) fn channel(&self) -> Option<Channel> {
        self.channel.borrow().clone()
    }

    pub(super) fn is_ready(&self, now: Instant) -> bool {
        self.channel.borrow().is_some() && self.held_until.get().is_none_or(|until| until <= now)
    }

    pub(super) fn is_lagging(&self, now: Instant) -> bool {
        self.in_flight.get() > 0 && now.saturating_duration_since(self.heard.get()) > LAG
    }

    /// Counts a call, and the messages that the node owes an answer to, until the guard is dropped.
    pub fn sending(self: &Rc<Self>, count: u32) -> Sending {
        if self.in_flight.get() == 0 {
            self.heard.set(Instant::now());
        }
        self.in_flight.set(self.in_flight.get() + u64::from(count));
        self.books.in_flight.inc();
        Sending {
            node: Rc::clone(self),
            count: count.into(),
        }
    }

    /// The node has answered a batch, whatever it said.
    pub fn answered(&self) {
        self.heard.set(Instant::now());
    }

    /// The node has taken something.
    pub fn succeeded(&self) {
        self.failures.set(0);
        self.stalled.set(false);
    }

    /// The node has failed a batch that was sent over this connection.
    pub fn failed(self: &Rc<Self>, failure: Failure, over: &Channel, upstream: &Rc<Upstream>) {
        let is_present = self.channel().is_some_and(|present| present.is_same(over));
        if !is_present {
            // Whatever ended that connection has had its consequences.
            return;
        }
        let failures = self.failures.get().saturating_add(1);
        self.failures.set(failures);
        let hold = match failure {
            Failure::Overloaded | Failure::Unavailable | Failure::Stalled => true,
            Failure::Other => failures >= FAILURES,
        };
        if hold && self.is_ready(Instant::now()) {
            self.hold(failure, failures, upstream);
        }
        if failure == Failure::Stalled {
            self.stalled.set(true);
            // At once: the other calls on it are about to stall as well, and say so but once.
            self.channel.replace(None);
            self.disconnect.notify_one();
        }
    }

    fn hold(self: &Rc<Self>, failure: Failure, failures: u32, upstream: &Rc<Upstream>) {
        let pause =
            RetryPause::new(FIRST_HOLD, LONGEST_HOLD).pause(failures, &mut fastrand::Rng::new());
        self.held_until.set(Some(Instant::now() + pause));
        self.books.ejections.add(1);
        if let Some(suppressed) = self.holds.permit(Instant::now()) {
            warn!(node = %self.endpoint, ?failure, ?pause, failures, suppressed, "node held back");
        }
        let upstream = Rc::clone(upstream);
        tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            upstream.announce();
        });
    }

    pub(super) fn leave(&self) {
        self.left.set(true);
        self.disconnect.notify_one();
    }

    /// Connects and reconnects until the node leaves discovery.
    pub(super) async fn keep_connected(self: Rc<Self>, upstream: Rc<Upstream>) {
        let mut backoff = ConnectBackoff::new(MAX_CONNECT_PAUSE);
        let mut rng = fastrand::Rng::new();
        while !self.left.get() {
            if self.connect_once(&upstream, &mut backoff).await {
                continue;
            }
            let pause = backoff.pause(&mut rng);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.disconnect.notified() => {}
            }
        }
    }

    /// Returns whether there was a connection that worked.
    async fn connect_once(&self, upstream: &Rc<Upstream>, backoff: &mut ConnectBackoff) -> bool {
        let options = upstream.connect_options();
        let target = Target {
            address: self.endpoint.address,
            host: Arc::clone(&self.endpoint.host),
            tls: options.tls.as_ref().map(Current::load),
            timeout: options.timeout,
        };
        self.books.connects.add(1);
        let connected = Channel::connect(&target).await;
        // What was meant for the last connection must not end this one.
        let _stale = self.disconnect.notified().now_or_never();
        if self.left.get() {
            return false;
        }
        self.tried.set(true);
        let (channel, closed) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                self.books.failed_connects.add(1);
                upstream.announce();
                warn!(node = %self.endpoint, %error, "cannot connect");
                return false;
            }
        };
        let since = Instant::now();
        info!(node = %self.endpoint, "connected");
        self.channel.replace(Some(channel));
        if !self.stalled.get() {
            self.held_until.set(None);
            self.failures.set(0);
        }
        self.books.ready_connections.inc();
        upstream.announce();
        let reason = tokio::select! {
            reason = closed => reason.unwrap_or_default(),
            () = self.disconnect.notified() => "given up".to_owned(),
        };
        self.channel.replace(None);
        self.books.ready_connections.dec();
        upstream.announce();
        if !self.left.get() {
            warn!(node = %self.endpoint, reason, "connection lost");
        }
        // A node that hangs up at once is not asked again at once.
        let worked = since.elapsed() > Duration::from_secs(1);
        if worked {
            backoff.reset();
        }
        worked
    }
}

/// Messages on their way to a node.
pub struct Sending {
    node: Rc<Node>,
    count: u64,
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.node
            .in_flight
            .set(self.node.in_flight.get() - self.count);
        self.node.books.in_flight.dec();
    }
}
