//! Logs: a record without service belongs to the service before it in its call.
//!
//! OAP files every record of a call under the first service that the call names, so services
//! never share a call, and each record names its own. Instance and layer are each record's own
//! (`protocols.md` T2, `decisions.md` 25).

use std::sync::Arc;
use std::time::Instant;

use super::{Inbound, LONGEST_NAME, Lane, Loss, Outbox};
use crate::wire::{Malformed, last_bytes, put_bytes};

/// `LogData.service`.
const SERVICE: u32 = 2;

/// Names the service in every record.
#[derive(Default)]
pub(super) struct Logs {
    /// Its group is the service that the call named last.
    lane: Lane,
}

impl Inbound for Logs {
    fn take(&mut self, message: &[u8], _now: Instant, out: &mut Outbox) {
        let own = match last_bytes(message, SERVICE) {
            Ok(own) => own,
            Err(Malformed) => return out.lose(Loss::Malformed, 1),
        };
        if !own.is_empty() {
            return match self.learn(own) {
                Ok(()) => out.copy(&self.lane, message),
                Err(loss) => out.lose(loss, 1),
            };
        }
        let Some(service) = &self.lane.group else {
            return out.lose(Loss::Unattributed, 1);
        };
        out.message(&self.lane, 1, |out| {
            out.extend_from_slice(message);
            // Of several values of a field the last counts.
            put_bytes(out, SERVICE, service);
        });
    }
}

impl Logs {
    fn learn(&mut self, service: &[u8]) -> Result<(), Loss> {
        if self.lane.group.as_deref() == Some(service) {
            return Ok(());
        }
        // What follows one that nobody can use is not of the service before.
        self.lane.group = None;
        // An OAP refuses text that is not UTF-8, so it must not get into what others say.
        if str::from_utf8(service).is_err() {
            return Err(Loss::Malformed);
        }
        if service.len() > LONGEST_NAME {
            return Err(Loss::Oversized);
        }
        self.lane.group = Some(Arc::from(service));
        Ok(())
    }
}
