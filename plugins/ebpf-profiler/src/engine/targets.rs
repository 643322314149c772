//! What the kernel's programs sample, as the sum of what running sessions want.

use std::collections::HashMap;

use crate::bpf::layout::{Target, TargetKey};
use crate::engine::{Request, Targets};
use crate::profile::Kind;

/// A change of the map of targets.
pub(super) type Change = (TargetKey, Option<Target>);

/// Which sessions want which target.
#[derive(Default)]
pub(super) struct Wanted {
    by_key: HashMap<TargetKey, HashMap<u64, u64>>,
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
    /// A session wants exactly `keys` from now on; waits shorter than `minimum` are nothing to it.
    pub(super) fn set(&mut self, session: u64, keys: &[TargetKey], minimum: u64) -> Vec<Change> {
        let mut changed: Vec<TargetKey> = Vec::new();
        for (key, sessions) in &mut self.by_key {
            if !keys.contains(key) && sessions.remove(&session).is_some() {
                changed.push(*key);
            }
        }
        for &key in keys {
            if self.by_key.entry(key).or_default().insert(session, minimum) != Some(minimum) {
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
        let minimum = self.by_key.get(&key)?.values().min()?;
        Some(Target { minimum: *minimum })
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

    #[test]
    fn a_target_stays_while_one_session_wants_it_and_the_shortest_wait_counts() {
        let mut wanted = Wanted::default();
        assert_eq!(of(&wanted.set(1, &[KEY], 500)), [(7, Some(500))]);
        assert_eq!(of(&wanted.set(2, &[KEY], 100)), [(7, Some(100))]);
        assert_eq!(of(&wanted.set(2, &[], 100)), [(7, Some(500))]);
        assert!(wanted.has_period(0));
        assert_eq!(of(&wanted.set(1, &[], 0)), [(7, None)]);
        assert!(!wanted.has_period(0));
    }

    #[test]
    fn what_stays_the_same_is_no_change() {
        let mut wanted = Wanted::default();
        wanted.set(1, &[KEY], 0);
        let other = TargetKey { pid: 8, period: 0 };
        assert_eq!(of(&wanted.set(1, &[KEY, other], 0)), [(8, Some(0))]);
        assert_eq!(of(&wanted.set(1, &[other], 0)), [(7, None)]);
    }
}
