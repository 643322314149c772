//! Texts that ids are made of.

use std::fmt::{Display, Write};

use prost::Message;
use xxhash_rust::xxh3::xxh3_64;

/// XXH3, 64 bit, hexadecimal.
pub(in crate::sink) fn hash(bytes: &[u8]) -> String {
    hex_of(xxh3_64(bytes))
}

/// A hash as [`hash`] writes it.
pub(super) fn hex_of(hash: u64) -> String {
    format!("{hash:016x}")
}

/// The hash of a part of a message.
pub(super) fn hash_of(part: &impl Message) -> String {
    hash(&part.encode_to_vec())
}

/// The text, or the hash of what has none.
pub(super) fn text_or(text: &str, hash: impl FnOnce() -> String) -> String {
    if text.is_empty() {
        hash()
    } else {
        text.to_owned()
    }
}

/// `name{label=value,label2=value}`; `name` if there are no labels.
pub(super) fn labelled<L: Display, V: Display>(
    name: &str,
    labels: impl IntoIterator<Item = (L, V)>,
) -> String {
    let mut text = name.to_owned();
    let mut before = '{';
    for (label, value) in labels {
        // Writing to a string does not fail.
        let _ = write!(text, "{before}{label}={value}");
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
    text
}

/// Bytes as an id: hexadecimal.
pub(in crate::sink) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
