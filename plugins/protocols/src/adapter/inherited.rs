//! Contexts that messages inherit: who an Envoy is, which node and connection an access log is
//! of, which task a profile belongs to (`protocols.md` T9-T12).
//!
//! A context is a submessage field. In the queue every message begins with its contexts, in the
//! order of their numbers; what a call's previous message says too is left out when they leave.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::outbox::{messages, put_message};
use super::{Inbound, Lane, Loss, Outbox};
use crate::wire::{Malformed, fields, put_bytes};

/// What the messages of a method inherit.
pub(super) struct Contexts {
    /// The fields are 1 to this number.
    count: u32,
    /// What is kept of the first context.
    kept: fn(&[u8]) -> Result<Vec<u8>, Malformed>,
    /// What messages of one first context have in common.
    lane: fn(&[u8]) -> Result<Lane, Malformed>,
}

/// OAP's method for proxies takes a new identifier anywhere in a call.
pub(super) const ACCESS_LOGS: Contexts = Contexts {
    count: 1,
    kept: lean_identifier,
    lane: |_| Ok(Lane::default()),
};

/// Of a call's identifiers OAP reads the first only, and it remembers an Envoy's counters.
pub(super) const METRICS: Contexts = Contexts {
    count: 1,
    kept: lean_identifier,
    lane: |identifier| {
        let id = submessage(submessage(identifier, NODE)?, NODE_ID)?;
        Ok(Lane {
            route: (!id.is_empty()).then(|| Arc::from(id)),
            group: Some(Arc::from(identifier)),
        })
    },
};

/// Node, then connection. A call has one node.
pub(super) const EBPF_ACCESS_LOGS: Contexts = Contexts {
    count: 2,
    kept: |node| Ok(node.to_vec()),
    lane: |node| {
        Ok(Lane {
            route: None,
            group: Some(Arc::from(node)),
        })
    },
};

/// The task.
pub(super) const EBPF_PROFILING: Contexts = Contexts {
    count: 1,
    kept: |task| Ok(task.to_vec()),
    lane: |_| Ok(Lane::default()),
};

/// `Identifier.node`.
const NODE: u32 = 1;
/// `Node.id`.
const NODE_ID: u32 = 1;

/// Writes their contexts into messages that do not bring them.
pub(super) struct Inherited {
    contexts: &'static Contexts,
    /// The latest of each, as they are written.
    known: Vec<Option<Vec<u8>>>,
    lane: Lane,
}

impl Inherited {
    pub(super) fn new(contexts: &'static Contexts) -> Self {
        Self {
            contexts,
            known: vec![None; contexts.count as usize],
            lane: Lane::default(),
        }
    }

    /// Remembers what the message brings along.
    fn learn(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let mut brought: Vec<Option<Vec<u8>>> = Vec::new();
        for field in fields(message) {
            let field = field?;
            let Some(context) = field.bytes(field.number) else {
                continue;
            };
            if (1..=self.contexts.count).contains(&field.number) {
                brought.resize(self.known.len(), None);
                // A field that stands there twice is one message in two parts.
                brought[field.number as usize - 1]
                    .get_or_insert_default()
                    .extend_from_slice(context);
            }
        }
        for (index, context) in brought.into_iter().enumerate() {
            let Some(mut context) = context else { continue };
            if index == 0 {
                context = (self.contexts.kept)(&context)?;
                self.lane = (self.contexts.lane)(&context)?;
            }
            self.known[index] = Some(context);
        }
        Ok(())
    }
}

impl Inbound for Inherited {
    fn take(&mut self, message: &[u8], _now: Instant, out: &mut Outbox) {
        if self.learn(message) == Err(Malformed) {
            return out.lose(Loss::Malformed, 1);
        }
        if self.known.contains(&None) {
            return out.lose(Loss::Unattributed, 1);
        }
        out.message(&self.lane, 1, |out| {
            for (number, context) in (1..).zip(self.known.iter().flatten()) {
                put_bytes(out, number, context);
            }
            // Already read once, so nothing here is malformed.
            for field in fields(message).flatten() {
                if field.number > self.contexts.count {
                    out.extend_from_slice(field.raw);
                }
            }
        });
    }
}

/// Most contexts that a method has.
const MOST_CONTEXTS: usize = 2;

/// One call's messages: of the first `contexts` fields of each, those are left out that the
/// message before says too.
pub(super) fn leave_out_repeated(chunks: &[Bytes], contexts: usize) -> Vec<u8> {
    let mut call = Vec::with_capacity(chunks.iter().map(Bytes::len).sum());
    let mut before: [&[u8]; MOST_CONTEXTS] = Default::default();
    for message in chunks.iter().flat_map(|chunk| messages(chunk)) {
        let mut own: [&[u8]; MOST_CONTEXTS] = Default::default();
        for (own, field) in own.iter_mut().zip(fields(message).flatten().take(contexts)) {
            *own = field.raw;
        }
        let pairs = own.iter().zip(&before);
        let repeated = pairs.take_while(|(own, before)| own == before);
        let said: usize = repeated.map(|(own, _)| own.len()).sum();
        put_message(&mut call, |call| call.extend_from_slice(&message[said..]));
        before = own;
    }
    call
}

/// The identifier without what no OAP reads of its node: user agent, extensions and client
/// features, which are most of its 60 KiB.
fn lean_identifier(identifier: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut lean = Vec::new();
    for field in fields(identifier) {
        let field = field?;
        match field.bytes(NODE) {
            Some(node) => put_bytes(&mut lean, NODE, &lean_node(node)?),
            None => lean.extend_from_slice(field.raw),
        }
    }
    Ok(lean)
}

fn lean_node(node: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut lean = Vec::new();
    for field in fields(node) {
        let field = field?;
        if !(6..=10).contains(&field.number) {
            lean.extend_from_slice(field.raw);
        }
    }
    Ok(lean)
}

/// The last value of a field, empty if there is none.
fn submessage(message: &[u8], number: u32) -> Result<&[u8], Malformed> {
    let mut last: &[u8] = &[];
    for field in fields(message) {
        if let Some(bytes) = field?.bytes(number) {
            last = bytes;
        }
    }
    Ok(last)
}
