//! Whether the gateway takes messages.
//!
//! It is about us: nodes that are away do not make us unready as such, for we queue (decision 24).
//! How far the gateway is is told; whether it is at a limit is looked up whenever somebody asks,
//! because nobody would say when a limit ends.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use perigee_plugin_api::budget::Budget;

use crate::telemetry::books::Books;

/// Less free memory than one DATA frame: the next one would have to wait.
const FRAME: u64 = 16 * 1024;

/// How far the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not listening yet.
    Starting,
    /// Accepts and can queue.
    Ready,
    /// At a limit: new connections are refused, or nothing more can be queued.
    AtLimit(Limit),
    /// Shutting down. There is no way back.
    Draining,
}

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// As many connections are open as may be.
    Connections,
    /// The memory for messages is full.
    Memory,
}

impl State {
    /// Whether new messages are welcome.
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready)
    }

    /// In words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::AtLimit(Limit::Connections) => "at the limit of connections",
            Self::AtLimit(Limit::Memory) => "at the limit of memory",
            Self::Draining => "draining",
        }
    }
}

const STARTING: u8 = 0;
const STARTED: u8 = 1;
const DRAINING: u8 = 2;

/// The state, shared between those who change it and those who are asked.
pub struct Readiness {
    phase: AtomicU8,
    books: Arc<Books>,
    max_connections: usize,
    budget: Arc<Budget>,
}

impl fmt::Debug for Readiness {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Readiness").field(&self.state()).finish()
    }
}

impl Readiness {
    /// Starting.
    pub fn new(books: Arc<Books>, max_connections: usize, budget: Arc<Budget>) -> Self {
        Self {
            phase: AtomicU8::new(STARTING),
            books,
            max_connections,
            budget,
        }
    }

    /// The state now.
    pub fn state(&self) -> State {
        match self.phase.load(Ordering::Acquire) {
            STARTING => State::Starting,
            STARTED if !self.has_room_for_connection() => State::AtLimit(Limit::Connections),
            STARTED if !self.budget.gate().has_room(FRAME) => State::AtLimit(Limit::Memory),
            STARTED => State::Ready,
            _ => State::Draining,
        }
    }

    /// Whether one more connection may be served.
    pub fn has_room_for_connection(&self) -> bool {
        let open = self.books.front.connections_open.value();
        usize::try_from(open).unwrap_or(usize::MAX) < self.max_connections
    }

    /// Messages are taken from now on; without effect during the shutdown.
    pub fn started(&self) {
        self.phase.fetch_max(STARTED, Ordering::AcqRel);
    }

    /// The shutdown has begun. There is no way back.
    pub fn draining(&self) {
        self.phase.fetch_max(DRAINING, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readiness() -> Readiness {
        let books = Arc::new(Books::new([("tracepipe", "TracingType")]));
        let readiness = Readiness::new(books, 2, Arc::new(Budget::new(1 << 20)));
        assert_eq!(readiness.state(), State::Starting);
        readiness.started();
        assert_eq!(readiness.state(), State::Ready);
        readiness
    }

    #[test]
    fn draining_is_final() {
        let readiness = readiness();
        readiness.draining();
        readiness.started();
        assert_eq!(readiness.state(), State::Draining);
        assert!(!readiness.state().is_ready());
    }

    #[test]
    fn the_limit_of_connections_ends_with_the_connection() {
        let readiness = readiness();
        let front = &readiness.books.front;
        front.connection_opened();
        assert_eq!(readiness.state(), State::Ready);
        front.connection_opened();
        assert_eq!(readiness.state(), State::AtLimit(Limit::Connections));
        front.connection_closed();
        assert_eq!(readiness.state(), State::Ready);
    }

    #[test]
    fn the_limit_of_memory_ends_when_there_is_room_for_a_frame() {
        let readiness = readiness();
        let gate = readiness.budget.gate();
        gate.take((1 << 20) - FRAME + 1);
        assert_eq!(readiness.state(), State::AtLimit(Limit::Memory));
        gate.give_back(1);
        assert_eq!(readiness.state(), State::Ready);
    }
}
