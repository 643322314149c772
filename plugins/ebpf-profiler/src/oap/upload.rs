//! What tasks have collected and an OAP has not taken yet. Pure.
//!
//! Counts are deltas. A flush takes what is pending of a job into flight, with a time of its own; from
//! there it goes out in [`Parcel`]s, each a stream, and leaves the books when its stream was answered.
//!
//! # Decisions
//! - The task is told in the first message of each job in a stream, as Rover does it: an OAP writes a
//!   schedule for every message that tells one. Who cuts streams or mixes them, as our gateway does, puts it
//!   in where it is needed.
//! - What was in flight when a stream failed goes out again with the time it had: an OAP files a stack under
//!   schedule, stack ids and time, so that what it had taken already is overwritten and not counted twice.
//!   What came meanwhile is merged and waits.
//! - Preempted waits are not told. Rover counts all time off the CPU, but the protocol's `duration` is that
//!   of "waiting while blocked", and a busy loop on a busy machine is no wait. They are in a local profile,
//!   kept apart.
//! - All jobs share one budget of bytes: an OAP makes a job of each process of a service, and a bound for
//!   each would be none for all. What does not fit is counted as lost.
//! - Stacks are told apart by their names, as an OAP does: two places in one function are one.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use perigee_proto::skywalking::v3 as sw;
use prost::Message;
use sw::ebpf_profiling_data::Profiling;

use super::schedule::Job;
use crate::profile::{Kind, Profile};

mod stacks;

use stacks::{Pair, Stacks};

/// Most messages in a stream.
const MOST_MESSAGES: usize = 2000;
/// A stream ends with the message that makes it this long.
const LONGEST_STREAM: usize = 1024 * 1024;
/// What all jobs together may remember, where nobody says otherwise.
pub(super) const MEMORY: usize = 16 * 1024 * 1024;
/// What a pair takes with its delta in a map or a queue.
const PAIR: usize = 48;

/// Count and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Delta {
    count: u64,
    nanos: u64,
}

/// The jobs that have, or may get, something to send.
#[derive(Debug)]
pub struct Outbox {
    jobs: BTreeMap<Job, Collected>,
    memory: usize,
    /// Bytes that the jobs remember, about.
    used: usize,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new(MEMORY)
    }
}

/// One job's.
#[derive(Debug)]
struct Collected {
    kind: Kind,
    started_ms: i64,
    /// Time of the latest flush, whether it has arrived or not.
    flushed_ms: i64,
    stacks: Stacks,
    pending: BTreeMap<Pair, Delta>,
    flight: VecDeque<(Pair, Delta)>,
    ended: Option<Instant>,
}

/// The messages of one stream.
#[derive(Debug)]
pub struct Parcel {
    /// In order.
    pub messages: Vec<sw::EbpfProfilingData>,
    contents: Contents,
}

/// Which of what is in flight a parcel holds.
pub type Contents = Vec<(Job, usize)>;

impl Parcel {
    /// The messages, and what to tell [`Outbox::delivered`] when they have arrived.
    pub fn split(self) -> (Vec<sw::EbpfProfilingData>, Contents) {
        (self.messages, self.contents)
    }
}

impl Outbox {
    /// Empty; names, lists of names and counts of all jobs together take so many bytes at most.
    pub fn new(memory: usize) -> Self {
        Self {
            jobs: BTreeMap::new(),
            memory,
            used: 0,
        }
    }

    /// A job has begun. One that was there before goes on in its schedule.
    pub fn open(&mut self, job: &Job, kind: Kind, started_ms: i64) {
        let collected = self.jobs.entry(job.clone());
        let collected = collected.or_insert_with(|| Collected::new(kind, started_ms));
        collected.ended = None;
    }

    /// Adds what these processes did to a job. Returns how many samples did not fit.
    pub fn add(&mut self, job: &Job, profile: &Profile, pids: &BTreeSet<u32>) -> u64 {
        let room = self.memory.saturating_sub(self.used);
        match self.jobs.get_mut(job) {
            Some(collected) if collected.kind == profile.kind => {
                let before = collected.bytes();
                let dropped = collected.add(profile, pids, room);
                self.used += collected.bytes() - before;
                dropped
            }
            _ => 0,
        }
    }

    /// Nothing more will come of the job.
    pub fn end(&mut self, job: &Job, now: Instant) {
        if let Some(collected) = self.jobs.get_mut(job) {
            collected.ended = Some(now);
        }
    }

    /// Takes what is pending into flight, except for jobs that have something there already.
    pub fn flush(&mut self, now_ms: i64) {
        for collected in self.jobs.values_mut() {
            if collected.flight.is_empty() && !collected.pending.is_empty() {
                collected.take_off(now_ms);
            }
        }
        self.count();
    }

    fn count(&mut self) {
        self.used = self.jobs.values().map(Collected::bytes).sum();
    }

