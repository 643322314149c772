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
    /// As much CPU is used as may be.
    Cpu,
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
            Self::AtLimit(Limit::Cpu) => "at the limit of CPU",
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
            STARTED => match self.refusal() {
                Some(limit) => State::AtLimit(limit),
                None if !self.budget.gate().has_room(FRAME) => State::AtLimit(Limit::Memory),
                None => State::Ready,
            },
            _ => State::Draining,
        }
    }

    /// The limit that keeps one more connection from being served.
    pub fn refusal(&self) -> Option<Limit> {
        let front = &self.books.front;
        let open = usize::try_from(front.connections_open.value()).unwrap_or(usize::MAX);
        if open >= self.max_connections {
            Some(Limit::Connections)
        } else if front.cpu.is_at_limit() {
            Some(Limit::Cpu)
        } else {
            None
        }
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
    fn the_limit_of_cpu_lasts_as_long_as_its_measure() {
        let readiness = readiness();
        let cpu = &readiness.books.front.cpu;
        cpu.set_at_limit(true);
        assert_eq!(readiness.state(), State::AtLimit(Limit::Cpu));
        assert_eq!(readiness.state().reason(), "at the limit of CPU");
        assert!(!readiness.state().is_ready());
        assert_eq!(readiness.refusal(), Some(Limit::Cpu));
        cpu.set_at_limit(false);
        assert_eq!(readiness.state(), State::Ready);
        assert_eq!(readiness.refusal(), None);
    }

    #[test]
    fn the_limit_of_memory_ends_when_there_is_room_for_a_frame() {
        let readiness = readiness();
        let gate = readiness.budget.gate();
        gate.take((1 << 20) - FRAME + 1);
        assert_eq!(readiness.state(), State::AtLimit(Limit::Memory));
        assert_eq!(readiness.refusal(), None, "it harms no connection");
        gate.give_back(1);
        assert_eq!(readiness.state(), State::Ready);
    }
}
