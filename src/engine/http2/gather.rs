//! Takes what has arrived of a stream.

use std::cell::RefCell;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;

/// Most bytes that are taken from a stream at once.
const GATHER_BYTES: usize = 16 * 1024;

/// Bytes that had arrived of one stream.
pub(super) enum Gathered {
    One(Bytes),
    Many(Vec<u8>),
}

impl Gathered {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::One(chunk) => chunk,
            Self::Many(chunks) => chunks,
        }
    }

    pub(super) fn recycle(self) {
        if let Self::Many(mut chunks) = self {
            chunks.clear();
            GATHER.with_borrow_mut(|spare| {
                if spare.is_empty() {
                    spare.push(chunks);
                }
            });
        }
    }
}

thread_local! {
    /// A buffer for the stream that is being read; several only while streams wait for room.
    static GATHER: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What has arrived, up to [`GATHER_BYTES`]. Agents send one message a frame; taking a frame at a
/// time through the queue's locks costs more than copying it here.
pub(super) fn poll_gather(
    body: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Gathered, h2::Error>>> {
    let first = match ready!(body.poll_data(cx)) {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Poll::Ready(Some(Err(error))),
        None => return Poll::Ready(None),
    };
    let mut many: Option<Vec<u8>> = None;
    let mut length = first.len();
    while length < GATHER_BYTES {
        // An end or an error comes again at the next call.
        let Poll::Ready(Some(Ok(next))) = body.poll_data(cx) else {
            break;
        };
        length += next.len();
        let chunks = many.get_or_insert_with(|| {
            let mut spare = GATHER
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| Vec::with_capacity(2 * GATHER_BYTES));
            spare.extend_from_slice(&first);
            spare
        });
        chunks.extend_from_slice(&next);
    }
    Poll::Ready(Some(Ok(many.map_or(Gathered::One(first), Gathered::Many))))
}
