//! A realistic `skywalking.v3.SegmentObject` of an exact size.
//!
//! Encoded by hand: field numbers are those of `language-agent/Tracing.proto`, and a load
//! generator needs nothing else of the protocol.

use anyhow::{Context as _, Result};

/// Method that segments are reported to.
pub const METHOD: &str = "/skywalking.v3.TraceSegmentReportService/collect";

/// A segment with an entry span and an exit span, padded by a tag to `size` bytes.
///
/// # Errors
/// `size` is too small for a segment.
pub fn of_size(size: usize) -> Result<Vec<u8>> {
    let bare = segment(None);
    if bare.len() == size {
        return Ok(bare);
    }
    // A tag of n bytes adds n and the lengths around it, which grow with n: look for the fit.
    let longest = size.saturating_sub(bare.len());
    let fit = (longest.saturating_sub(32)..=longest)
        .map(|statement| segment(Some(statement)))
        .find(|segment| segment.len() == size);
    fit.with_context(|| {
        format!(
            "no segment has {size} bytes (the smallest has {})",
            bare.len()
        )
    })
}

/// `size` bytes of length-prefixed gRPC message.
///
/// # Errors
/// As [`of_size`].
pub fn message_of_size(size: usize) -> Result<Vec<u8>> {
    let segment = of_size(size)?;
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(segment.len())?.to_be_bytes());
    message.extend_from_slice(&segment);
    Ok(message)
}

fn segment(statement: Option<usize>) -> Vec<u8> {
    let mut exit = span(
        1,
        0,
        "Mysql/JDBI/PreparedStatement/executeQuery",
        (1, 1, 33),
    );
    bytes(&mut exit, 7, b"mysql.default.svc.cluster.local:3306");
    tag(&mut exit, "db.type", b"sql");
    if let Some(length) = statement {
        let mut text = b"SELECT id, name, price FROM products WHERE ".to_vec();
        text.resize(length, b'x');
        tag(&mut exit, "db.statement", &text);
    }
    let mut entry = span(0, u64::MAX, "GET:/api/v1/products/{id}", (0, 3, 1));
    tag(
        &mut entry,
        "url",
        b"http://products.default.svc:8080/api/v1/products/42",
    );
    tag(&mut entry, "http.method", b"GET");
    tag(&mut entry, "http.status_code", b"200");
    let mut out = Vec::new();
    bytes(
        &mut out,
        1,
        b"6f0d3c5e7a2b4c1d9e8f7a6b5c4d3e2f.71.17637264000000001",
    );
    bytes(
        &mut out,
        2,
        b"6f0d3c5e7a2b4c1d9e8f7a6b5c4d3e2f.71.17637264000000000",
    );
    bytes(&mut out, 3, &exit);
    bytes(&mut out, 3, &entry);
    bytes(&mut out, 4, b"products");
    bytes(&mut out, 5, b"products-7d9c5b6f4-x2x7p@10.1.2.3");
    out
}

/// `shape` is the span's type, layer and component.
fn span(id: u64, parent: u64, operation: &str, shape: (u64, u64, u64)) -> Vec<u8> {
    let mut out = Vec::new();
    number(&mut out, 1, id);
    number(&mut out, 2, parent);
    number(&mut out, 3, 1_763_726_400_000);
    number(&mut out, 4, 1_763_726_400_017);
    bytes(&mut out, 6, operation.as_bytes());
    number(&mut out, 8, shape.0);
    number(&mut out, 9, shape.1);
    number(&mut out, 10, shape.2);
    out
}

fn tag(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    let mut pair = Vec::new();
    bytes(&mut pair, 1, key.as_bytes());
    bytes(&mut pair, 2, value);
    bytes(out, 12, &pair);
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, (field << 3) | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_have_the_size_that_was_asked_for() {
        for size in [600, 1024, 8192] {
            assert_eq!(of_size(size).unwrap().len(), size, "size {size}");
        }
        assert!(of_size(100).is_err());
    }

    #[test]
    fn a_message_is_its_length_and_the_segment() {
        let message = message_of_size(1024).unwrap();
        assert_eq!((message.len(), &message[..5]), (1029, &[0, 0, 0, 4, 0][..]));
    }
}
