//! Which tasks run when. Pure: time is an argument.
//!
//! The unit is a [`Job`]: what one task wants of one process. An OAP sends one command for each process of
//! a CPU task, all with the same task id, and may list several processes in one command.
//!
//! A job waits until its time has come and its process is known; neither other commands nor the time of
//! the last change make it forget that. Its window, from the task's start for the task's duration, is the
//! time in which it may begin.
//!
//! # Decisions
//! - A job that begins late runs for the whole duration from its own beginning, as Rover does: somebody
//!   asked for so many seconds of samples, and an OAP files them under the times that we tell.
//! - A job is not over when its process ends: the same id may come back under another PID. Nor is it when
//!   it could not begin, for the same reason and because the machine may have room again in a moment.
//! - We ask for tasks since before the oldest change of those that are not over. They come again with every
//!   poll, and are known by their ids; but a process that appears while a task of its service runs gets its
//!   command, which an OAP does not send to who has asked with a later time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::task::Task;
use crate::profile::Kind;

/// Most jobs that are remembered.
pub const MOST_JOBS: usize = 4096;

/// The time on both clocks: windows are told in the world's, durations run by the steady one.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// As the OAP knows it, if its clock is right and ours too.
    pub wall: SystemTime,
    /// Never goes back.
    pub steady: Instant,
}

/// What one task wants of one process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Job {
    /// The task's id.
    pub task: Arc<str>,
    /// The process's id.
    pub process: Arc<str>,
}

/// The processes that have an id, by it.
pub type Known = BTreeMap<Arc<str>, Here>;

/// What bears one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// For logs: service, instance and process.
    pub name: Arc<str>,
    /// More than one where programs run under the same names.
    pub pids: BTreeSet<u32>,
}

/// Something to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Its time is over.
    End(Job),
    /// Its time has come; answer with [`Schedule::began`] or [`Schedule::refused`].
    Begin(Job, Kind),
    /// Its window has closed, and its process never became known.
    Missed(Job),
    /// Its window has closed, and whenever it was to begin it could not, the last time for this reason.
    Failed(Job, String),
}

/// Why a job is not taken on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// Its window has closed.
    #[error("its time was over when it was first heard of")]
    Over,
    /// There are too many.
    #[error("{MOST_JOBS} others wait or run already")]
    Full,
}

/// All jobs that were heard of lately.
#[derive(Debug, Default)]
pub struct Schedule {
    jobs: BTreeMap<Job, Entry>,
    /// The latest change that any command told of.
    latest_ms: i64,
}

#[derive(Debug)]
struct Entry {
    kind: Kind,
    updated_ms: i64,
    start: SystemTime,
    duration: Duration,
    /// How much of it was run before `state` came to be.
    ran: Duration,
    state: State,
    /// Why it could not begin the last time.
    refusal: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    /// Could not begin, and waits to be tried again.
    Postponed,
    Running {
        since: Instant,
    },
    Over,
}

impl Schedule {
    /// Takes note of a task; says which of its jobs will not run. Heard again it changes nothing, but that
    /// it may have become longer.
    pub fn learn(&mut self, task: &Task, now: Now) -> Vec<(Job, NotTaken)> {
        self.heard(task.updated_ms);
        let mut not_taken = Vec::new();
        for process in &task.processes {
            let job = Job {
                task: Arc::clone(&task.id),
                process: Arc::clone(process),
            };
            if let Some(entry) = self.jobs.get_mut(&job) {
                entry.hear_again(task, now);
                continue;
            }
            if self.jobs.len() >= MOST_JOBS && !self.forget_one() {
                not_taken.push((job, NotTaken::Full));
                continue;
            }
            let entry = Entry::new(task, now);
            if entry.state == State::Over {
                not_taken.push((job.clone(), NotTaken::Over));
            }
            self.jobs.insert(job, entry);
        }
        not_taken
    }

    /// Takes note of when a command changed that is none for us.
    pub fn heard(&mut self, updated_ms: i64) {
        self.latest_ms = self.latest_ms.max(updated_ms);
    }

    /// What to ask for tasks with: those that were changed later are handed out.
    pub fn latest_update_ms(&self, now: Now) -> i64 {
        let open = self.jobs.values().filter(|entry| entry.is_open(now));
        let oldest = open.map(|entry| entry.updated_ms.saturating_sub(1)).min();
        oldest.unwrap_or(self.latest_ms).max(0)
    }

