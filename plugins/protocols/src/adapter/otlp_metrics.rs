//! OTLP metrics: an OAP remembers the counters of a resource, and a request may hold several.
//!
//! A request is split where its resources have different keys, never within a resource
//! (`protocols.md` T13). A resource without key may go to any node (`decisions.md` 30).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::{Inbound, Lane, Loss, Options, Outbox};
use crate::peek;
use crate::wire::{Malformed, fields};

/// `ExportMetricsServiceRequest.resource_metrics`.
const RESOURCE_METRICS: u32 = 1;
/// `ResourceMetrics.resource`, `Resource.attributes`, `KeyValue.key`, `KeyValue.value`.
const RESOURCE: u32 = 1;
const ATTRIBUTES: u32 = 1;
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// An `AnyValue` that holds an empty `string_value`.
const EMPTY_TEXT: &[u8] = &[1 << 3 | 2, 0];

/// What has yet another key goes without it: each part costs a call.
const MOST_PARTS: usize = 1024;

/// Splits requests by their resources' keys.
pub(super) struct OtlpMetrics {
    options: Arc<Options>,
    malformed: bool,
}

/// What goes to one place.
struct Part<'a> {
    lane: Lane,
    resources: Vec<&'a [u8]>,
}

impl OtlpMetrics {
    pub(super) fn new(options: Arc<Options>) -> Self {
        Self {
            options,
            malformed: false,
        }
    }

    fn split<'a>(&self, message: &'a [u8]) -> Result<Vec<Part<'a>>, Malformed> {
        let mut parts: Vec<Part<'a>> = Vec::new();
        let mut places = HashMap::new();
        for field in fields(message) {
            let field = field?;
            let Some(resource_metrics) = field.bytes(RESOURCE_METRICS) else {
                continue;
            };
            let mut key: Option<Arc<[u8]>> = self.key(resource_metrics)?.map(Arc::from);
            if parts.len() >= MOST_PARTS && !places.contains_key(&key) {
                key = None;
            }
            let place = *places.entry(key.clone()).or_insert(parts.len());
            if place == parts.len() {
                parts.push(Part {
                    lane: Lane {
                        route: key,
                        group: None,
                    },
                    resources: Vec::new(),
                });
            }
            parts[place].resources.push(field.raw);
        }
        Ok(parts)
    }

    /// The values of the attributes that make the key; `None` if the resource has none of them.
    fn key(&self, resource_metrics: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
        let labels = &self.options.label_keys;
        let mut values: Vec<&[u8]> = vec![&[]; labels.len()];
        for resource in submessages(resource_metrics, RESOURCE) {
            for attribute in submessages(resource?, ATTRIBUTES) {
                let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
                for field in fields(attribute?) {
                    let field = field?;
                    key = field.bytes(KEY).unwrap_or(key);
                    value = field.bytes(VALUE).unwrap_or(value);
                }
                if let Some(index) = labels.iter().position(|label| label.as_bytes() == key) {
                    values[index] = if value == EMPTY_TEXT { &[] } else { value };
                }
            }
        }
        let mut key = Vec::new();
        Ok(peek::key_of(&values, &mut key).then_some(key))
    }
}

impl Inbound for OtlpMetrics {
    fn take(&mut self, message: &[u8], _now: Instant, out: &mut Outbox) {
        let Ok(parts) = self.split(message) else {
            self.malformed = true;
            return out.lose(Loss::Malformed, 1);
        };
        let [first, _, ..] = parts.as_slice() else {
            let lane = parts.into_iter().next().map(|part| part.lane);
            return out.copy(&lane.unwrap_or_default(), message);
        };
        for part in &parts {
            out.message(&part.lane, 1, |out| {
                for resource in &part.resources {
                    out.extend_from_slice(resource);
                }
                // What nobody knows yet goes along with the first.
                if std::ptr::eq(part, first) {
                    let others = fields(message).flatten();
                    for field in others.filter(|field| field.bytes(RESOURCE_METRICS).is_none()) {
                        out.extend_from_slice(field.raw);
                    }
                }
            });
        }
    }

    fn complaint(&self) -> Option<&'static str> {
        self.malformed.then_some("request does not decode")
    }
}

fn submessages(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    fields(message).filter_map(move |field| match field {
        Ok(field) => field.bytes(number).map(Ok),
        Err(malformed) => Some(Err(malformed)),
    })
}
