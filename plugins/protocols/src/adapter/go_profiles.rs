//! Go profiles: an OAP appends the chunks of a task as they come in one call, until the last.
//!
//! Chunks of a task that part reach nobody whole (`protocols.md` T7), so they are kept until the
//! last has come and go on as one queued message, which holds theirs. A queue cannot cut that.

use std::time::{Duration, Instant};

use bytes::Bytes;

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

/// A task whose next chunk takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Collects the chunks of each task.
#[derive(Default)]
pub(super) struct GoProfiles {
    /// The one that has waited longest first.
    tasks: Vec<Task>,
}

struct Task {
    id: Vec<u8>,
    /// With their prefixes.
    chunks: Vec<u8>,
    count: u32,
    /// Why the rest is let go too: a profile without its beginning is none.
    given_up: Option<Loss>,
    latest: Instant,
}

impl Task {
    fn len(&self) -> usize {
        self.id.len() + self.chunks.len()
    }

    fn give_up(&mut self, loss: Loss, out: &mut Outbox) {
        if self.count > 0 {
            out.lose(loss, self.count);
        }
        self.given_up = Some(loss);
        self.chunks = Vec::new();
        self.count = 0;
    }

    fn add(&mut self, message: &[u8], out: &mut Outbox) {
        if let Some(loss) = self.given_up {
            return out.lose(loss, 1);
        }
        put_message(&mut self.chunks, |chunks| chunks.extend_from_slice(message));
        self.count += 1;
        if self.len() > LONGEST {
            self.give_up(Loss::Oversized, out);
        }
    }
}

impl GoProfiles {
    fn task(&mut self, id: &[u8], now: Instant) -> Task {
        match self.tasks.iter().position(|task| task.id == id) {
            Some(index) => self.tasks.remove(index),
            None => Task {
                id: id.to_vec(),
                chunks: Vec::new(),
                count: 0,
                given_up: None,
                latest: now,
            },
        }
    }

    /// What an agent has left behind makes room for what it sends now.
    fn make_room(&mut self, for_task: &Task, out: &mut Outbox) {
        if self.tasks.len() >= MOST_TASKS {
            self.tasks.remove(0).give_up(Loss::Incomplete, out);
        }
        let mut all = self.tasks.iter().map(Task::len).sum::<usize>() + for_task.len();
        for task in &mut self.tasks {
            if all <= LONGEST {
                break;
            }
            all -= task.chunks.len();
            task.give_up(Loss::Incomplete, out);
        }
    }
}

impl Inbound for GoProfiles {
    fn take(&mut self, message: &[u8], now: Instant, out: &mut Outbox) {
        let Ok((id, is_last)) = read(message) else {
            // Nobody knows which of them lacks it.
            self.tasks
                .iter_mut()
                .for_each(|task| task.give_up(Loss::Incomplete, out));
            return out.lose(Loss::Malformed, 1);
        };
        let mut task = self.task(id, now);
        task.latest = now;
        task.add(message, out);
        if !is_last {
            self.make_room(&task, out);
            self.tasks.push(task);
        } else if task.given_up.is_none() {
            out.message(&Lane::default(), task.count, |out| {
                out.extend_from_slice(&task.chunks);
            });
        }
    }

    fn holds(&self) -> bool {
        true
    }

    fn held(&self) -> u64 {
        let held = |task: &Task| (task.id.len() + task.chunks.capacity()) as u64;
        self.tasks.iter().map(held).sum()
    }

    fn due(&self) -> Option<Instant> {
        let waiting = self.tasks.iter().find(|task| task.given_up.is_none());
        waiting.map(|task| task.latest + PATIENCE)
    }

    fn tick(&mut self, now: Instant, out: &mut Outbox) {
        for task in &mut self.tasks {
            if task.latest + PATIENCE <= now && task.given_up.is_none() {
                task.give_up(Loss::Incomplete, out);
            }
        }
    }

    fn end(&mut self, _now: Instant, out: &mut Outbox) {
        for mut task in self.tasks.drain(..) {
            task.give_up(Loss::Incomplete, out);
        }
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
