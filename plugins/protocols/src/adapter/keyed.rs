//! Messages that say themselves where they belong.

use std::sync::Arc;
use std::time::Instant;

use super::{Inbound, Lane, Outbox};
use crate::peek;

/// Reads the key of each message.
pub(super) struct Keyed {
    fields: &'static [&'static [u32]],
    lane: Lane,
    key: Vec<u8>,
}

impl Keyed {
    pub(super) fn new(fields: &'static [&'static [u32]]) -> Self {
        Self {
            fields,
            lane: Lane::default(),
            key: Vec::new(),
        }
    }
}

impl Inbound for Keyed {
    fn take(&mut self, message: &[u8], _now: Instant, out: &mut Outbox) {
        self.key.clear();
        if peek::route_key(self.fields, message, &mut self.key)
            && self.lane.route.as_deref() != Some(&self.key)
        {
            self.lane.route = Some(Arc::from(self.key.as_slice()));
        }
        out.copy(&self.lane, message);
    }
}
