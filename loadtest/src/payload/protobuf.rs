//! Writes the fields of messages.

use anyhow::{Context as _, Result};

/// Appends a field that holds text, bytes or a message.
pub(super) fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, (field << 3) | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a field that holds a message which `write` appends.
pub(super) fn message(out: &mut Vec<u8>, field: u64, write: impl FnOnce(&mut Vec<u8>)) {
    let mut value = Vec::new();
    write(&mut value);
    bytes(out, field, &value);
}

/// Appends a field that holds a varint.
pub(super) fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

/// Appends an element of a map, or a pair of key and value: field 1 and field 2.
pub(super) fn pair(out: &mut Vec<u8>, field: u64, key: &str, value: &[u8]) {
    message(out, field, |pair| {
        bytes(pair, 1, key.as_bytes());
        bytes(pair, 2, value);
    });
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

/// The message of `size` bytes among those that `padded` makes with so many bytes of padding.
///
/// # Errors
/// There is none.
pub(super) fn of_size(
    what: &str,
    size: usize,
    padded: impl Fn(usize) -> Vec<u8>,
) -> Result<Vec<u8>> {
    let smallest = padded(0).len();
    // The lengths around the padding grow with it: look for the fit.
    let most = size.saturating_sub(smallest);
    let fit = (most.saturating_sub(32)..=most)
        .map(padded)
        .find(|message| message.len() == size);
    fit.with_context(|| format!("no {what} has {size} bytes (the smallest has {smallest})"))
}
