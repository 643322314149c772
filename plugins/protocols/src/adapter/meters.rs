//! Meters: to an OAP a call of `collect` is one set, which it works out when the call ends.
//!
//! Several agents never end it. So sets are cut out of the call where a new one must have begun,
//! and each goes on as one `MeterDataCollection`, which an OAP works out at once (`protocols.md`
//! T4, `decisions.md` 27).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Inbound, LONGEST_NAME, Lane, Loss, Outbox};
use crate::peek;
use crate::wire::{put_bytes, put_number};

mod meter;

use meter::Meter;

/// `MeterDataCollection.meterData`.
const METER_DATA: u32 = 1;

/// A set is whole when nothing has come for so long, and its times are no further apart. They are
/// apart: Python and Rust agents look at the clock for each meter.
const SILENCE: Duration = Duration::from_secs(1);

/// The same in what a meter's time is in.
const LONGEST_APART: u64 = SILENCE.as_millis() as u64;

/// A longer set goes on in two.
const LONGEST: usize = 1024 * 1024;

/// Bytes that a meter takes to be known again.
const SEEN: usize = 9;

/// Cuts sets out of a call.
#[derive(Default)]
pub(super) struct Meters {
    /// What the call has named last: a set that does not name it is of the same instance.
    service: Vec<u8>,
    instance: Vec<u8>,
    timestamp: Option<(u64, Instant)>,
    set: Option<Set>,
}

struct Set {
    /// Gets the names, so it stands apart.
    first: Vec<u8>,
    /// As they stand in a collection.
    others: Vec<u8>,
    count: u32,
    seen: HashSet<u64>,
    timestamp: Option<u64>,
    latest: Instant,
}

impl Meters {
    /// Whether the meter cannot be of the set that is being collected.
    fn is_of_another_set(&self, meter: &Meter<'_>, length: usize) -> bool {
        let Some(set) = &self.set else {
            return false;
        };
        let differs =
            |own: &[u8], known: &[u8]| !own.is_empty() && !known.is_empty() && own != known;
        let apart = meter.timestamp.zip(set.timestamp);
        meter.identity.is_some_and(|id| set.seen.contains(&id))
            || differs(meter.service, &self.service)
            || differs(meter.instance, &self.instance)
            || apart.is_some_and(|(own, others)| own.abs_diff(others) > LONGEST_APART)
            || set.len() + length > LONGEST
    }

    fn add(&mut self, meter: &Meter<'_>, message: &[u8], now: Instant) {
        if !meter.service.is_empty() {
            self.service = meter.service.to_vec();
        }
        if !meter.instance.is_empty() {
            self.instance = meter.instance.to_vec();
        }
        let set = match &mut self.set {
            Some(set) => {
                put_bytes(&mut set.others, METER_DATA, message);
                set
            }
            none => none.insert(Set {
                first: message.to_vec(),
                others: Vec::new(),
                count: 0,
                seen: HashSet::new(),
                timestamp: None,
                latest: now,
            }),
        };
        set.count += 1;
        set.seen.extend(meter.identity);
        set.latest = now;
        if let Some(timestamp) = meter.timestamp {
            set.timestamp = Some(timestamp);
            self.timestamp = Some((timestamp, now));
        }
    }

    /// When the set is of: its own time, or that of the one before and what has passed since.
    fn time_of(&self, set: &Set) -> Option<u64> {
        set.timestamp.or_else(|| {
            let (before, at) = self.timestamp?;
            let since = set.latest.saturating_duration_since(at).as_millis();
            Some(before.saturating_add(u64::try_from(since).ok()?))
        })
    }

    fn pass_on(&mut self, out: &mut Outbox) {
        let Some(mut set) = self.set.take() else {
            return;
        };
        // Of several values of a field the last counts, and of several meters' names too.
        for (number, name) in [
            (meter::SERVICE, &self.service),
            (meter::INSTANCE, &self.instance),
        ] {
            if !name.is_empty() {
                put_bytes(&mut set.first, number, name);
            }
        }
        if let Some(timestamp) = self.time_of(&set) {
            put_number(&mut set.first, meter::TIMESTAMP, timestamp);
        }
        let mut key = Vec::new();
        let named = peek::key_of(&[&self.service, &self.instance], &mut key);
        let lane = Lane {
            route: named.then(|| Arc::from(key)),
            group: None,
        };
        out.message(&lane, set.count, |out| {
            put_bytes(out, METER_DATA, &set.first);
            out.extend_from_slice(&set.others);
        });
    }
}

impl Set {
    fn len(&self) -> usize {
        self.first.len() + self.others.len()
    }
}

impl Inbound for Meters {
    fn take(&mut self, message: &[u8], now: Instant, out: &mut Outbox) {
        // One that does not decode would spoil its whole set.
        let Ok(meter) = meter::read(message) else {
            return out.lose(Loss::Malformed, 1);
        };
        if meter.service.len().max(meter.instance.len()) > LONGEST_NAME {
            self.pass_on(out);
            // What follows is not of the instance before.
            self.service.clear();
            self.instance.clear();
            return out.lose(Loss::Oversized, 1);
        }
        if self.is_of_another_set(&meter, message.len()) {
            self.pass_on(out);
        }
        self.add(&meter, message, now);
    }

    fn holds(&self) -> bool {
        true
    }

    fn held(&self) -> u64 {
        let set = self.set.as_ref();
        set.map_or(0, |set| (set.len() + set.seen.capacity() * SEEN) as u64)
    }

    fn release(&mut self, out: &mut Outbox) {
        self.pass_on(out);
    }

    fn due(&self) -> Option<Instant> {
        self.set.as_ref().map(|set| set.latest + SILENCE)
    }

    fn tick(&mut self, now: Instant, out: &mut Outbox) {
        if self.due().is_some_and(|due| due <= now) {
            self.pass_on(out);
        }
    }

    fn end(&mut self, _now: Instant, out: &mut Outbox) {
        self.pass_on(out);
    }
}
