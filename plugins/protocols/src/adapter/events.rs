//! Events: one without layer ends the whole call at an OAP (`protocols.md` T8).

use std::time::Instant;

use super::{Inbound, Lane, Loss, Outbox};
use crate::wire::{Malformed, fields};

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
        match has_layer(message) {
            Ok(true) => out.copy(&Lane::default(), message),
            Ok(false) => {
                self.layerless = true;
                out.lose(Loss::Layerless, 1);
            }
            Err(Malformed) => out.lose(Loss::Malformed, 1),
        }
    }

    fn complaint(&self) -> Option<&'static str> {
        self.layerless.then_some("layer is required")
    }
}

fn has_layer(message: &[u8]) -> Result<bool, Malformed> {
    let mut has_layer = false;
    for field in fields(message) {
        if let Some(layer) = field?.bytes(LAYER) {
            has_layer = !layer.is_empty();
        }
    }
    Ok(has_layer)
}
