//! Stacks of eBPF profiling tasks, stored and added up as an OAP does it.
//!
//! An OAP stores what comes for a task, a process and a start of profiling under the ids of the stack and
//! the time of the upload: the same again overwrites. What it shows is the sum over the times, each stack
//! with the symbols of one of them: an id that means two things shows wrong.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use serde::{Deserialize, Serialize};

/// Different stacks that are remembered.
const MAX_STACKS: usize = 200_000;

/// The stacks of all tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// One for each task, process, start and target.
    pub tasks: Vec<TaskStacks>,
    /// Messages whose stacks were too many to remember.
    pub dropped: u64,
}

/// What profiling one process for one task has yielded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskStacks {
    /// The task's id.
    pub task: String,
    /// The process's id.
    pub process: String,
    /// What was profiled.
    pub target: Target,
    /// When it began, as the agent tells it, in milliseconds since 1970.
    pub started_ms: i64,
    /// Time of the latest upload.
    pub latest_ms: i64,
    /// Times at which something was uploaded.
    pub uploads: u64,
    /// The stacks, by their symbols.
    pub stacks: Vec<StackSum>,
    /// Messages that gave the ids of a stack to other symbols.
    pub redefined: u64,
}

/// What was profiled.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Target {
    /// Samples.
    #[default]
    OnCpu,
    /// Waits.
    OffCpu,
}

/// A stack and its sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StackSum {
    /// The kernel's symbols, innermost first.
    pub kernel: Vec<String>,
    /// The program's symbols, innermost first.
    pub user: Vec<String>,
    /// Samples, or waits.
    pub count: u64,
    /// Time waited.
    pub nanos: u64,
}

/// A message of profiling data.
#[derive(Clone, Debug, Default)]
pub(super) struct Datum {
    pub(super) task: String,
    pub(super) process: String,
    pub(super) target: Target,
    pub(super) started_ms: i64,
    pub(super) uploaded_ms: i64,
    /// The ids of the halves that are there, joined.
    pub(super) ids: String,
    pub(super) stack: StackSum,
}

/// Everything that came.
#[derive(Debug, Default)]
pub(super) struct Store {
    schedules: BTreeMap<(String, String, i64, Target), Schedule>,
    stacks: usize,
    dropped: u64,
}

#[derive(Debug, Default)]
struct Schedule {
    latest_ms: i64,
    uploads: u64,
    stacks: BTreeMap<String, Stored>,
    redefined: u64,
}

#[derive(Debug)]
struct Stored {
    sum: StackSum,
    /// What the latest upload has added.
    latest: (i64, u64, u64),
}

impl Store {
    pub(super) fn add(&mut self, datum: Datum) {
        let key = (datum.task, datum.process, datum.started_ms, datum.target);
        let schedule = self.schedules.entry(key).or_default();
        if datum.uploaded_ms > schedule.latest_ms {
            schedule.latest_ms = datum.uploaded_ms;
            schedule.uploads += 1;
        }
        let (count, nanos) = (datum.stack.count, datum.stack.nanos);
        match schedule.stacks.entry(datum.ids) {
            Entry::Vacant(_) if self.stacks >= MAX_STACKS => self.dropped += 1,
            Entry::Vacant(vacant) => {
                self.stacks += 1;
                vacant.insert(Stored {
                    latest: (datum.uploaded_ms, count, nanos),
                    sum: datum.stack,
                });
            }
            Entry::Occupied(mut occupied) => {
                let stored = occupied.get_mut();
                if (&stored.sum.kernel, &stored.sum.user)
                    != (&datum.stack.kernel, &datum.stack.user)
                {
                    schedule.redefined += 1;
                }
                let (latest_ms, old_count, old_nanos) = stored.latest;
                if latest_ms == datum.uploaded_ms {
                    stored.sum.count -= old_count;
                    stored.sum.nanos -= old_nanos;
                }
                stored.sum.count += count;
                stored.sum.nanos += nanos;
                stored.latest = (datum.uploaded_ms, count, nanos);
            }
        }
    }

    pub(super) fn sums(&self) -> Stacks {
        let tasks = self.schedules.iter();
        let tasks = tasks.map(|((task, process, started_ms, target), schedule)| {
            let stacks = schedule.stacks.values();
            let mut stacks: Vec<_> = stacks.map(|stored| stored.sum.clone()).collect();
            stacks.sort_unstable();
            TaskStacks {
                task: task.clone(),
                process: process.clone(),
                target: *target,
                started_ms: *started_ms,
                latest_ms: schedule.latest_ms,
                uploads: schedule.uploads,
                stacks,
                redefined: schedule.redefined,
            }
        });
        Stacks {
            tasks: tasks.collect(),
            dropped: self.dropped,
        }
    }
}
