//! What of a `MeterData` decides about its set.

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

/// A meter.
#[derive(Default)]
pub(super) struct Meter<'a> {
    pub(super) service: &'a [u8],
    pub(super) instance: &'a [u8],
    /// In milliseconds.
    pub(super) timestamp: Option<u64>,
    /// Its value: the field and the message.
    value: Option<(u32, &'a [u8])>,
}

impl<'a> Meter<'a> {
    /// Kind, name and labels, which stand once in a set. `None`: there is no value.
    pub(super) fn identity(&self) -> Option<(u32, Vec<&'a [u8]>)> {
        let (kind, value) = self.value?;
        let parts = fields(value).flatten();
        let parts = parts.filter(|field| matches!(field.number, NAME | LABELS));
        Some((kind, parts.map(|field| field.raw).collect()))
    }
}

/// Reads a meter, all of it: OAP refuses text that is not UTF-8 too.
pub(super) fn read(message: &[u8]) -> Result<Meter<'_>, Malformed> {
    let mut meter = Meter::default();
    for field in fields(message) {
        let field = field?;
        match (field.number, field.value) {
            (SINGLE_VALUE | HISTOGRAM, Value::Bytes(value)) => {
                check_value(field.number, value)?;
                meter.value = Some((field.number, value));
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

fn check_value(kind: u32, value: &[u8]) -> Result<(), Malformed> {
    for field in fields(value) {
        let field = field?;
        if let Some(name) = field.bytes(NAME) {
            text(name)?;
        }
        if let Some(label) = field.bytes(LABELS) {
            for part in fields(label) {
                if let Value::Bytes(bytes) = part?.value {
                    text(bytes)?;
                }
            }
        }
        if let Some(bucket) = field.bytes(VALUES).filter(|_| kind == HISTOGRAM) {
            for part in fields(bucket) {
                part?;
            }
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<&[u8], Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed)?;
    Ok(bytes)
}
