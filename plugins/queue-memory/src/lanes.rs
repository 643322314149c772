//! The lanes of one partition: what its lock guards.
//!
//! Lanes live in slots; an empty one is removed, and what is known of a route when nothing of it is
//! queued or in flight, so that keys and tokens that come and go leave nothing behind. Whoever calls
//! wakes the consumer and gives charges back after the lock is released: nothing here touches a gate.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use perigee_plugin_api::queue::{LaneKey, Level, Limits, Next, Record, Settled};

use crate::lane::Lane;
use crate::order::{Order, Place};

/// Slots that are kept when the last lane is gone.
const KEPT_SLOTS: usize = 64;

#[derive(Debug)]
struct Slot {
    /// `None` while the slot is free.
    lane: Option<Lane>,
    /// Where `order` has it.
    place: Option<Place>,
}

/// What lanes of one route share.
#[derive(Debug, Default)]
struct Route {
    /// One of them has a batch in flight, which the next one of any has to wait for.
    busy: bool,
    /// Their slots.
    slots: Vec<usize>,
}

/// All lanes of a partition.
#[derive(Debug)]
pub(crate) struct Lanes {
    index: HashMap<LaneKey, usize>,
    routes: HashMap<Arc<[u8]>, Route>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// The slot of the latest push: most pushes go where the one before went.
    last: usize,
    order: Order,
    queued: Settled,
    in_flight: u64,
    /// What a full batch is, as the consumer said last.
    full_count: u32,
    full_bytes: u64,
    closed: bool,
    waker: Option<Waker>,
}

impl Lanes {
    pub(crate) fn new() -> Self {
        Self {
            index: HashMap::new(),
            routes: HashMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            last: 0,
            order: Order::default(),
            queued: Settled { count: 0, bytes: 0 },
            in_flight: 0,
            full_count: u32::MAX,
            full_bytes: u64::MAX,
            closed: false,
            waker: None,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Messages and bytes that wait.
    pub(crate) fn queued(&self) -> Settled {
        self.queued
    }

    /// Appends to the record's lane; hands out the waker if the consumer has to look again.
    pub(crate) fn push(&mut self, record: &Record<'_>) -> Option<Waker> {
        let slot = self.slot_of(record.lane);
        let Some(lane) = &mut self.slots[slot].lane else {
            return None;
        };
        lane.push(record);
        self.queued.count += u64::from(record.count);
        self.queued.bytes += record.messages.len() as u64;
        self.last = slot;
        if self.replace(slot) {
            self.waker.take()
        } else {
            None
        }
    }

    /// The slot of a lane, made if there is none.
    fn slot_of(&mut self, key: &LaneKey) -> usize {
        if let Some(Slot {
            lane: Some(lane), ..
        }) = self.slots.get(self.last)
            && lane.key() == key
        {
            return self.last;
        }
        if let Some(slot) = self.index.get(key) {
            return *slot;
        }
        let made = Slot {
            lane: Some(Lane::new(key.clone())),
            place: None,
        };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = made;
                slot
            }
            None => {
                self.slots.push(made);
                self.slots.len() - 1
            }
        };
        self.index.insert(key.clone(), slot);
        if let Some(route) = &key.route {
            let route = self.routes.entry(Arc::clone(route)).or_default();
            route.slots.push(slot);
        }
        slot
    }

    /// Puts a lane where it belongs after any change to it, which may be nowhere; says whether a
    /// waiting consumer has to look again.
    fn replace(&mut self, slot: usize) -> bool {
        let Slot {
            lane: Some(lane),
            place,
        } = &mut self.slots[slot]
        else {
            return false;
        };
        let is_busy = |route| self.routes.get(route).is_some_and(|route| route.busy);
        let wanted = lane.oldest().map(|oldest| Place {
            oldest,
            held: lane.key().route.as_ref().is_some_and(is_busy),
            full: lane.holds(self.full_count, self.full_bytes),
        });
        let sooner = self.order.set(slot, *place, wanted);
        *place = wanted;
        if wanted.is_none() {
            self.remove(slot);
        }
        sooner
    }

    /// Says whether one of the route's lanes has a batch in flight. Whether a waiting consumer has
    /// to look again.
    fn set_busy(&mut self, key: &Arc<[u8]>, busy: bool) -> bool {
        let Some(route) = self.routes.get_mut(key) else {
            return false;
        };
        route.busy = busy;
        if route.slots.is_empty() {
            if !busy {
                self.routes.remove(key);
            }
            return false;
        }
        let slots = route.slots.clone();
        slots
            .into_iter()
            .fold(false, |sooner, slot| self.replace(slot) | sooner)
    }

