//! What the kernel's programs sample, as the sum of what running sessions want.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::bpf::layout::{Target, TargetKey};
use crate::engine::{Request, Targets};
use crate::profile::Kind;

/// A change of the map of targets.
pub(super) type Change = (TargetKey, Option<Target>);

/// Which sessions want which target.
#[derive(Default)]
pub(super) struct Wanted {
    by_key: HashMap<TargetKey, HashMap<u64, Target>>,
}

/// Nanoseconds between samples, as the kernel's map has it; 0 for off-CPU.
pub(super) fn period_of(request: &Request) -> u32 {
    match request.kind {
        Kind::OnCpu => u32::try_from(request.period.as_nanos())
            .unwrap_or(u32::MAX)
            .max(1),
        Kind::OffCpu => 0,
    }
}

/// The keys of a request's targets.
pub(super) fn keys(targets: &Targets, period: u32) -> Vec<TargetKey> {
    match targets {
        Targets::All => vec![TargetKey { pid: 0, period }],
        Targets::Processes(pids) => pids.iter().map(|&pid| TargetKey { pid, period }).collect(),
    }
}

impl Wanted {
    /// A session wants exactly `keys` from now on, and of those that are new what `target` says.
    pub(super) fn set(&mut self, session: u64, keys: &[TargetKey], target: Target) -> Vec<Change> {
        let mut changed: Vec<TargetKey> = Vec::new();
        for (key, sessions) in &mut self.by_key {
            if !keys.contains(key) && sessions.remove(&session).is_some() {
                changed.push(*key);
            }
        }
        for &key in keys {
            if let Entry::Vacant(new) = self.by_key.entry(key).or_default().entry(session) {
                new.insert(target);
                changed.push(key);
            }
        }
        let changes = changed
            .into_iter()
            .map(|key| (key, self.target(key)))
            .collect();
        self.by_key.retain(|_, sessions| !sessions.is_empty());
        changes
    }

    /// Whether any session samples with this period.
    pub(super) fn has_period(&self, period: u32) -> bool {
        self.by_key.keys().any(|key| key.period == period)
    }

    fn target(&self, key: TargetKey) -> Option<Target> {
        let sessions = || self.by_key.get(&key).into_iter().flat_map(HashMap::values);
        let minimum = sessions().map(|it| it.minimum).min()?;
        let since = sessions().map(|it| it.since).min()?;
        Some(Target { minimum, since })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TargetKey = TargetKey { pid: 7, period: 0 };

    fn of(changes: &[Change]) -> Vec<(u32, Option<u64>)> {
        changes
            .iter()
            .map(|(key, target)| (key.pid, target.map(|it| it.minimum)))
            .collect()
    }

    fn target(minimum: u64, since: u64) -> Target {
        Target { minimum, since }
    }

    #[test]
    fn a_target_stays_while_one_session_wants_it_and_the_shortest_wait_counts() {
        let mut wanted = Wanted::default();
        assert_eq!(of(&wanted.set(1, &[KEY], target(500, 7))), [(7, Some(500))]);
        let changes = wanted.set(2, &[KEY], target(100, 9));
        assert_eq!(of(&changes), [(7, Some(100))]);
        assert_eq!(changes[0].1.map(|it| it.since), Some(7));
        assert_eq!(of(&wanted.set(2, &[], target(100, 9))), [(7, Some(500))]);
        assert!(wanted.has_period(0));
        assert_eq!(of(&wanted.set(1, &[], target(0, 0))), [(7, None)]);
        assert!(!wanted.has_period(0));
    }

    #[test]
    fn what_stays_the_same_is_no_change() {
        let mut wanted = Wanted::default();
        wanted.set(1, &[KEY], target(0, 1));
        let other = TargetKey { pid: 8, period: 0 };
        assert_eq!(
            of(&wanted.set(1, &[KEY, other], target(0, 2))),
            [(8, Some(0))]
        );
        assert_eq!(of(&wanted.set(1, &[other], target(0, 3))), [(7, None)]);
    }
}
