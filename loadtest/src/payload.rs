//! What agents of one kind send: the method, and the messages of a call.
//!
//! Encoded by hand: a load generator needs nothing else of the protocols. Sizes are exact, so that
//! kinds differ in what they say and not in how much.

mod als;
mod log;
mod protobuf;
pub mod segment;

use std::rc::Rc;

use anyhow::Result;
use clap::ValueEnum;

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// Segments, each complete in itself.
    #[default]
    Segments,
    /// Logs as the Java agent sends them: only a call's first names the service.
    Logs,
    /// Access logs of Envoys: only a call's first message says whose they are, in 60 KiB.
    Als,
}

/// Length-prefixed messages of every call of one agent.
#[derive(Clone, Debug)]
pub struct Call {
    /// The first message.
    pub first: Rc<[u8]>,
    /// Each later one.
    pub following: Rc<[u8]>,
}

impl Payload {
    /// Every kind; first the one that the others are compared with.
    pub const ALL: [Self; 3] = [Self::Segments, Self::Logs, Self::Als];

    /// What it is called on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Segments => "segments",
            Self::Logs => "logs",
            Self::Als => "als",
        }
    }

    /// Method that it is reported to.
    #[must_use]
    pub fn method(self) -> &'static str {
        match self {
            Self::Segments => segment::METHOD,
            Self::Logs => log::METHOD,
            Self::Als => als::METHOD,
        }
    }

    /// What agent number `agent` sends: messages of `size` bytes without their prefix. The
    /// identifier of an access log's call comes on top.
    ///
    /// # Errors
    /// `size` is too small for what such a message says at least.
    pub fn call(self, size: usize, agent: usize) -> Result<Call> {
        let (first, following) = match self {
            Self::Segments => {
                let segment = framed(&segment::of_size(size)?)?;
                (Rc::clone(&segment), segment)
            }
            Self::Logs => {
                let log = |names_service| framed(&log::of_size(size, agent, names_service)?);
                (log(true)?, log(false)?)
            }
            Self::Als => {
                let entries = als::entries_of_size(size)?;
                let first = [als::identifier(agent), entries.clone()].concat();
                (framed(&first)?, framed(&entries)?)
            }
        };
        Ok(Call { first, following })
    }
}

/// A message with its prefix.
fn framed(message: &[u8]) -> Result<Rc<[u8]>> {
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
    framed.extend_from_slice(message);
    Ok(framed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_the_size_that_was_asked_for_whoever_sends_it() {
        for payload in Payload::ALL {
            for agent in [0, 7, 49, 999] {
                let call = payload.call(1024, agent).unwrap();
                let prefix = [0, 0, 0, 4, 0];
                assert_eq!(call.following.len(), 1029, "{payload:?} of {agent}");
                assert_eq!(call.following[..5], prefix, "{payload:?} of {agent}");
                if payload != Payload::Als {
                    assert_eq!(call.first.len(), 1029, "{payload:?} of {agent}");
                    assert_eq!(call.first[..5], prefix, "{payload:?} of {agent}");
                }
            }
            assert!(payload.call(100, 0).is_err(), "{payload:?} of 100 bytes");
        }
    }

    #[test]
    fn a_payload_is_called_on_the_command_line_what_it_is_called_in_the_table() {
        for payload in Payload::ALL {
            assert_eq!(Payload::from_str(payload.name(), false), Ok(payload));
        }
    }
}
