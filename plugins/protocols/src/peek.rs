//! Reads a routing key out of an encoded message, without decoding the rest.

use xxhash_rust::xxh3::xxh3_128;

use crate::wire::{Malformed, Value, fields};

/// Appends the routing key of a message: the values of the fields that a row names, each with its
/// length before it, so that different values never make the same key; of a long key its hash.
///
/// Each field is a path of field numbers from the message down. Of several elements on the way the
/// first counts, of several values at its end the last, and an empty value counts as missing, as
/// in proto3. `false`, with nothing appended, when every field is missing or when the bytes that
/// had to be read are no message.
pub fn route_key(paths: &[&[u32]], message: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut present = false;
    for path in paths {
        let Ok(value) = find(path, message) else {
            out.truncate(start);
            return false;
        };
        present |= !is_missing(value);
        append(value, out);
    }
    if present {
        shorten(start, out);
    } else {
        out.truncate(start);
    }
    present
}

/// Appends the routing key of these values, made as [`route_key`] makes it of fields that hold
/// them; `false`, with nothing appended, when all are empty.
pub fn key_of(values: &[&[u8]], out: &mut Vec<u8>) -> bool {
    if values.iter().all(|value| value.is_empty()) {
        return false;
    }
    let start = out.len();
    for value in values {
        append(Value::Bytes(value), out);
    }
    shorten(start, out);
    true
}

/// Longest key that stands for itself. Keys are kept as long as anything is open or queued.
const LONGEST: usize = 512;

/// Puts its hash in the place of a longer key, on every replica the same.
fn shorten(start: usize, out: &mut Vec<u8>) {
    if out.len() - start > LONGEST {
        let hash = xxh3_128(&out[start..]);
        out.truncate(start);
        out.extend_from_slice(&hash.to_le_bytes());
        out.shrink_to(start + LONGEST);
    }
}

/// No value, or an empty one, which proto3 does not tell apart.
const MISSING: Value<'static> = Value::Bytes(&[]);

fn is_missing(value: Value<'_>) -> bool {
    matches!(value, Value::Number(0) | Value::Bytes([]))
}

fn append(value: Value<'_>, out: &mut Vec<u8>) {
    let number;
    let bytes = match value {
        Value::Number(0) | Value::Group => &[],
        Value::Number(value) => {
            number = value.to_le_bytes();
            number.as_slice()
        }
        Value::Bytes(bytes) => bytes,
    };
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn find<'a>(path: &[u32], message: &'a [u8]) -> Result<Value<'a>, Malformed> {
    let Some((&last, parents)) = path.split_last() else {
        return Ok(MISSING);
    };
    let mut message = message;
    for &parent in parents {
        match first_message(parent, message)? {
            Some(element) => message = element,
            None => return Ok(MISSING),
        }
    }
    last_value(last, message)
}

fn first_message(number: u32, message: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    for field in fields(message) {
        if let Some(element) = field?.bytes(number) {
            return Ok(Some(element));
        }
    }
    Ok(None)
}

fn last_value(number: u32, message: &[u8]) -> Result<Value<'_>, Malformed> {
    let mut last = MISSING;
    for field in fields(message) {
        let field = field?;
        if field.number == number && field.value != Value::Group {
            last = field.value;
        }
    }
    Ok(last)
}
