//! Walking length-prefixed gRPC messages: one flag byte, four bytes of big-endian length, the body.
//!
//! Callers promise whole messages. A broken promise never panics here and never stops a walk: what
//! is cut short counts as one message up to its end.

use perigee_plugin_api::framing::{PREFIX, prefix};

/// A run of whole messages at the front of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) count: u32,
    pub(crate) bytes: usize,
}

/// Length of the first message, prefix included; zero only for an empty buffer.
pub(crate) fn first_len(buffer: &[u8]) -> usize {
    match prefix(buffer) {
        Some((_, body)) => buffer.len().min(PREFIX.saturating_add(body)),
        None => buffer.len(),
    }
}

/// The longest run of at most `count` messages and `bytes` bytes.
pub(crate) fn run_within(buffer: &[u8], count: u64, bytes: u64) -> Run {
    let mut run = Run::default();
    while run.bytes < buffer.len() && u64::from(run.count) < count {
        let len = first_len(&buffer[run.bytes..]);
        if (run.bytes + len) as u64 > bytes {
            break;
        }
        run.count += 1;
        run.bytes += len;
    }
    run
}

/// The shortest run of at least `count` messages and `bytes` bytes, or all there is.
pub(crate) fn run_covering(buffer: &[u8], count: u64, bytes: u64) -> Run {
    let mut run = Run::default();
    while run.bytes < buffer.len() && (u64::from(run.count) < count || (run.bytes as u64) < bytes) {
        run.bytes += first_len(&buffer[run.bytes..]);
        run.count += 1;
    }
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &[u8] = b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x01c";

    #[test]
    fn runs_end_at_message_borders() {
        assert_eq!(first_len(THREE), 7);
        assert_eq!(
            run_within(THREE, 9, 17),
            Run {
                count: 2,
                bytes: 12
            }
        );
        assert_eq!(run_within(THREE, 1, 99), Run { count: 1, bytes: 7 });
        assert_eq!(run_within(THREE, 9, 6), Run::default());
        assert_eq!(
            run_covering(THREE, 1, 8),
            Run {
                count: 2,
                bytes: 12
            }
        );
        assert_eq!(
            run_covering(THREE, 9, 0),
            Run {
                count: 3,
                bytes: 18
            }
        );
    }

    #[test]
    fn a_message_cut_short_ends_with_the_buffer() {
        assert_eq!(first_len(b"\0\xff\xff\xff\xffxy"), 7);
        assert_eq!(first_len(b"\0\0"), 2);
        assert_eq!(
            run_within(&THREE[..15], 9, 99),
            Run {
                count: 3,
                bytes: 15
            }
        );
    }
}
