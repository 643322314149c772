//! The few HTTP/2 frames that a gRPC load needs (RFC 9113), written and read by hand.
//!
//! Reading borrows from the caller's buffer and never copies; writing appends to an outbox.

use anyhow::{Result, ensure};

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's head.
pub const HEAD: usize = 9;
/// Longest payload that either side may send, as neither raises `SETTINGS_MAX_FRAME_SIZE`.
pub const MAX_FRAME: usize = 16_384;
/// A window's size before any SETTINGS or WINDOW_UPDATE.
pub const DEFAULT_WINDOW: i64 = 65_535;

/// Frame types.
pub mod kind {
    /// Payload of a stream.
    pub const DATA: u8 = 0;
    /// Header block.
    pub const HEADERS: u8 = 1;
    /// End of one stream by an error.
    pub const RST_STREAM: u8 = 3;
    /// Parameters of the connection.
    pub const SETTINGS: u8 = 4;
    /// Echo request.
    pub const PING: u8 = 6;
    /// No new streams.
    pub const GOAWAY: u8 = 7;
    /// Credit.
    pub const WINDOW_UPDATE: u8 = 8;
}

/// Frame flags.
pub mod flag {
    /// The sender's half of the stream ends.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS or PING is an answer.
    pub const ACK: u8 = 0x1;
    /// The header block is complete.
    pub const END_HEADERS: u8 = 0x4;
    /// The payload starts with a padding length.
    pub const PADDED: u8 = 0x8;
    /// The header block is preceded by a priority.
    pub const PRIORITY: u8 = 0x20;
}

/// Identifiers inside SETTINGS.
pub mod setting {
    /// Size of the HPACK table that the sender keeps for decoding.
    pub const HEADER_TABLE_SIZE: u16 = 1;
    /// Streams that the peer may have open.
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    /// Window of every new stream.
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
}

/// One frame, borrowed from a read buffer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// See [`kind`].
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// Everything after the head, padding included.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Whether `bit` is set.
    #[must_use]
    pub fn has(&self, bit: u8) -> bool {
        self.flags & bit != 0
    }

    /// The payload of DATA or HEADERS without padding and priority.
    ///
    /// # Errors
    /// The padding is longer than the payload.
    pub fn content(&self) -> Result<&'a [u8]> {
        let mut content = self.payload;
        if self.has(flag::PADDED) {
            let padding = usize::from(content.first().copied().unwrap_or(0));
            ensure!(
                padding < content.len(),
                "padding of {padding} bytes is longer than its frame"
            );
            content = &content[1..content.len() - padding];
        }
        if self.kind == kind::HEADERS && self.has(flag::PRIORITY) {
            ensure!(content.len() >= 5, "HEADERS with a cut-off priority");
            content = &content[5..];
        }
        Ok(content)
    }

    /// The 32-bit number that the payload starts with, its top bit cleared.
    ///
    /// # Errors
    /// The payload is shorter than four bytes.
    pub fn number(&self) -> Result<u32> {
        let bytes = self.payload.first_chunk::<4>();
        let bytes = bytes.ok_or_else(|| anyhow::anyhow!("frame {} is cut off", self.kind))?;
        Ok(u32::from_be_bytes(*bytes) & 0x7fff_ffff)
    }

    /// The pairs of a SETTINGS frame.
    pub fn settings(&self) -> impl Iterator<Item = (u16, u32)> + use<'a> {
        self.payload.chunks_exact(6).map(|pair| {
            let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
            (u16::from_be_bytes([pair[0], pair[1]]), value)
        })
    }
}

/// Takes the first frame off `bytes`, moving it forward; `None` while the frame is incomplete.
///
/// # Errors
/// The frame is longer than [`MAX_FRAME`].
pub fn take_frame<'a>(bytes: &mut &'a [u8]) -> Result<Option<Frame<'a>>> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    ensure!(
        length <= MAX_FRAME,
        "frame of {length} bytes is longer than {MAX_FRAME}"
    );
    if rest.len() < length {
        return Ok(None);
    }
    let (payload, rest) = rest.split_at(length);
    *bytes = rest;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Ok(Some(Frame {
        kind: head[3],
        flags: head[4],
        stream,
        payload,
    }))
}

/// The head of a frame.
#[must_use]
pub fn head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD] {
    let [_, _, _, _, _, high, middle, low] = (length as u64).to_be_bytes();
    let [a, b, c, d] = stream.to_be_bytes();
    [high, middle, low, kind, flags, a, b, c, d]
}

/// Appends a whole frame.
pub fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&head(payload.len(), kind, flags, stream));
    out.extend_from_slice(payload);
}

/// Appends SETTINGS with these pairs.
pub fn put_settings(out: &mut Vec<u8>, pairs: &[(u16, u32)]) {
    out.extend_from_slice(&head(pairs.len() * 6, kind::SETTINGS, 0, 0));
    for (identifier, value) in pairs {
        out.extend_from_slice(&identifier.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends credit of `bytes` for `stream`.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    put_frame(out, kind::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
}

/// Appends the answer to SETTINGS or PING, if `frame` is one that wants an answer.
pub fn put_acknowledgement(out: &mut Vec<u8>, frame: &Frame<'_>) {
    if frame.has(flag::ACK) {
        return;
    }
    match frame.kind {
        kind::SETTINGS => put_frame(out, kind::SETTINGS, flag::ACK, 0, &[]),
        kind::PING => put_frame(out, kind::PING, flag::ACK, 0, frame.payload),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_frame_is_read_back_and_a_cut_off_one_waits() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, kind::DATA, flag::END_STREAM, 7, b"payload");
        let mut cut: &[u8] = &bytes[..bytes.len() - 1];
        assert!(take_frame(&mut cut).unwrap().is_none());
        let mut whole: &[u8] = &bytes;
        let frame = take_frame(&mut whole).unwrap().unwrap();
        assert_eq!(
            (frame.kind, frame.stream, frame.payload),
            (kind::DATA, 7, &b"payload"[..])
        );
        assert!(frame.has(flag::END_STREAM) && whole.is_empty());
    }

    #[test]
    fn padding_is_stripped_and_padding_without_end_is_refused() {
        let frame = |payload| Frame {
            kind: kind::DATA,
            flags: flag::PADDED,
            stream: 1,
            payload,
        };
        assert_eq!(frame(b"\x02abXX").content().unwrap(), b"ab");
        assert!(frame(b"\x05ab").content().is_err());
    }

    #[test]
    fn a_frame_above_the_limit_is_an_error() {
        let bytes = head(MAX_FRAME + 1, kind::DATA, 0, 1);
        assert!(take_frame(&mut &bytes[..]).is_err());
    }
}