    fn remove(&mut self, slot: usize) {
        if let Some(lane) = self.slots[slot].lane.take() {
            self.index.remove(lane.key());
            self.free.push(slot);
            if let Some(key) = &lane.key().route
                && let Some(route) = self.routes.get_mut(key)
            {
                route.slots.retain(|other| *other != slot);
                if route.slots.is_empty() && !route.busy {
                    self.routes.remove(key);
                }
            }
        }
        if self.index.is_empty() && self.slots.len() > KEPT_SLOTS {
            self.index = HashMap::new();
            self.slots = Vec::new();
            self.free = Vec::new();
        }
    }

    /// The next batch; keeps the waker if there is none.
    pub(crate) fn next(&mut self, limits: &Limits, now: Instant, waker: &Waker) -> Next {
        self.set_full(limits.count, limits.bytes);
        if let Some(slot) = self.due(limits, now)
            && let Some(lane) = &mut self.slots[slot].lane
            && let Some(batch) = lane.take(limits)
        {
            let route = lane.key().route.clone();
            self.queued.count -= u64::from(batch.count);
            self.queued.bytes -= batch.bytes;
            self.in_flight += u64::from(batch.count);
            match route {
                Some(route) => self.set_busy(&route, true),
                None => self.replace(slot),
            };
            self.waker = None;
            return Next::Batch(batch);
        }
        if self.closed && self.queued.bytes == 0 {
            self.waker = None;
            return Next::Closed;
        }
        match &mut self.waker {
            Some(kept) => kept.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        let first = self.order.first_ready();
        Next::Wait(first.and_then(|(oldest, _)| oldest.checked_add(limits.linger)))
    }

    fn due(&self, limits: &Limits, now: Instant) -> Option<usize> {
        let (oldest, slot) = self.order.first_ready()?;
        if self.closed || now.saturating_duration_since(oldest) >= limits.linger {
            return Some(slot);
        }
        self.order.first_full().map(|(_, slot)| slot)
    }

    /// Sorts all lanes anew if a full batch is something else than before.
    fn set_full(&mut self, count: u32, bytes: u64) {
        if (self.full_count, self.full_bytes) == (count, bytes) {
            return;
        }
        (self.full_count, self.full_bytes) = (count, bytes);
        for slot in 0..self.slots.len() {
            self.replace(slot);
        }
    }

    /// Lets go of the oldest messages until `need` is met or nothing waits.
    pub(crate) fn shed(&mut self, need: Settled) -> Settled {
        let mut shed = Settled { count: 0, bytes: 0 };
        while (shed.count < need.count || shed.bytes < need.bytes)
            && let Some((_, slot)) = self.order.first()
            && let Some(lane) = &mut self.slots[slot].lane
        {
            let gone = lane.shed(Settled {
                count: need.count.saturating_sub(shed.count),
                bytes: need.bytes.saturating_sub(shed.bytes),
            });
            shed.count += gone.count;
            shed.bytes += gone.bytes;
            self.replace(slot);
        }
        self.queued.count -= shed.count;
        self.queued.bytes -= shed.bytes;
        shed
    }

    /// Takes messages in flight off the books, and frees the lane after its `last`; hands out the
    /// waker if the consumer has to look again.
    pub(crate) fn settle(&mut self, key: &LaneKey, count: u64, last: bool) -> Option<Waker> {
        debug_assert!(
            self.in_flight >= count,
            "settled {count} of {}",
            self.in_flight
        );
        self.in_flight = self.in_flight.saturating_sub(count);
        let route = key.route.as_ref().filter(|_| last)?;
        if self.set_busy(route, false) {
            self.waker.take()
        } else {
            None
        }
    }

    /// Makes everything due; hands out the waker.
    pub(crate) fn close(&mut self) -> Option<Waker> {
        self.closed = true;
        self.waker.take()
    }

    pub(crate) fn level(&self) -> Level {
        Level {
            queued: self.queued.count,
            queued_bytes: self.queued.bytes,
            in_flight: self.in_flight,
            oldest: self.order.first().map(|(oldest, _)| oldest),
        }
    }

    /// Lanes that are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }
}
