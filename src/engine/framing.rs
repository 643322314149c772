//! Cuts a gRPC body into whole length-prefixed messages.
//!
//! A message is one flag byte, a big-endian 32-bit length and that many bytes (gRPC over HTTP/2,
//! "Length-Prefixed-Message"). DATA frames cut the body anywhere.

use perigee_plugin_api::framing::{PREFIX, prefix};

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// A message that is too long.
    #[error("message of {length} bytes exceeds maximum size {max}")]
    Oversized { length: usize, max: usize },
    /// A flag that is neither 0 nor 1.
    #[error("message flag is {0}, must be 0 or 1")]
    Flag(u8),
}

/// Whole messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Run<'a> {
    /// Uncompressed ones, with their prefixes.
    Plain { framed: &'a [u8], count: u32 },
    /// A single compressed one, without its prefix.
    Compressed(&'a [u8]),
}

/// Finds the messages of one stream.
#[derive(Debug)]
pub(crate) struct Splitter {
    /// The beginning of a message whose end has not arrived.
    part: Vec<u8>,
    /// `part` holds a whole message that the last call handed out.
    part_done: bool,
    max: usize,
}

impl Splitter {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            part: Vec::new(),
            part_done: false,
            max,
        }
    }

    /// Takes whole messages from the front of `input` and of what was left before; `None` when
    /// only a part is left, which is then kept.
    pub(crate) fn next<'s, 'i: 's>(
        &'s mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Run<'s>>, FrameError> {
        if std::mem::take(&mut self.part_done) {
            self.part = Vec::new();
        }
        if self.part.is_empty() {
            self.whole(input)
        } else {
            self.finish_part(input)
        }
    }

    /// Bytes of an unfinished message.
    pub(crate) fn part_len(&self) -> usize {
        if self.part_done { 0 } else { self.part.len() }
    }

    fn whole<'i>(&mut self, input: &mut &'i [u8]) -> Result<Option<Run<'i>>, FrameError> {
        let all = *input;
        let mut end = 0;
        let mut count = 0;
        loop {
            let (flag, length) = match self.prefix_at(&all[end..]) {
                Ok(Some(prefix)) => prefix,
                // Good messages come out first; the next call meets the bad one again.
                Err(error) if count == 0 => return Err(error),
                Ok(None) | Err(_) => break,
            };
            let next = end + PREFIX + length;
            if next > all.len() {
                break;
            }
            if flag == 1 {
                if count > 0 {
                    break;
                }
                *input = &all[next..];
                return Ok(Some(Run::Compressed(&all[PREFIX..next])));
            }
            end = next;
            count += 1;
        }
        if count > 0 {
            *input = &all[end..];
            return Ok(Some(Run::Plain {
                framed: &all[..end],
                count,
            }));
        }
        self.part.extend_from_slice(all);
        *input = &[];
        Ok(None)
    }

    fn finish_part(&mut self, input: &mut &[u8]) -> Result<Option<Run<'_>>, FrameError> {
        self.fill_part(input, PREFIX);
        let Some((flag, length)) = self.prefix_at(&self.part)? else {
            return Ok(None);
        };
        self.fill_part(input, PREFIX + length);
        if self.part.len() < PREFIX + length {
            return Ok(None);
        }
        self.part_done = true;
        Ok(Some(if flag == 1 {
            Run::Compressed(&self.part[PREFIX..])
        } else {
            Run::Plain {
                framed: &self.part,
                count: 1,
            }
        }))
    }

    /// The buffer grows with what arrives, never by what a prefix promises.
    fn fill_part(&mut self, input: &mut &[u8], target: usize) {
        let take = target.saturating_sub(self.part.len()).min(input.len());
        self.part.extend_from_slice(&input[..take]);
        *input = &input[take..];
    }

    fn prefix_at(&self, bytes: &[u8]) -> Result<Option<(u8, usize)>, FrameError> {
        let Some((flag, length)) = prefix(bytes) else {
            return Ok(None);
        };
        if flag > 1 {
            return Err(FrameError::Flag(flag));
        }
        if length > self.max {
            return Err(FrameError::Oversized {
                length,
                max: self.max,
            });
        }
        Ok(Some((flag, length)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use perigee_plugin_api::framing::messages;
    use proptest::prelude::*;

    fn frame(flag: u8, body: &[u8]) -> Vec<u8> {
        let mut framed = vec![flag];
        framed.extend_from_slice(&u32::try_from(body.len()).expect("short").to_be_bytes());
        framed.extend_from_slice(body);
        framed
    }

    fn split(splitter: &mut Splitter, chunks: &[&[u8]]) -> Result<Vec<(u8, Vec<u8>)>, FrameError> {
        let mut found = Vec::new();
        for chunk in chunks {
            let mut rest = *chunk;
            while let Some(run) = splitter.next(&mut rest)? {
                match run {
                    Run::Plain { framed, count } => {
                        let before = found.len();
                        found.extend(messages(framed).map(|m| (0, m[PREFIX..].to_vec())));
                        assert_eq!(found.len() - before, count as usize);
                    }
                    Run::Compressed(body) => found.push((1, body.to_vec())),
                }
            }
            assert!(rest.is_empty(), "everything is taken or kept");
        }
        Ok(found)
    }

    proptest! {
        /// For all bodies and all ways to cut them: the messages come out as they went in.
        #[test]
        fn any_cut_keeps_every_message(
            messages in prop::collection::vec((0u8..2, prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            cuts in prop::collection::vec(1usize..60, 1..40),
        ) {
            let body: Vec<u8> = messages.iter().flat_map(|(flag, body)| frame(*flag, body)).collect();
            let mut chunks = Vec::new();
            let mut rest = body.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, tail) = rest.split_at((*cut).min(rest.len()));
                chunks.push(chunk);
                rest = tail;
            }
            let mut splitter = Splitter::new(100);
            prop_assert_eq!(split(&mut splitter, &chunks).expect("well formed"), messages);
            prop_assert_eq!(splitter.part_len(), 0);
        }
    }

    #[test]
    fn a_body_that_ends_inside_a_message_leaves_a_part() {
        let mut splitter = Splitter::new(100);
        let whole = frame(0, b"abc");
        assert_eq!(
            split(&mut splitter, &[&whole, &whole[..7]]).map(|found| found.len()),
            Ok(1)
        );
        assert_eq!(splitter.part_len(), 7);
    }

    #[test]
    fn messages_before_a_bad_one_come_out_first() {
        let mut splitter = Splitter::new(100);
        let mut body = frame(0, b"good");
        body.extend_from_slice(&[0, 0, 0, 0, 101]);
        let mut rest = body.as_slice();
        assert!(matches!(
            splitter.next(&mut rest),
            Ok(Some(Run::Plain { count: 1, .. }))
        ));
        assert_eq!(
            splitter.next(&mut rest),
            Err(FrameError::Oversized {
                length: 101,
                max: 100
            })
        );
        let mut flagged = Splitter::new(100);
        assert_eq!(
            split(&mut flagged, &[&[7, 0, 0, 0, 0]]),
            Err(FrameError::Flag(7))
        );
    }
}
