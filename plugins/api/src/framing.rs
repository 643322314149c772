//! How messages stand in a row: one flag byte, four bytes of big-endian length, the body.

/// Bytes before a message: flag and length.
pub const PREFIX: usize = 5;

/// Flag and length of the message that begins here, once its prefix is there.
pub fn prefix(bytes: &[u8]) -> Option<(u8, usize)> {
    let (prefix, _) = bytes.split_first_chunk::<PREFIX>()?;
    let [flag, a, b, c, d] = *prefix;
    Some((flag, u32::from_be_bytes([a, b, c, d]) as usize))
}

/// The messages of a run, each with its prefix.
pub fn messages(mut framed: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (_, length) = prefix(framed)?;
        let (message, rest) = framed.split_at_checked(PREFIX + length)?;
        framed = rest;
        Some(message)
    })
}