    /// What is to be done now, ends before beginnings. A beginning comes again until it is answered.
    pub fn step(&mut self, now: Now, known: &Known) -> Vec<Step> {
        let mut ends = Vec::new();
        let mut beginnings = Vec::new();
        for (job, entry) in &mut self.jobs {
            match entry.state {
                State::Running { since } if entry.left_of(since, now).is_zero() => {
                    entry.ran += now.steady.saturating_duration_since(since);
                    entry.state = State::Over;
                    ends.push(Step::End(job.clone()));
                }
                State::Waiting | State::Postponed if entry.window_has_closed(now) => {
                    entry.state = State::Over;
                    ends.push(match entry.refusal.take() {
                        Some(refusal) => Step::Failed(job.clone(), refusal),
                        None => Step::Missed(job.clone()),
                    });
                }
                State::Waiting if entry.start <= now.wall && known.contains_key(&job.process) => {
                    beginnings.push(Step::Begin(job.clone(), entry.kind));
                }
                _ => {}
            }
        }
        ends.append(&mut beginnings);
        ends
    }

    /// The job runs since now.
    pub fn began(&mut self, job: &Job, now: Now) {
        if let Some(entry) = self.jobs.get_mut(job) {
            entry.state = State::Running { since: now.steady };
            entry.refusal = None;
        }
    }

    /// The job cannot begin now; it waits for [`Schedule::try_again`].
    pub fn refused(&mut self, job: &Job, why: String) {
        if let Some(entry) = self.jobs.get_mut(job) {
            entry.state = State::Postponed;
            entry.refusal = Some(why);
        }
    }

    /// Lets those begin that could not, if their windows are open still.
    pub fn try_again(&mut self) {
        for entry in self.jobs.values_mut() {
            if entry.state == State::Postponed {
                entry.state = State::Waiting;
            }
        }
    }

    /// How long nothing will happen that only time brings; `None`: for ever.
    pub fn rest(&self, now: Now) -> Option<Duration> {
        let until = |entry: &Entry| match entry.state {
            State::Running { since } => Some(entry.left_of(since, now)),
            State::Waiting | State::Postponed => {
                let event = if entry.start > now.wall {
                    entry.start
                } else {
                    entry.window_end()?
                };
                Some(event.duration_since(now.wall).unwrap_or_default())
            }
            State::Over => None,
        };
        self.jobs.values().filter_map(until).min()
    }

    /// Makes room at the cost of the finished job that began first.
    fn forget_one(&mut self) -> bool {
        let done = self
            .jobs
            .iter()
            .filter(|(_, entry)| entry.state == State::Over);
        let Some((oldest, _)) = done.min_by_key(|(_, entry)| entry.start) else {
            return false;
        };
        let oldest = oldest.clone();
        self.jobs.remove(&oldest);
        true
    }
}

impl Entry {
    fn new(task: &Task, now: Now) -> Self {
        let mut entry = Self {
            kind: task.kind,
            updated_ms: task.updated_ms,
            start: task.start,
            duration: task.duration,
            ran: Duration::ZERO,
            state: State::Waiting,
            refusal: None,
        };
        if entry.window_has_closed(now) {
            entry.state = State::Over;
        }
        entry
    }

    fn hear_again(&mut self, task: &Task, now: Now) {
        self.updated_ms = self.updated_ms.max(task.updated_ms);
        if task.duration <= self.duration {
            return;
        }
        self.duration = task.duration;
        if self.state == State::Over && self.ran < self.duration && !self.window_has_closed(now) {
            self.state = State::Waiting;
        }
    }

    fn left_of(&self, since: Instant, now: Now) -> Duration {
        let running = now.steady.saturating_duration_since(since);
        self.duration.saturating_sub(self.ran + running)
    }

    fn window_end(&self) -> Option<SystemTime> {
        self.start.checked_add(self.duration)
    }

    fn window_has_closed(&self, now: Now) -> bool {
        self.window_end().is_some_and(|end| end <= now.wall)
    }

    /// Whether something may yet come of it, for this process or another of the task.
    fn is_open(&self, now: Now) -> bool {
        matches!(self.state, State::Running { .. }) || !self.window_has_closed(now)
    }
}

#[cfg(test)]
mod tests;
