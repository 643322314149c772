//! Go profiles: an OAP appends the chunks of a task as they come in one call, until the last.
//!
//! Chunks of a task that part reach nobody whole (`protocols.md` T7), so they are kept until the
//! last has come and go on as one queued message, which holds theirs. A queue cannot cut that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::outbox::{messages, put_message};
use super::{Inbound, Lane, Loss, Outbox};
use crate::wire::{Malformed, Value, fields};

/// `GoProfileData.taskId` and `isLast`.
const TASK_ID: u32 = 1;
const IS_LAST: u32 = 3;

/// Longest profile, as for the other profilers of an OAP.
const LONGEST: usize = 32 * 1024 * 1024;

/// A task whose next chunk takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Collects the chunks of each task.
#[derive(Default)]
pub(super) struct GoProfiles {
    tasks: HashMap<Vec<u8>, Task>,
}

struct Task {
    /// With their prefixes.
    chunks: Vec<u8>,
    count: u32,
    /// Grown too long: the rest is let go too.
    oversized: bool,
    latest: Instant,
}

impl Task {
    fn add(&mut self, message: &[u8], out: &mut Outbox) {
        if self.oversized || self.chunks.len() + message.len() > LONGEST {
            self.oversized = true;
            self.chunks = Vec::new();
            out.lose(Loss::Oversized, std::mem::take(&mut self.count) + 1);
            return;
        }
        put_message(&mut self.chunks, |chunks| chunks.extend_from_slice(message));
        self.count += 1;
    }
}

impl Inbound for GoProfiles {
    fn take(&mut self, message: &[u8], now: Instant, out: &mut Outbox) {
        let Ok((id, is_last)) = read(message) else {
            return out.lose(Loss::Malformed, 1);
        };
        let task = self.tasks.entry(id.to_vec()).or_insert_with(|| Task {
            chunks: Vec::new(),
            count: 0,
            oversized: false,
            latest: now,
        });
        task.latest = now;
        task.add(message, out);
        if is_last
            && let Some(task) = self.tasks.remove(id)
            && !task.oversized
        {
            out.message(&Lane::default(), task.count, |out| {
                out.extend_from_slice(&task.chunks);
            });
        }
    }

    fn holds(&self) -> bool {
        true
    }

    fn held(&self) -> u64 {
        self.tasks
            .values()
            .map(|task| task.chunks.len() as u64)
            .sum()
    }

    fn due(&self) -> Option<Instant> {
        let latest = self.tasks.values().map(|task| task.latest).min();
        latest.map(|latest| latest + PATIENCE)
    }

    fn tick(&mut self, now: Instant, out: &mut Outbox) {
        self.tasks.retain(|_, task| {
            let waits = now < task.latest + PATIENCE;
            if !waits && task.count > 0 {
                out.lose(Loss::Incomplete, task.count);
            }
            waits
        });
    }

    fn end(&mut self, _now: Instant, out: &mut Outbox) {
        for (_, task) in self.tasks.drain().filter(|(_, task)| task.count > 0) {
            out.lose(Loss::Incomplete, task.count);
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
pub(super) fn unpack(chunks: &[Bytes]) -> Vec<u8> {
    let tasks: Vec<&[u8]> = chunks.iter().flat_map(|chunk| messages(chunk)).collect();
    tasks.concat()
}
