//! Contexts that messages inherit: who an Envoy is, which node and connection an access log is
//! of, which task a profile belongs to (`protocols.md` T9-T12).
//!
//! A context is a submessage field. In the queue every message begins with its contexts, in the
//! order of their numbers, and a label for each; what a call's previous message says too is left out
//! when they leave. The queue is cold memory, so it is the labels that are compared.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::outbox::{messages, put_message};
use super::{Inbound, Lane, Loss, Outbox};
use crate::wire::{Field, Malformed, fields, put_bytes};

mod identifier;

/// What the messages of a method inherit.
pub(super) struct Contexts {
    /// The fields are 1 to this number.
    count: usize,
    /// Appends what is kept of the first context.
    keep: fn(&[u8], &mut Vec<u8>) -> Result<(), Malformed>,
    /// What messages of one first context, as it is kept, have in common.
    lane: fn(&[u8]) -> Result<Lane, Malformed>,
}

/// OAP's method for proxies takes a new identifier anywhere in a call.
pub(super) const ACCESS_LOGS: Contexts = Contexts {
    count: 1,
    keep: identifier::keep_lean,
    lane: |_| Ok(Lane::default()),
};

/// Of a call's identifiers OAP reads the first only, and it remembers an Envoy's counters.
pub(super) const METRICS: Contexts = Contexts {
    count: 1,
    keep: identifier::keep_lean,
    lane: |identifier| {
        let id = identifier::node_id(identifier)?;
        Ok(Lane {
            route: (!id.is_empty()).then(|| Arc::from(id)),
            group: Some(Arc::from(identifier)),
        })
    },
};

/// Node, then connection. A call has one node.
pub(super) const EBPF_ACCESS_LOGS: Contexts = Contexts {
    count: 2,
    keep: keep_whole,
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
    keep: keep_whole,
    lane: |_| Ok(Lane::default()),
};

/// Most contexts that a method has.
const MOST: usize = 2;

/// Longest context that is kept. Every message of the call is made longer by it.
const LONGEST: usize = 64 * 1024;

impl Contexts {
    /// Which context the field is, and what it says.
    fn context<'a>(&self, field: &Field<'a>) -> Option<(usize, &'a [u8])> {
        let index = field.number as usize - 1;
        (index < self.count).then_some((index, field.bytes(field.number)?))
    }

    /// The contexts of a message; of one that is malformed, those that stand before that.
    fn find<'a>(
        &self,
        message: &'a [u8],
        found: &mut [Option<Cow<'a, [u8]>>; MOST],
    ) -> Result<(), Loss> {
        for field in fields(message) {
            if let Some((index, context)) = self.context(&field?) {
                match &mut found[index] {
                    // A field that stands there twice is one message in two parts.
                    Some(found) => found.to_mut().extend_from_slice(context),
                    none => *none = Some(Cow::Borrowed(context)),
                }
            }
        }
        Ok(())
    }
}

/// Nobody can make a context that is taken for another's.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));

/// Writes their contexts into messages that do not bring them.
pub(super) struct Inherited {
    contexts: &'static Contexts,
    /// The latest of each.
    known: [Option<Known>; MOST],
    lane: Lane,
}

/// A context that a call has said.
struct Known {
    /// As a field.
    field: Vec<u8>,
    /// Its hash: whoever looks for repetitions need not read all of it.
    hash: u128,
}

impl Inherited {
    pub(super) fn new(contexts: &'static Contexts) -> Self {
        Self {
            contexts,
            known: Default::default(),
            lane: Lane::default(),
        }
    }