    /// As much of what is in flight as goes into one stream; `None` if there is nothing.
    pub fn parcel(&self) -> Option<Parcel> {
        let mut parcel = Parcel {
            messages: Vec::new(),
            contents: Vec::new(),
        };
        let mut bytes = 0;
        for (job, collected) in &self.jobs {
            let mut taken = 0;
            for (pair, delta) in &collected.flight {
                if parcel.messages.len() >= MOST_MESSAGES || bytes >= LONGEST_STREAM {
                    break;
                }
                let message = sw::EbpfProfilingData {
                    task: (taken == 0).then(|| collected.task(job)),
                    profiling: Some(collected.profiling(*pair, *delta)),
                };
                bytes += message.encoded_len();
                parcel.messages.push(message);
                taken += 1;
            }
            if taken > 0 {
                parcel.contents.push((job.clone(), taken));
            }
        }
        (!parcel.messages.is_empty()).then_some(parcel)
    }

    /// A parcel has arrived.
    pub fn delivered(&mut self, contents: &Contents) {
        for (job, taken) in contents {
            if let Some(collected) = self.jobs.get_mut(job) {
                let taken = (*taken).min(collected.flight.len());
                collected.flight.drain(..taken);
            }
        }
        self.forget(Collected::is_done);
    }

    /// Forgets ended jobs that nobody would take the rest of for so long; returns the samples lost.
    pub fn give_up(&mut self, now: Instant, patience: Duration) -> u64 {
        self.forget(Collected::is_done);
        let late = |ended: Instant| now.saturating_duration_since(ended) >= patience;
        self.forget(|collected| collected.ended.is_some_and(late))
    }

    /// Samples that are neither delivered nor given up.
    pub fn outstanding(&self) -> u64 {
        self.jobs.values().map(Collected::outstanding).sum()
    }

    fn forget(&mut self, which: impl Fn(&Collected) -> bool) -> u64 {
        let mut lost = 0;
        self.jobs.retain(|_, collected| {
            let goes = which(collected);
            lost += if goes { collected.outstanding() } else { 0 };
            !goes
        });
        self.count();
        lost
    }
}

impl Collected {
    fn new(kind: Kind, started_ms: i64) -> Self {
        Self {
            kind,
            started_ms,
            flushed_ms: started_ms,
            stacks: Stacks::default(),
            pending: BTreeMap::new(),
            flight: VecDeque::new(),
            ended: None,
        }
    }

    fn add(&mut self, profile: &Profile, pids: &BTreeSet<u32>, room: usize) -> u64 {
        let mut dropped = 0;
        let mut names = self.stacks.reader(profile, room);
        for stack in &profile.stacks {
            let process = profile.processes.get(stack.process as usize);
            let is_ours = process.is_some_and(|process| pids.contains(&process.pid));
            if !is_ours || stack.count == 0 || (self.kind == Kind::OffCpu && stack.preempted) {
                continue;
            }
            let delta = match names.pair(stack).map(|pair| self.pending.entry(pair)) {
                Some(Entry::Occupied(entry)) => entry.into_mut(),
                Some(Entry::Vacant(entry)) if names.takes(PAIR) => entry.insert(Delta::default()),
                _ => {
                    dropped += stack.count;
                    continue;
                }
            };
            delta.count = delta.count.saturating_add(stack.count);
            delta.nanos = delta.nanos.saturating_add(stack.nanos);
        }
        dropped
    }

    /// The protocol's counts are `int32`: what is above waits for the next flush.
    fn take_off(&mut self, now_ms: i64) {
        const MOST: u64 = i32::MAX as u64;
        // Two flushes of one time would overwrite each other.
        self.flushed_ms = now_ms.max(self.flushed_ms + 1);
        for (pair, delta) in std::mem::take(&mut self.pending) {
            let now = Delta {
                count: delta.count.min(MOST),
                nanos: delta.nanos.min(i64::MAX as u64),
            };
            self.flight.push_back((pair, now));
            if delta.count > MOST {
                let later = Delta {
                    count: delta.count - MOST,
                    nanos: delta.nanos - now.nanos,
                };
                self.pending.insert(pair, later);
            }
        }
    }

    fn task(&self, job: &Job) -> sw::EbpfProfilingTaskMetadata {
        sw::EbpfProfilingTaskMetadata {
            task_id: job.task.to_string(),
            process_id: job.process.to_string(),
            profiling_start_time: self.started_ms,
            current_time: self.flushed_ms,
        }
    }

    fn profiling(&self, pair: Pair, delta: Delta) -> Profiling {
        let stacks = self.stacks.metadata(pair);
        let count = i32::try_from(delta.count).unwrap_or(i32::MAX);
        match self.kind {
            Kind::OnCpu => Profiling::OnCpu(sw::EbpfOnCpuProfiling {
                stacks,
                dump_count: count,
            }),
            Kind::OffCpu => Profiling::OffCpu(sw::EbpfOffCpuProfiling {
                stacks,
                switch_count: count,
                duration: i64::try_from(delta.nanos).unwrap_or(i64::MAX),
            }),
        }
    }

    fn outstanding(&self) -> u64 {
        let pending = self.pending.values().map(|delta| delta.count);
        let flying = self.flight.iter().map(|(_, delta)| delta.count);
        pending.chain(flying).sum()
    }

    fn bytes(&self) -> usize {
        self.stacks.bytes() + PAIR * (self.pending.len() + self.flight.len())
    }

    fn is_done(&self) -> bool {
        self.ended.is_some() && self.pending.is_empty() && self.flight.is_empty()
    }
}

#[cfg(test)]
mod tests;
