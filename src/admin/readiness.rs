//! Whether the gateway takes messages.
//!
//! It is about us: nodes that are away do not make us unready, for we queue (decision 24).

use std::sync::atomic::{AtomicU8, Ordering};

/// How far the gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Not listening yet.
    Starting,
    /// Accepts and can queue.
    Ready,
    /// At a limit: new connections are refused, or nothing more can be queued.
    AtLimit,
    /// Shutting down. There is no way back.
    Draining,
}

impl State {
    const ALL: [Self; 4] = [Self::Starting, Self::Ready, Self::AtLimit, Self::Draining];

    /// Whether new messages are welcome.
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready)
    }

    /// In words.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::AtLimit => "at a limit",
            Self::Draining => "draining",
        }
    }
}

/// The state, shared between those who change it and the admin server.
#[derive(Debug)]
pub struct Readiness(AtomicU8);

impl Default for Readiness {
    /// Starting.
    fn default() -> Self {
        Self(AtomicU8::new(State::Starting as u8))
    }
}

impl Readiness {
    /// The state now.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.0.load(Ordering::Acquire))]
    }

    /// Changes the state; without effect once it is [`State::Draining`], so that a limit that ends
    /// during the shutdown does not call for new clients.
    pub fn set(&self, state: State) {
        let draining = State::Draining as u8;
        // The error is the refusal described above.
        let _ = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                (now != draining).then_some(state as u8)
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_state_is_read_back() {
        let readiness = Readiness::default();
        for state in State::ALL {
            readiness.set(state);
            assert_eq!(readiness.state(), state);
        }
    }

    #[test]
    fn draining_is_final() {
        let readiness = Readiness::default();
        readiness.set(State::Draining);
        readiness.set(State::Ready);
        assert_eq!(readiness.state(), State::Draining);
        assert!(!readiness.state().is_ready());
    }
}
