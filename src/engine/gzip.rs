//! Inflates gzip-compressed messages, with a bound on what comes out.

use std::io::Read;

use flate2::read::GzDecoder;

use crate::engine::PREFIX;

/// Why a compressed message was not inflated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InflateError {
    #[error("message inflates to more than {max} bytes")]
    TooLong { max: usize },
    #[error("message does not inflate: {0}")]
    Corrupt(std::io::Error),
}

/// What comes out at once.
const SLICE: usize = 64 * 1024;

/// A message on its way out of its compression, slice by slice.
pub(crate) struct Inflating<'a> {
    from: std::io::Take<GzDecoder<&'a [u8]>>,
    framed: Vec<u8>,
    max: usize,
}

impl<'a> Inflating<'a> {
    /// Nothing inflated yet; the message may become `max` bytes long.
    pub(crate) fn new(body: &'a [u8], max: usize) -> Self {
        Self {
            from: GzDecoder::new(body).take(max as u64 + 1),
            framed: vec![0; PREFIX],
            max,
        }
    }

    /// Bytes that have come out.
    pub(crate) fn bytes(&self) -> usize {
        self.framed.len()
    }

    /// Inflates one slice more; false when the message is whole.
    pub(crate) fn advance(&mut self) -> Result<bool, InflateError> {
        let slice = self.from.by_ref().take(SLICE as u64);
        let more = { slice }
            .read_to_end(&mut self.framed)
            .map_err(InflateError::Corrupt)?;
        if self.framed.len() - PREFIX > self.max {
            return Err(InflateError::TooLong { max: self.max });
        }
        Ok(more > 0)
    }

    /// The message uncompressed, with a prefix that says so.
    pub(crate) fn framed(mut self) -> Result<Vec<u8>, InflateError> {
        let length = u32::try_from(self.framed.len() - PREFIX);
        let length = length.map_err(|_| InflateError::TooLong { max: self.max })?;
        self.framed[1..PREFIX].copy_from_slice(&length.to_be_bytes());
        Ok(self.framed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn inflate(body: &[u8], max: usize) -> Result<Vec<u8>, InflateError> {
        let mut inflating = Inflating::new(body, max);
        while inflating.advance()? {}
        inflating.framed()
    }

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
