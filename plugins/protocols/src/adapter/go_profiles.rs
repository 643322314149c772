//! Go profiles: an OAP appends the chunks of a task as they come in one call, until the last.
//!
//! Chunks of a task that part reach nobody whole (`protocols.md` T7), so they are kept until the
//! last has come and go on as one queued message, which holds theirs. A queue cannot cut that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use perigee_plugin_api::framing::PREFIX;
use xxhash_rust::xxh3::xxh3_128;

use super::outbox::{messages, put_message};
use super::{Inbound, Lane, Loss, Outbox};
use crate::wire::{Malformed, Value, fields};

/// `GoProfileData.taskId` and `isLast`.
const TASK_ID: u32 = 1;
const IS_LAST: u32 = 3;

/// Longest profile, as for the other profilers of an OAP, and most that a call keeps.
const LONGEST: usize = 32 * 1024 * 1024;

/// Most tasks that a call keeps. An agent works on one at a time.
const MOST_TASKS: usize = 16;

/// Tasks that are remembered as given up: a profile without its beginning is none.
const MOST_GIVEN_UP: usize = 256;

/// A task whose next chunk takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Collects the chunks of each task.
#[derive(Default)]
pub(super) struct GoProfiles {
    /// The one that has waited longest first.
    tasks: Vec<Task>,
    /// Ids of tasks whose rest is let go too, and why.
    given_up: VecDeque<(u128, Loss)>,
}

struct Task {
    /// Hash of the id.
    id: u128,
    /// Each with its prefix.
    chunks: Vec<Vec<u8>>,
    bytes: usize,
    latest: Instant,
}

impl Task {
    fn add(&mut self, message: &[u8]) {
        let mut chunk = Vec::with_capacity(PREFIX + message.len());
        put_message(&mut chunk, |chunk| chunk.extend_from_slice(message));
        self.bytes += chunk.len();
        self.chunks.push(chunk);
    }

    fn pass_on(&self, out: &mut Outbox) {
        out.message(&Lane::default(), self.count(), |out| {
            for chunk in &self.chunks {
                out.extend_from_slice(chunk);
            }
        });
    }

    fn count(&self) -> u32 {
        // A message of some bytes each, and 32 MiB of them at most.
        self.chunks.len() as u32
    }
}

impl GoProfiles {
    fn give_up(&mut self, index: usize, loss: Loss, out: &mut Outbox) {
        let task = self.tasks.remove(index);
        out.lose(loss, task.count());
        self.given_up.push_back((task.id, loss));
        if self.given_up.len() > MOST_GIVEN_UP {
            self.given_up.pop_front();
        }
    }

    fn give_up_all(&mut self, loss: Loss, out: &mut Outbox) {
        while !self.tasks.is_empty() {
            self.give_up(0, loss, out);
        }
    }

    /// Whether the task was given up; its last chunk ends that too.
    fn is_given_up(&mut self, id: u128, is_last: bool, out: &mut Outbox) -> bool {
        let Some(index) = self.given_up.iter().position(|(known, _)| *known == id) else {
            return false;
        };
        let (_, loss) = self.given_up[index];
        out.lose(loss, 1);
        if is_last {
            self.given_up.remove(index);
        }
        true
    }

    fn bytes(&self) -> usize {
        self.tasks.iter().map(|task| task.bytes).sum()
    }
}

impl Inbound for GoProfiles {
    fn take(&mut self, message: &[u8], now: Instant, out: &mut Outbox) {
        let Ok((id, is_last)) = read(message) else {
            // Nobody knows which of them lacks it.
            self.give_up_all(Loss::Incomplete, out);
            return out.lose(Loss::Malformed, 1);
        };
        let id = xxh3_128(id);
        if self.is_given_up(id, is_last, out) {
            return;
        }
        let mut task = match self.tasks.iter().position(|task| task.id == id) {
            Some(index) => self.tasks.remove(index),
            None => Task {
                id,
                chunks: Vec::new(),
                bytes: 0,
                latest: now,
            },
        };
        task.latest = now;
        task.add(message);
        let is_oversized = task.bytes > LONGEST;
        match (is_last, is_oversized) {
            (true, true) => return out.lose(Loss::Oversized, task.count()),
            (true, false) => return task.pass_on(out),
            (false, _) => self.tasks.push(task),
        }
        if is_oversized {
            self.give_up(self.tasks.len() - 1, Loss::Oversized, out);
        }
        // What an agent has left behind makes room for what it sends now.
        while self.tasks.len() > MOST_TASKS || self.bytes() > LONGEST {
            self.give_up(0, Loss::Incomplete, out);
        }
    }

    fn holds(&self) -> bool {
        true
    }

    fn held(&self) -> u64 {
        self.bytes() as u64
    }

    fn release(&mut self, out: &mut Outbox) {
        self.give_up_all(Loss::NoRoom, out);
    }

    fn due(&self) -> Option<Instant> {
        self.tasks.first().map(|task| task.latest + PATIENCE)
    }

    fn tick(&mut self, now: Instant, out: &mut Outbox) {
        while self.due().is_some_and(|due| due <= now) {
            self.give_up(0, Loss::Incomplete, out);
        }
    }

    fn end(&mut self, _now: Instant, out: &mut Outbox) {
        self.give_up_all(Loss::Incomplete, out);
    }
}

fn read(message: &[u8]) -> Result<(&[u8], bool), Malformed> {
    let (mut id, mut is_last): (&[u8], bool) = (&[], false);
    for field in fields(message) {
        let field = field?;
        match (field.number, field.value) {
            (TASK_ID, Value::Bytes(bytes)) => id = bytes,
            (IS_LAST, Value::Number(number)) => is_last = number != 0,
            _ => {}
        }
    }
    Ok((id, is_last))
}

/// The chunks of all tasks.
pub(super) fn unpack(profiles: &[Bytes]) -> Vec<Bytes> {
    let unpack = |framed: &Bytes| -> Vec<Bytes> {
        messages(framed)
            .map(|chunks| framed.slice_ref(chunks))
            .collect()
    };
    profiles.iter().flat_map(unpack).collect()
}
