//! Events: one without layer ends the whole call at an OAP (`protocols.md` T8).

use std::time::Instant;

use super::{Inbound, Lane, Loss, Outbox};
use crate::wire::{Malformed, last_bytes};

/// `Event.layer`.
const LAYER: u32 = 9;

/// Keeps back what would end the call. The client is told when it has sent everything, so that
/// what it sends after a bad event still arrives (`decisions.md` 18).
#[derive(Default)]
pub(super) struct Events {
    layerless: bool,
}

impl Inbound for Events {
    fn take(&mut self, message: &[u8], _now: Instant, out: &mut Outbox) {
        match last_bytes(message, LAYER) {
            Ok([]) => {
                self.layerless = true;
                out.lose(Loss::Layerless, 1);
            }
            Ok(_) => out.copy(&Lane::default(), message),
            Err(Malformed) => out.lose(Loss::Malformed, 1),
        }
    }

    fn complaint(&self) -> Option<&'static str> {
        self.layerless.then_some("layer is required")
    }
}
