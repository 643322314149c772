//! What a connection is about to write.
//!
//! The `h2` crate shows each DATA frame's payload for a moment and expects it to be written or
//! copied. A batch's payload is large and lies in chunks that we share, so its owner [lends] them
//! for the time of the call: a frame whose bytes lie in a lent chunk is kept by reference, and only
//! frame headers and small frames are copied. Everything then leaves in few vectored writes.
//!
//! [lends]: Outbox::lend

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Payloads below this are cheaper to copy than to keep apart.
const SMALL: usize = 2048;

/// Slices of one vectored write: 32 full frames with their headers.
const SLICES: usize = 64;

/// Bytes in the order in which they leave.
#[derive(Default)]
pub(super) struct Outbox {
    parts: VecDeque<Bytes>,
    /// The end of the line: what is being copied.
    tail: BytesMut,
    bytes: usize,
    lent: Vec<Bytes>,
}

impl Outbox {
    /// How much is waiting.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Frames that lie in these chunks may be kept by reference until [`Self::take_back`].
    pub(super) fn lend(&mut self, chunks: &[Bytes]) {
        self.lent
            .extend(chunks.iter().filter(|chunk| chunk.len() >= SMALL).cloned());
    }

    /// Frames in these chunks are copied from now on; what is kept already stays valid.
    pub(super) fn take_back(&mut self, chunks: &[Bytes]) {
        self.lent
            .retain(|lent| chunks.iter().all(|chunk| chunk.as_ptr() != lent.as_ptr()));
    }

    /// Adds bytes to the end.
    pub(super) fn collect(&mut self, data: &[u8]) {
        self.bytes += data.len();
        if let Some(kept) = self.find_lent(data) {
            self.close_tail();
            self.parts.push_back(kept);
        } else {
            self.tail.extend_from_slice(data);
        }
    }

    fn find_lent(&self, data: &[u8]) -> Option<Bytes> {
        if data.len() < SMALL {
            return None;
        }
        let wanted = data.as_ptr_range();
        let holder = self.lent.iter().find(|chunk| {
            let held = chunk.as_ptr_range();
            held.start <= wanted.start && wanted.end <= held.end
        })?;
        Some(holder.slice_ref(data))
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push_back(self.tail.split().freeze());
        }
    }

    /// Writes everything.
    pub(super) fn poll_write_to(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.close_tail();
        while !self.parts.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut used = 0;
            for (slice, part) in slices.iter_mut().zip(&self.parts) {
                *slice = IoSlice::new(part);
                used += 1;
            }
            let written = ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &slices[..used]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        // A connection that has nothing to say holds no buffer.
        self.tail = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(first) = self.parts.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Takes a few bytes at a time.
    #[derive(Default)]
    struct Slow {
        taken: Vec<u8>,
        step: usize,
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
            data: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.step = self.step % 4096 + 1000;
            let take = data.len().min(self.step);
            self.taken.extend_from_slice(&data[..take]);
            Poll::Ready(Ok(take))
        }

        fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn kept_and_copied_bytes_leave_in_order() {
        let chunk = Bytes::from(
            (0..60_000_u32)
                .map(|n| n.to_le_bytes()[0])
                .collect::<Vec<_>>(),
        );
        let mut outbox = Outbox::default();
        outbox.lend(std::slice::from_ref(&chunk));
        let mut expected = Vec::new();
        for (number, payload) in chunk.chunks(16 * 1024).enumerate() {
            let header = [u8::try_from(number).expect("few"); 9];
            outbox.collect(&header);
            outbox.collect(payload);
            expected.extend_from_slice(&header);
            expected.extend_from_slice(payload);
        }
        assert_eq!(outbox.parts.len(), 8, "payloads are kept, not copied");
        outbox.take_back(std::slice::from_ref(&chunk));
        outbox.collect(&chunk);
        expected.extend_from_slice(&chunk);
        assert_eq!(outbox.bytes(), expected.len());
        let mut slow = Slow::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(outbox.poll_write_to(&mut slow, &mut cx).is_ready());
        assert!(slow.taken == expected);
        assert_eq!(outbox.bytes(), 0);
    }
}
