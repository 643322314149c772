//! Inflates gzip-compressed messages, with a bound on what comes out.

use std::io::Read;

use crate::engine::framing::PREFIX;

/// Why a compressed message was not inflated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InflateError {
    #[error("message inflates to more than {max} bytes")]
    TooLong { max: usize },
    #[error("message does not inflate: {0}")]
    Corrupt(std::io::Error),
}

/// The message uncompressed, with a prefix that says so.
pub(crate) fn inflate(body: &[u8], max: usize) -> Result<Vec<u8>, InflateError> {
    let mut framed = vec![0; PREFIX];
    flate2::read::GzDecoder::new(body)
        .take(max as u64 + 1)
        .read_to_end(&mut framed)
        .map_err(InflateError::Corrupt)?;
    let length = framed.len() - PREFIX;
    match u32::try_from(length) {
        Ok(short) if length <= max => framed[1..PREFIX].copy_from_slice(&short.to_be_bytes()),
        _ => return Err(InflateError::TooLong { max }),
    }
    Ok(framed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn deflate(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).expect("into memory");
        encoder.finish().expect("into memory")
    }

    #[test]
    fn what_was_compressed_comes_back_framed() {
        assert_eq!(
            inflate(&deflate(b"abc"), 3).expect("inflates"),
            b"\0\0\0\0\x03abc"
        );
    }

    #[test]
    fn a_bomb_stops_at_the_bound_and_garbage_is_an_error() {
        let bomb = deflate(&vec![0; 1 << 20]);
        assert!(matches!(
            inflate(&bomb, 1000),
            Err(InflateError::TooLong { max: 1000 })
        ));
        assert!(matches!(
            inflate(b"not gzip", 1000),
            Err(InflateError::Corrupt(_))
        ));
    }
}
