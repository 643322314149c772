//! What of a `MeterData` decides about its set.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::wire::{Malformed, Value, fields};

/// `MeterData.service`, `serviceInstance` and `timestamp`.
pub(super) const SERVICE: u32 = 3;
pub(super) const INSTANCE: u32 = 4;
pub(super) const TIMESTAMP: u32 = 5;

/// `MeterData.singleValue` and `histogram`: in both, `name` 1 and `labels` 2.
const SINGLE_VALUE: u32 = 1;
const HISTOGRAM: u32 = 2;
const NAME: u32 = 1;
const LABELS: u32 = 2;
/// `MeterHistogram.values`.
const VALUES: u32 = 3;
/// `Label.name` and `value`.
const LABEL_NAME: u32 = 1;
const LABEL_VALUE: u32 = 2;

/// A meter.
#[derive(Default)]
pub(super) struct Meter<'a> {
    pub(super) service: &'a [u8],
    pub(super) instance: &'a [u8],
    /// In milliseconds.
    pub(super) timestamp: Option<u64>,
    /// Kind, name and labels, which stand once in a set. `None`: there is no value.
    pub(super) identity: Option<u64>,
}

/// Reads a meter, all of it: OAP refuses text that is not UTF-8 too.
pub(super) fn read(message: &[u8]) -> Result<Meter<'_>, Malformed> {
    let mut meter = Meter::default();
    for field in fields(message) {
        let field = field?;
        match (field.number, field.value) {
            (kind @ (SINGLE_VALUE | HISTOGRAM), Value::Bytes(value)) => {
                meter.identity = Some(identity(kind, value)?);
            }
            (SERVICE, Value::Bytes(service)) => meter.service = text(service)?,
            (INSTANCE, Value::Bytes(instance)) => meter.instance = text(instance)?,
            (TIMESTAMP, Value::Number(timestamp)) => {
                meter.timestamp = (timestamp != 0).then_some(timestamp);
            }
            _ => {}
        }
    }
    Ok(meter)
}

fn identity(kind: u32, value: &[u8]) -> Result<u64, Malformed> {
    let mut name: &[u8] = &[];
    // A sum, as labels are a set: their order says nothing.
    let mut labels = 0_u64;
    for field in fields(value) {
        let field = field?;
        if let Some(bytes) = field.bytes(NAME) {
            name = text(bytes)?;
        } else if let Some(bytes) = field.bytes(LABELS) {
            labels = labels.wrapping_add(hash(label(bytes)?));
        } else if let Some(bucket) = field.bytes(VALUES).filter(|_| kind == HISTOGRAM) {
            for part in fields(bucket) {
                part?;
            }
        }
    }
    Ok(hash((kind, name, labels)))
}

fn label(label: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in fields(label) {
        let field = field?;
        if let Some(bytes) = field.bytes(LABEL_NAME) {
            name = text(bytes)?;
        } else if let Some(bytes) = field.bytes(LABEL_VALUE) {
            value = text(bytes)?;
        }
    }
    Ok((name, value))
}

fn text(bytes: &[u8]) -> Result<&[u8], Malformed> {
    str::from_utf8(bytes).map_err(|_| Malformed)?;
    Ok(bytes)
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
