//! One lane: a run of messages in chunks, appended at the back, cut at the front.
//!
//! # Decisions
//! - A full chunk is never grown and copied: the next one is as large as all that the lane holds,
//!   up to 64 KiB. A lane thus wastes at most about half of what it holds while it is small, and a
//!   64th of it when messages of 1 KiB pile up; growing in place would copy each byte once more.
//! - A message above a quarter of a chunk that does not fit into the last one gets a chunk of its
//!   own, of exact size: it would leave a large hole otherwise.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use perigee_plugin_api::queue::{Batch, LaneKey, Limits, Record, Settled};

use crate::wire::{self, Run};

/// Size of a chunk of a lane that holds much.
const CHUNK: usize = 64 * 1024;
/// Size of the first chunk of a lane; of a lane with a route, a group or a token, of which there
/// may be thousands.
const FIRST_CHUNK: usize = 4 * 1024;
const FIRST_NARROW_CHUNK: usize = 512;
/// Messages whose arrivals differ by more share neither chunk nor batch: a batch is as old as its
/// oldest message, and young ones must not expire with it.
const AGE_SPREAD: Duration = Duration::from_secs(5);
/// A larger message that does not fit into the last chunk gets its own.
const LARGE: usize = CHUNK / 4;

/// Whole messages in one allocation.
#[derive(Debug)]
struct Chunk {
    bytes: BytesMut,
    count: u32,
    /// Arrival of the oldest message; of one that has left, after a cut.
    oldest: Instant,
}

impl Chunk {
    fn is_as_old_as(&self, arrival: Instant) -> bool {
        arrival.saturating_duration_since(self.oldest) <= AGE_SPREAD
    }

    fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// Cuts `run` off the front.
    fn cut(&mut self, run: Run) -> (Bytes, u32) {
        let count = self.leave(run);
        (self.bytes.split_to(run.bytes).freeze(), count)
    }

    /// Takes `run` off the count. Whatever the prefixes said, the last bytes leave with the rest.
    fn leave(&mut self, run: Run) -> u32 {
        let count = if run.bytes == self.bytes.len() {
            self.count
        } else {
            run.count.min(self.count)
        };
        self.count -= count;
        count
    }
}

/// The messages that may travel together.
#[derive(Debug)]
pub(crate) struct Lane {
    key: LaneKey,
    chunks: VecDeque<Chunk>,
    count: u64,
    bytes: u64,
}

impl Lane {
    pub(crate) fn new(key: LaneKey) -> Self {
        Self {
            key,
            chunks: VecDeque::new(),
            count: 0,
            bytes: 0,
        }
    }

    pub(crate) fn key(&self) -> &LaneKey {
        &self.key
    }

    /// When its oldest message arrived; `None` when it is empty.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.chunks.front().map(|chunk| chunk.oldest)
    }

    /// Whether it holds a full batch.
    pub(crate) fn holds(&self, count: u32, bytes: u64) -> bool {
        self.count >= u64::from(count) || self.bytes >= bytes
    }

    pub(crate) fn push(&mut self, record: &Record<'_>) {
        let mut rest = record.messages;
        let mut count = record.count;
        while !rest.is_empty() {
            let last = self.chunks.back();
            let last = last.filter(|chunk| chunk.is_as_old_as(record.now));
            let spare = last.map_or(0, Chunk::spare);
            let run = if rest.len() <= spare {
                Run {
                    count,
                    bytes: rest.len(),
                }
            } else {
                wire::run_within(rest, u64::from(count), spare as u64)
            };
            match self.chunks.back_mut() {
                Some(chunk) if run.bytes > 0 => {
                    let run_count = if run.bytes == rest.len() {
                        count
                    } else {
                        run.count
                    };
                    chunk.bytes.extend_from_slice(&rest[..run.bytes]);
                    chunk.count += run_count;
                    self.count += u64::from(run_count);
                    self.bytes += run.bytes as u64;
                    count -= run_count;
                    rest = &rest[run.bytes..];
                }
                _ => self.open_chunk(rest, count, record.now),
            }
        }
    }

    /// Adds an empty chunk that has room for the first of `messages` at least.
    fn open_chunk(&mut self, messages: &[u8], count: u32, now: Instant) {
        // Bytes that no count accounts for go where the last message goes.
        let first = if count <= 1 {
            messages.len()
        } else {
            wire::first_len(messages)
        };
        let capacity = if first > LARGE {
            first
        } else {
            let LaneKey {
                method: _,
                route,
                group,
                token,
            } = &self.key;
            let smallest = if route.is_some() || group.is_some() || token.is_some() {
                FIRST_NARROW_CHUNK
            } else {
                FIRST_CHUNK
            };
            let held = usize::try_from(self.bytes).map_or(CHUNK, |held| held.min(CHUNK));
            held.next_power_of_two()
                .max(messages.len())
                .clamp(smallest, CHUNK)
        };
        self.chunks.push_back(Chunk {
            bytes: BytesMut::with_capacity(capacity),
            count: 0,
            oldest: now,
        });
    }

    /// Takes a batch off the front. `None` when the lane is empty.
    pub(crate) fn take(&mut self, limits: &Limits) -> Option<Batch> {
        let most = self.batch_size(limits);
        let mut batch = Batch {
            lane: self.key.clone(),
            chunks: Vec::new(),
            count: 0,
            bytes: 0,
            oldest: self.oldest()?,
        };
        while let Some(chunk) = self.chunks.front_mut() {
            if chunk.oldest.saturating_duration_since(batch.oldest) > AGE_SPREAD {
                break;
            }
            let count = u64::from(most - batch.count);
            let bytes = limits.bytes.saturating_sub(batch.bytes);
            let mut run = if u64::from(chunk.count) <= count && chunk.bytes.len() as u64 <= bytes {
                Run {
                    count: chunk.count,
                    bytes: chunk.bytes.len(),
                }
            } else {
                wire::run_within(&chunk.bytes, count, bytes)
            };
            if run.bytes == 0 && batch.chunks.is_empty() {
                run = Run {
                    count: 1,
                    bytes: wire::first_len(&chunk.bytes),
                };
            }
            if run.bytes == 0 {
                break;
            }
            let (cut, cut_count) = chunk.cut(run);
            batch.bytes += cut.len() as u64;
            batch.count += cut_count;
            batch.chunks.push(cut);
            if !chunk.bytes.is_empty() {
                break;
            }
            self.chunks.pop_front();
            if batch.count >= most {
                break;
            }
        }
        self.count -= u64::from(batch.count);
        self.bytes -= batch.bytes;
        Some(batch)
    }

    fn batch_size(&self, limits: &Limits) -> u32 {
        let share = match self.key.route {
            Some(_) => self.count,
            None => self
                .count
                .div_ceil(u64::from(limits.shares.max(1)))
                .max(u64::from(limits.smallest_share)),
        };
        u32::try_from(share)
            .map_or(limits.count, |share| share.min(limits.count))
            .max(1)
    }

    /// Lets go of messages of the first chunk until `need` is met or the chunk is gone.
    pub(crate) fn shed(&mut self, need: Settled) -> Settled {
        let Some(chunk) = self.chunks.front_mut() else {
            return Settled { count: 0, bytes: 0 };
        };
        let run = wire::run_covering(&chunk.bytes, need.count, need.bytes);
        let shed = Settled {
            count: u64::from(chunk.leave(run)),
            bytes: run.bytes as u64,
        };
        chunk.bytes.advance(run.bytes);
        if chunk.bytes.is_empty() {
            self.chunks.pop_front();
        }
        self.count -= shed.count;
        self.bytes -= shed.bytes;
        shed
    }
}
