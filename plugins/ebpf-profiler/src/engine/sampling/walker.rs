//! Walking copies of stacks, by what is known of their processes.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use crate::access::Access;
use crate::engine::permit;
use crate::engine::placement::Placement;
use crate::engine::ring::{self, Unwinder};
use crate::process::proc::Proc;
use crate::process::table::{Limits, Process, Processes};
use crate::unwind::arena::PlainWords;
use crate::unwind::walk::{Registers, Stack};

/// Walks by the same tables that programs in the kernel would be given.
pub(super) struct Walker {
    pub(super) processes: Processes,
    placement: Placement,
    words: PlainWords,
    pub(super) proc: PathBuf,
    pub(super) access: Access,
    /// Whether one that was seen since the last collection is denied.
    judged: HashMap<u32, bool>,
    /// Whose mappings are in `placement`.
    placed: HashSet<u32>,
}

impl Unwinder for Walker {
    fn unwind(&mut self, pid: u32, at: ring::Registers, stack: &[u8]) -> (Vec<u64>, bool) {
        if self.is_denied(pid) {
            return (Vec::new(), false);
        }
        if !self.placement.covers(pid, at.ip) {
            self.look_at(pid);
        }
        let registers = Registers {
            ip: at.ip,
            sp: at.sp,
            fp: at.fp,
            link: 0,
        };
        let stack = Stack {
            start: at.sp,
            bytes: stack,
        };
        let (frames, end) = self
            .placement
            .walk(&self.words, pid, registers, &stack, None);
        (frames, end.is_complete())
    }
}

impl Walker {
    /// With tables of `budget` bytes at the most.
    pub(super) fn new(proc: PathBuf, access: Access, budget: u64) -> Self {
        Self {
            processes: Processes::new(Proc::at(&proc), Limits::default()),
            placement: Placement::new(budget),
            words: PlainWords::default(),
            proc,
            access,
            judged: HashMap::new(),
            placed: HashSet::new(),
        }
    }

    pub(super) fn is_denied(&mut self, pid: u32) -> bool {
        let (access, proc) = (&self.access, &self.proc);
        *self
            .judged
            .entry(pid)
            .or_insert_with(|| permit::check(access, proc, pid).is_err())
    }

    fn look_at(&mut self, pid: u32) {
        let now = Instant::now();
        self.processes.refresh(pid, now);
        self.placement
            .tell_of(&mut self.words, &mut self.processes, pid, now);
        self.placed.insert(pid);
    }

    /// A process began as a copy of another.
    pub(super) fn forked(&mut self, parent: u32, child: u32) {
        // What we know already is newer: rings of different sessions are read one after the other.
        if !self.placed.contains(&parent) || self.placed.contains(&child) {
            return;
        }
        self.processes.forked(parent, child);
        self.placement
            .forked(&mut self.words, parent, child, Instant::now());
        self.placed.insert(child);
    }

    /// What we knew of a process holds no more.
    pub(super) fn forget(&mut self, pid: u32) {
        self.judged.remove(&pid);
        if self.placed.contains(&pid) {
            self.displace(pid);
        }
    }

    fn displace(&mut self, pid: u32) {
        self.placed.remove(&pid);
        self.placement
            .remove_process(&mut self.words, pid, Instant::now());
    }

    /// A process's first thread has ended.
    pub(super) fn exited(&mut self, pid: u32) {
        if !self.placed.contains(&pid) || self.has_other_threads(pid) {
            return;
        }
        self.processes.exited(pid, Instant::now());
        self.displace(pid);
    }

    fn has_other_threads(&self, pid: u32) -> bool {
        let directory = self.proc.join(pid.to_string()).join("task");
        let threads = fs::read_dir(directory).into_iter().flatten().flatten();
        let first = pid.to_string();
        threads.into_iter().any(|it| it.file_name() != *first)
    }

    /// Forgets processes that have ended and nobody told.
    pub(super) fn sweep(&mut self, now: Instant) {
        // Some were gone already when they were looked at: of those the answer does not tell.
        self.processes.sweep(now);
        let ended = |pid: &u32| self.processes.get(*pid).is_none_or(Process::has_ended);
        for pid in self.placed.extract_if(|pid| ended(pid)) {
            self.placement.remove_process(&mut self.words, pid, now);
        }
        // Another program may have the number by the next time.
        self.judged.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn walker() -> Walker {
        Walker::new("/proc".into(), Access::default(), 8 << 20)
    }

    fn end(mut child: Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_process_that_has_ended_is_let_go_of_with_and_without_being_told() {
        let mut walker = walker();
        for told in [true, false] {
            let child = Command::new("sleep").arg("60").spawn().unwrap();
            let pid = child.id();
            walker.look_at(pid);
            walker.sweep(Instant::now());
            walker.exited(std::process::id());
            assert!(walker.placement.knows(pid), "it is there");
            end(child);
            if told {
                walker.exited(pid);
            } else {
                walker.sweep(Instant::now());
            }
            assert!(!walker.placement.knows(pid), "told: {told}");
            assert!(
                walker.processes.get(pid).unwrap().has_ended(),
                "told: {told}"
            );
        }
    }

    #[test]
    fn a_process_whose_first_thread_alone_has_ended_stays() {
        let mut walker = walker();
        let own = std::process::id();
        walker.look_at(own);
        // Tests run in threads of their own.
        walker.exited(own);
        assert!(walker.placement.knows(own));
    }

    #[test]
    fn a_copy_has_what_its_parent_has_until_it_is_another_program() {
        let (mut walker, own) = (walker(), std::process::id());
        walker.forked(own, u32::MAX);
        assert!(!walker.placement.knows(u32::MAX), "nothing is known of us");
        walker.look_at(own);
        walker.forked(own, u32::MAX);
        let address = walker.processes.mappings(own)[0].region.start;
        assert!(walker.placement.covers(u32::MAX, address));
        walker.forget(u32::MAX);
        assert!(!walker.placement.knows(u32::MAX));
    }
}
