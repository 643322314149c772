//! From counts in the kernel to named stacks of sessions, and what that may cost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::{COLLECT_EVERY, IDLE, STACKS_AT_ONCE, Worker};
use crate::bpf::layout::{Count, CountKey, Counters};
use crate::engine::Request;
use crate::engine::dictionary::Addresses;
use crate::engine::session::{Costs, Named};
use crate::engine::targets::period_of;
use crate::metrics;
use crate::process::table::Process as Known;
use crate::profile::{Kind, Process};

/// More than the largest ring holds and than are set aside: what was sent before a collection is read before it.
const MOST_EVENTS: usize = 1 << 19;

/// Processes whose mappings are read again at a collection, at 50 us each.
const LOOKED_AT_AGAIN: usize = 64;

impl Worker {
    /// Hands what was counted to the sessions.
    pub(super) fn collect(&mut self) {
        let pause = if self.sessions.is_empty() {
            IDLE
        } else {
            COLLECT_EVERY
        };
        let began = Instant::now();
        self.due = began + pause;
        self.new_stacks = 0;
        let epoch = self.programs.turn_epoch();
        self.read_events(MOST_EVENTS);
        let counts = self.programs.collect(epoch);
        self.look_again(&counts);
        for part in counts.chunks(STACKS_AT_ONCE) {
            self.distribute(part);
            self.programs.set_events_aside();
        }
        let counters = self.programs.counters();
        if std::mem::replace(&mut self.untold, counters.untold) != counters.untold {
            self.doubt_all();
        }
        let lost =
            counters.ring_full + counters.counts_full + counters.waits_full + counters.too_many;
        let more = lost - std::mem::replace(&mut self.lost, lost);
        export(&counters, self.placement.rules_lost());
        for running in self.sessions.values_mut() {
            running.lose(more);
            running.settle();
        }
        // Those that went before it have no samples left.
        self.former.retain(|_, (since, _)| *since >= began);
        for pid in std::mem::take(&mut self.left) {
            self.denied.remove(&pid);
        }
        if let Err(error) = self.programs.follow_cpus() {
            debug!(%error, "capture: a CPU is not sampled");
        }
        let now = Instant::now();
        for pid in self.processes.sweep(now) {
            self.leave(pid);
        }
        self.keep_budget(now);
    }

    /// A library may have come to where another was: nothing tells of that but another look.
    fn look_again(&mut self, counts: &[(CountKey, Count)]) {
        let now = Instant::now();
        let pids: BTreeSet<u32> = counts
            .iter()
            .filter(|(key, _)| key.user != 0)
            .map(|(key, _)| key.pid)
            .collect();
        let is_old = |pid: &u32| match self.looks.get(pid) {
            Some(looks) => looks.is_old(now),
            None => !self.processes.get(*pid).is_some_and(Known::has_ended),
        };
        let old: Vec<u32> = pids
            .into_iter()
            .filter(is_old)
            .take(LOOKED_AT_AGAIN)
            .collect();
        for pid in old {
            self.tell_of(pid);
        }
    }

    /// Names stacks and counts them where they are wanted.
    fn distribute(&mut self, counts: &[(CountKey, Count)]) {
        let now = Instant::now();
        let mut found = Vec::with_capacity(counts.len());
        for (key, count) in counts {
            if !self.denied.contains(&key.pid) {
                found.push((key, *count, self.stacks_of(key)));
            }
        }
        for off_cpu in [false, true] {
            let stacks: Vec<_> = found
                .iter()
                .filter(|(key, ..)| (key.period == 0) == off_cpu)
                .flat_map(|(key, _, (user, kernel))| {
                    let user = user
                        .as_ref()
                        .map(|it| ((self.known_as(key), key.user), Arc::clone(it)));
                    let kernel = kernel.as_ref().map(|it| ((0, key.kernel), Arc::clone(it)));
                    user.into_iter().chain(kernel)
                })
                .collect();
            self.naming
                .prepare(&mut self.processes, &stacks, off_cpu, now);
        }
        let none = Named {
            frames: Vec::new(),
            complete: true,
        };
        for (key, count, (user, kernel)) in found {
            let process = self.process(key);
            let whole = (key.user == 0 || user.is_some()) && (key.kernel == 0 || kernel.is_some());
            let user = self.naming.get((self.known_as(key), key.user));
            let kernel = self.naming.get((0, key.kernel));
            for running in self.sessions.values_mut().filter(|it| it.wants(key)) {
                if whole {
                    let (user, kernel) = (user.as_deref(), kernel.as_deref());
                    running.add(
                        key,
                        count,
                        &process,
                        kernel.unwrap_or(&none),
                        user.unwrap_or(&none),
                    );
                } else {
                    running.lose(count.count);
                }
            }
        }
    }

    fn stacks_of(&mut self, key: &CountKey) -> (Option<Arc<Addresses>>, Option<Arc<Addresses>>) {
        let mut stack = |id: u64| (id != 0).then(|| self.dictionary.get(id)).flatten();
        (stack(key.user), stack(key.kernel))
    }

    fn process(&mut self, key: &CountKey) -> Process {
        let known_as = self.known_as(key);
        if self.processes.get(known_as).is_none() && known_as == key.pid {
            // A thread of the kernel, say: nobody has looked at it yet.
            self.processes.refresh(key.pid, Instant::now());
        }
        Process {
            pid: key.pid,
            ..self.processes.described(known_as)
        }
    }

    pub(super) fn costs(&self) -> Costs {
        Costs::now(self.settings.measure.then(|| self.programs.run_time()))
    }

    /// Lengthens or shortens the periods of elastic sessions by what we have used since the last time.
    fn keep_budget(&mut self, now: Instant) {
        if self.budget.keep(self.costs(), now).is_none() {
            return;
        }
        let elastic = self.sessions.iter().filter(|(_, it)| it.request.elastic);
        for session in elastic.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.stretch(session);
        }
    }

    fn stretch(&mut self, session: u64) {
        let Some(running) = self.sessions.get(&session) else {
            return;
        };
        let (before, request) = (running.period(), &running.request);
        if request.kind == Kind::OffCpu {
            return;
        }
        let former = Request {
            period: Duration::from_nanos(before.into()),
            ..request.clone()
        };
        let longer = self.budget.stretched(request);
        if let Err(error) = self
            .attach(&longer)
            .map_err(|it| it.to_string())
            .and_then(|()| {
                self.set_targets(session, &longer)
                    .map_err(|it| it.to_string())
            })
        {
            warn!(error, "capture: cannot change the period");
            // There was room for these.
            let _ = self.set_targets(session, &former);
            self.detach_unused(period_of(&longer));
            return;
        }
        self.detach_unused(before);
        if let Some(running) = self.sessions.get_mut(&session) {
            running.set_period(period_of(&longer));
        }
    }
}

/// Shows on the metrics page what the programs have counted.
fn export(counters: &Counters, rules_lost: u64) {
    let lost = [
        ("ring", counters.ring_full),
        ("counts", counters.counts_full),
        ("waits", counters.waits_full),
        ("unknown", counters.too_many),
    ];
    for (reason, count) in lost {
        metrics::SAMPLES_LOST.counter(&[reason]).absolute(count);
    }
    let incomplete = [
        ("unreadable", counters.unreadable),
        ("rule", counters.no_rule),
        ("frame_pointer", counters.lost),
    ];
    for (reason, count) in incomplete {
        metrics::STACKS_INCOMPLETE
            .counter(&[reason])
            .absolute(count);
    }
    // Beyond 2^53 nobody counts.
    metrics::RULES_LOST.gauge(&[]).set(rules_lost as f64);
}
