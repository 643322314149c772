//! Messages of a batch that share one fate.

use bytes::Bytes;

use crate::engine::messages;

/// Messages that share one fate.
#[derive(Default)]
pub(super) struct Part {
    pub(super) chunks: Vec<Bytes>,
    pub(super) count: u32,
    pub(super) bytes: u64,
}

impl Part {
    /// Two halves in order, of as many messages or one less.
    pub(super) fn halves(self) -> (Self, Self) {
        let half = self.count / 2;
        let (mut first, mut second) = (Self::default(), Self::default());
        for chunk in self.chunks {
            let mut cut = 0;
            let mut taken = 0;
            let mut all = 0;
            for message in messages(&chunk) {
                all += 1;
                if first.count + taken < half {
                    taken += 1;
                    cut += message.len();
                }
            }
            first.add(chunk.slice(..cut), taken);
            second.add(chunk.slice(cut..), all - taken);
        }
        (first, second)
    }

    /// Appends messages.
    pub(super) fn add(&mut self, chunk: Bytes, count: u32) {
        if count > 0 {
            self.count += count;
            self.bytes += chunk.len() as u64;
            self.chunks.push(chunk);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(sizes: &[&[usize]]) -> Part {
        let mut part = Part::default();
        for (number, chunk) in sizes.iter().enumerate() {
            let mut framed = Vec::new();
            for size in *chunk {
                framed.push(0);
                framed.extend_from_slice(&u32::try_from(*size).expect("short").to_be_bytes());
                framed.extend(std::iter::repeat_n(
                    u8::try_from(number).expect("few"),
                    *size,
                ));
            }
            part.add(framed.into(), u32::try_from(chunk.len()).expect("few"));
        }
        part
    }

    #[test]
    fn halves_hold_every_message_once_and_in_order() {
        let whole = part(&[&[3, 0, 5], &[1], &[2, 2, 2]]);
        let bytes = whole.chunks.concat();
        let (first, second) = whole.halves();
        assert_eq!((first.count, second.count), (3, 4));
        assert_eq!(
            [first.chunks.concat(), second.chunks.concat()].concat(),
            bytes
        );
        assert_eq!(first.bytes + second.bytes, bytes.len() as u64);
        let (one, two) = part(&[&[3, 4]]).halves();
        assert_eq!((one.count, two.count), (1, 1));
    }
}