    /// Remembers what the message brings along, and says whether that was anything. What it brings
    /// and nobody can read is not known any more: what follows is not of the one before.
    fn learn(&mut self, message: &[u8]) -> Result<bool, Loss> {
        let mut brought: [Option<Cow<'_, [u8]>>; MOST] = Default::default();
        let mut read = self.contexts.find(message, &mut brought);
        for (index, context) in brought.iter().enumerate() {
            if let Some(context) = context {
                self.known[index] = None;
                if read.is_ok() {
                    read = self.keep(index, context);
                }
            }
        }
        read.map(|()| brought.iter().any(Option::is_some))
    }

    fn keep(&mut self, index: usize, context: &[u8]) -> Result<(), Loss> {
        let mut kept = Vec::new();
        if index == 0 {
            (self.contexts.keep)(context, &mut kept)?;
            self.lane = (self.contexts.lane)(&kept)?;
        } else {
            keep_whole(context, &mut kept)?;
        }
        if kept.len() > LONGEST {
            return Err(Loss::Oversized);
        }
        let mut field = Vec::new();
        put_bytes(&mut field, index as u32 + 1, &kept);
        let hash = xxh3_128_with_seed(&field, *SEED);
        self.known[index] = Some(Known { field, hash });
        Ok(())
    }
}

impl Inbound for Inherited {
    fn take(&mut self, message: &[u8], _now: Instant, out: &mut Outbox) {
        let brings = match self.learn(message) {
            Ok(brings) => brings,
            Err(loss) => return out.lose(loss, 1),
        };
        let known = &self.known[..self.contexts.count];
        if known.iter().any(Option::is_none) {
            return out.lose(Loss::Unattributed, 1);
        }
        out.message(&self.lane, 1, |out| {
            for known in known.iter().flatten() {
                out.extend_from_slice(&known.hash.to_le_bytes());
                out.extend_from_slice(&(known.field.len() as u32).to_le_bytes());
            }
            for known in known.iter().flatten() {
                out.extend_from_slice(&known.field);
            }
            if !brings {
                return out.extend_from_slice(message);
            }
            // Already read once, so nothing here is malformed.
            for field in fields(message).flatten() {
                if self.contexts.context(&field).is_none() {
                    out.extend_from_slice(field.raw);
                }
            }
        });
    }

    fn held(&self) -> u64 {
        let known = self.known.iter().flatten().map(|known| known.field.len());
        let group = self.lane.group.as_ref().map_or(0, |group| group.len());
        (known.sum::<usize>() + group) as u64
    }

    fn release(&mut self, _out: &mut Outbox) {
        self.known = Default::default();
        self.lane = Lane::default();
    }

    fn end(&mut self, _now: Instant, out: &mut Outbox) {
        self.release(out);
    }
}

/// Keeps all of a context.
fn keep_whole(context: &[u8], kept: &mut Vec<u8>) -> Result<(), Malformed> {
    for field in fields(context) {
        kept.extend_from_slice(field?.raw);
    }
    Ok(())
}

/// What a queued message says of each of its contexts before them: hash and length.
const LABEL: usize = size_of::<u128>() + size_of::<u32>();

impl Contexts {
    /// One call's messages: of the contexts of each, those are left out that the message before
    /// says too.
    pub(super) fn leave_out_repeated(&self, chunks: &[Bytes]) -> Vec<Bytes> {
        let mut call = Vec::with_capacity(chunks.iter().map(Bytes::len).sum());
        let mut before: &[u8] = &[];
        for queued in chunks.iter().flat_map(|chunk| messages(chunk)) {
            // What an adapter has queued begins with its labels.
            let Some((labels, message)) = queued.split_at_checked(self.count * LABEL) else {
                continue;
            };
            let pairs = labels.chunks(LABEL).zip(before.chunks(LABEL));
            let repeated = pairs.take_while(|(own, before)| own == before);
            let said: usize = repeated.map(|(own, _)| length_of(own)).sum();
            put_message(&mut call, |call| {
                call.extend_from_slice(message.get(said..).unwrap_or_default());
            });
            before = labels;
        }
        vec![call.into()]
    }
}

/// How long the context of a label is.
fn length_of(label: &[u8]) -> usize {
    let length = label
        .last_chunk()
        .map_or(0, |length| u32::from_le_bytes(*length));
    length as usize
}
