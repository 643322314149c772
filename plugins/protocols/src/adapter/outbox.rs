//! What an adapter has made, on its way into a queue.

use std::ops::Range;
use std::sync::Arc;

use perigee_plugin_api::framing::{self, PREFIX};

use crate::wire::Malformed;

/// What a message has in common with those that it may share a call with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Everything of this key has to reach one node; `None`: any node.
    pub route: Option<Arc<[u8]>>,
    /// Only messages of the same group may share a call.
    pub group: Option<Arc<[u8]>>,
}

/// Why a message goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The bytes are no message.
    Malformed,
    /// An event without layer.
    Layerless,
    /// Its call has not said yet whose it is, so an OAP could not tell either.
    Unattributed,
    /// The rest of what it belongs to never came.
    Incomplete,
    /// There was no room to keep it until the rest of what it belongs to came.
    NoRoom,
    /// What it belongs to is longer than an OAP takes, or its name than others may inherit.
    Oversized,
}

impl From<Malformed> for Loss {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// Messages of one lane in a row.
#[derive(Clone, Debug)]
pub struct Run {
    /// Their lane.
    pub lane: Lane,
    /// Where they are in the outbox.
    pub range: Range<usize>,
    /// How many they are.
    pub count: u32,
    /// How many more messages of the client they stand for.
    pub merged: u32,
}

/// Whole length-prefixed messages, and what got lost in the making.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    runs: Vec<Run>,
    losses: Vec<(Loss, u32)>,
}

/// Most bytes that are allocated before they are needed.
const FIRST_BYTES: usize = 64 * 1024;

/// Bytes of an outbox that is full.
const FULL_BYTES: usize = 64 * 1024;

impl Outbox {
    /// Adds a message that `write` appends; it stands for `of` messages of the client.
    pub fn message(&mut self, lane: &Lane, of: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        put_message(&mut self.bytes, write);
        let end = self.bytes.len();
        let merged = of.saturating_sub(1);
        match self.runs.last_mut() {
            Some(run) if run.lane == *lane => {
                run.range.end = end;
                run.count += 1;
                run.merged += merged;
            }
            _ => self.runs.push(Run {
                lane: lane.clone(),
                range: start..end,
                count: 1,
                merged,
            }),
        }
    }

    /// Adds a message as it is.
    pub fn copy(&mut self, lane: &Lane, message: &[u8]) {
        self.message(lane, 1, |out| out.extend_from_slice(message));
    }

    /// Notes that messages go no further.
    pub fn lose(&mut self, loss: Loss, count: u32) {
        match self.losses.last_mut() {
            Some((before, sum)) if *before == loss => *sum += count,
            _ => self.losses.push((loss, count)),
        }
    }

    /// What is there.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The messages of a run.
    pub fn bytes(&self, run: &Run) -> &[u8] {
        &self.bytes[run.range.clone()]
    }

    /// Whether it is to be passed on before more is taken: what is inherited makes messages longer,
    /// and a few small ones may bring many times their length.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= FULL_BYTES
    }

    /// What got lost since the last call.
    pub fn take_losses(&mut self) -> impl Iterator<Item = (Loss, u32)> {
        self.losses.drain(..)
    }

    /// Messages of so many bytes are going to be taken.
    pub fn expect(&mut self, bytes: usize) {
        // What is longer is one message and will be allocated at once.
        self.bytes.reserve((bytes + bytes / 4).min(FIRST_BYTES));
    }

    /// Everything has been passed on. No buffer is kept: most calls are silent most of the time.
    pub fn clear(&mut self) {
        self.runs = Vec::new();
        self.bytes = Vec::new();
    }
}

/// Appends a message that `write` appends, with its prefix.
pub(super) fn put_message(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    write(out);
    // A message of 4 GiB gets nowhere near here.
    let length = u32::try_from(out.len() - start - PREFIX).unwrap_or(u32::MAX);
    out[start + 1..start + PREFIX].copy_from_slice(&length.to_be_bytes());
}

/// The messages of a run, without their prefixes.
pub(super) fn messages(framed: &[u8]) -> impl Iterator<Item = &[u8]> {
    framing::messages(framed).map(|message| &message[PREFIX..])
}
