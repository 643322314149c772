//! What the programs tell: stacks, processes that begin and end, and what they could not walk.

use std::time::{Duration, Instant};

use tracing::debug;

use super::{COLLECT_AFTER, Worker};
use crate::bpf::layout::{Copied, CountKey, End, Event};
use crate::bpf::programs::Walker;
use crate::engine::{ProcessEvent, permit};
use crate::process::table::Seen;
use crate::unwind::walk::{Registers, Stack};

/// Programs that other programs have followed in their processes, between two collections.
const MOST_FORMER: usize = 4096;
/// No PID is that large.
const NOT_PIDS: u32 = 1 << 31;

/// Least and greatest time between two looks at a process in which nothing has changed.
const SOON: Duration = Duration::from_millis(100);
const LATE: Duration = Duration::from_secs(10);
/// A process that computes is looked at again after this long, whatever we know of it.
const OLD: Duration = Duration::from_secs(30);

impl Worker {
    /// Reads so many events at the most; answers whether these were all.
    pub(super) fn read_events(&mut self, most: usize) -> bool {
        for _ in 0..most {
            match self.programs.next_event() {
                Some(event) => self.take_in(event),
                None => return true,
            }
        }
        false
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Stack { id, end, frames } => {
                self.new_stacks += 1;
                self.remember(id, frames, end);
            }
            Event::Copy(copied) => self.walk(&copied),
            Event::Counts => self.new_stacks += COLLECT_AFTER / 2,
            Event::Exec { pid, program, name } => {
                let was_known = self.part(pid, CountKey::program_before(program), name);
                self.leave(pid);
                self.naming.forget(pid);
                if was_known && self.programs.walker() == Walker::FramePointers {
                    // It sends no copies, which would make us look.
                    self.tell_of(pid);
                }
                self.tell_watchers(ProcessEvent::Exec(pid));
            }
            Event::Fork(child, parent) => {
                if self.denied.contains(&parent) {
                    self.denied.insert(child);
                }
                self.processes.forked(parent, child);
                self.placement
                    .forked(&mut self.programs, parent, child, Instant::now());
            }
            Event::Exit(pid) => {
                self.leave(pid);
                self.processes.exited(pid, Instant::now());
                self.tell_watchers(ProcessEvent::Exit(pid));
            }
        }
    }

    /// Tells what a process was from what it is: samples of that are still to be collected. Answers whether it was
    /// known.
    fn part(&mut self, pid: u32, program: u32, name: String) -> bool {
        let now = Instant::now();
        self.last_former = (self.last_former + 1) % NOT_PIDS;
        let former = NOT_PIDS | self.last_former;
        let was_known = self.processes.became(pid, former, name, now);
        if was_known && self.former.len() < MOST_FORMER {
            self.former.insert((pid, program), (now, former));
        }
        was_known
    }

    /// The number under which we know the program that a sample is of.
    pub(super) fn known_as(&self, key: &CountKey) -> u32 {
        let former = self.former.get(&(key.pid, key.program()));
        // It may have been forgotten before its time, when many end.
        let former = former.filter(|(_, former)| self.processes.get(*former).is_some());
        former.map_or(key.pid, |(_, former)| *former)
    }

    /// Starts of programs were not told: whom we know may be another by now.
    pub(super) fn doubt_all(&mut self) {
        self.looks.values_mut().for_each(Looks::doubt);
    }

    fn tell_watchers(&mut self, event: ProcessEvent) {
        // One that does not keep up will find out by looking at /proc.
        self.watchers
            .retain(|it| !matches!(it.try_send(event), Err(e) if e.is_disconnected()));
        if self.watchers.is_empty() {
            self.programs.watch_exec(false);
        }
    }

    /// What we knew of a process holds no more.
    pub(super) fn leave(&mut self, pid: u32) {
        // What it has counted is still to be passed over.
        if self.denied.contains(&pid) {
            self.left.push(pid);
        }
        self.looks.remove(&pid);
        self.placement
            .remove_process(&mut self.programs, pid, Instant::now());
    }

    fn remember(&mut self, id: u64, frames: Vec<u64>, end: End) {
        for gone in self.dictionary.insert(id, frames, end) {
            self.programs.forget(gone);
        }
    }

    /// Reads a process's mappings and tells the programs of them.
    pub(super) fn tell_of(&mut self, pid: u32) {
        let now = Instant::now();
        if permit::check(&self.settings.access, &self.settings.proc, pid).is_err() {
            self.denied.insert(pid);
            if self.processes.exists(pid) {
                self.placement.deny(&mut self.programs, pid, now);
            } else {
                // Nobody will tell of its end.
                self.left.push(pid);
            }
            return;
        }
        self.denied.remove(&pid);
        let seen = self.processes.refresh(pid, now);
        if seen == Seen::Gone {
            return;
        }
        let looks = self.looks.entry(pid).or_default();
        looks.taken(seen == Seen::Changed, now);
        if seen == Seen::Same && self.placement.knows(pid) {
            return;
        }
        if seen == Seen::Denied {
            debug!(pid, "capture: may not look at a process");
        }
        self.placement
            .tell_of(&mut self.programs, &mut self.processes, pid, now);
    }

    /// Does what the programs could not: looks at the process, then walks the copy.
    fn walk(&mut self, copied: &Copied) {
        self.new_stacks += 1;
        let Copied {
            pid,
            ip,
            sp,
            fp,
            link,
            missing,
            ..
        } = *copied;
        let is_known = match missing {
            0 => self.placement.knows(pid) && self.looks.get(&pid).is_some_and(Looks::is_sure),
            address => self.placement.covers(pid, address),
        };
        let now = Instant::now();
        if !is_known && self.looks.get(&pid).is_none_or(|it| it.may_look(now)) {
            self.tell_of(pid);
        }
        if self.denied.contains(&pid) {
            return;
        }
        let stack = Stack {
            start: sp,
            bytes: &copied.stack,
        };
        let registers = Registers { ip, sp, fp, link };
        let code = copied.code.as_ref();
        let (frames, end) = self
            .placement
            .walk(&self.programs, pid, registers, &stack, code);
        self.remember(copied.id, frames, end);
    }
}

/// When a process's mappings may be read again: one whose code lies in none of them would have it done for
/// every sample.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looks {
    last: Option<Instant>,
    pause: Duration,
}

impl Looks {
    fn may_look(&self, now: Instant) -> bool {
        self.last
            .is_none_or(|last| now.saturating_duration_since(last) >= self.pause)
    }

    fn is_sure(&self) -> bool {
        self.last.is_some()
    }

    fn doubt(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_old(&self, now: Instant) -> bool {
        self.last
            .is_none_or(|last| now.saturating_duration_since(last) >= OLD)
    }

    fn taken(&mut self, changed: bool, now: Instant) {
        self.last = Some(now);
        self.pause = if changed {
            Duration::ZERO
        } else {
            (self.pause * 2).clamp(SOON, LATE)
        };
    }
}
