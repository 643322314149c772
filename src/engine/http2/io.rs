//! A socket with coalesced reads and writes.
//!
//! The `h2` crate writes one DATA frame at a time and flushes after each, and reads a few KiB at
//! once. Here writes collect until [`WRITE_BUFFER`] bytes or until the connection's driver has
//! finished a round and calls [`Io::poll_push`]; reads take up to [`READ_BUFFER`] bytes from the
//! socket into a buffer that all connections of the thread share.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outbox::Outbox;
use crate::engine::socket::Socket;

/// One read. A connection that has filled it lets its streams run before it reads on, so that they
/// find the data in the cache.
const READ_BUFFER: usize = 256 * 1024;

/// One write. Large ones matter: each wakes the peer and walks the network stack once.
const WRITE_BUFFER: usize = 512 * 1024;

thread_local! {
    static READ: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A handle; the crate holds one and the connection's driver another.
#[derive(Clone)]
pub(super) struct Io {
    inner: Rc<RefCell<Inner>>,
    heard: Rc<Cell<Option<Instant>>>,
}

struct Inner {
    socket: Socket,
    ahead: Option<Ahead>,
    full_read: bool,
    outbox: Outbox,
}

impl Io {
    pub(super) fn new(socket: Socket) -> Self {
        let inner = Inner {
            socket,
            ahead: None,
            full_read: false,
            outbox: Outbox::default(),
        };
        Self {
            inner: Rc::new(RefCell::new(inner)),
            heard: Rc::default(),
        }
    }

    /// When the peer last sent anything.
    pub(super) fn heard(&self) -> Option<Instant> {
        self.heard.get()
    }

    /// Lets frames that lie in these chunks be written without a copy, until the loan is dropped.
    pub(super) fn lend<'a>(&self, chunks: &'a [Bytes]) -> Loan<'a> {
        self.inner.borrow_mut().outbox.lend(chunks);
        Loan {
            io: self.clone(),
            chunks,
        }
    }

    /// Writes what has been collected.
    pub(super) fn poll_push(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner.borrow_mut();
        inner.full_read = false;
        inner.poll_push(cx)
    }
}

/// Chunks that a connection may write from.
pub(super) struct Loan<'a> {
    io: Io,
    chunks: &'a [Bytes],
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        self.io.inner.borrow_mut().outbox.take_back(self.chunks);
    }
}

impl Inner {
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.outbox.poll_write_to(&mut self.socket, cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outbox.bytes() < WRITE_BUFFER {
            return Poll::Ready(Ok(()));
        }
        self.poll_push(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_none() {
            if self.full_read {
                // The streams look at what has been read while it is still in the cache.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut buffer = READ
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| vec![0; READ_BUFFER].into_boxed_slice());
            let mut read = ReadBuf::new(&mut buffer);
            let polled = Pin::new(&mut self.socket).poll_read(cx, &mut read);
            let end = read.filled().len();
            if end == 0 {
                keep(buffer);
                return polled;
            }
            self.full_read = end == buffer.len();
            self.ahead = Some(Ahead { buffer, at: 0, end });
        }
        if let Some(ahead) = &mut self.ahead {
            let take = out.remaining().min(ahead.end - ahead.at);
            out.put_slice(&ahead.buffer[ahead.at..ahead.at + take]);
            ahead.at += take;
        }
        if let Some(drained) = self.ahead.take_if(|ahead| ahead.at == ahead.end) {
            keep(drained.buffer);
        }
        Poll::Ready(Ok(()))
    }
}

/// Read from the socket and not yet asked for. An idle connection has none.
struct Ahead {
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
}

fn keep(buffer: Box<[u8]>) {
    READ.with_borrow_mut(|spare| {
        if spare.is_empty() {
            spare.push(buffer);
        }
    });
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let polled = self.inner.borrow_mut().poll_read(cx, out);
        if out.filled().len() > before {
            self.heard.set(Some(Instant::now()));
        }
        polled
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.inner.borrow_mut();
        ready!(inner.poll_room(cx))?;
        inner.outbox.collect(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.inner.borrow_mut();
        ready!(inner.poll_room(cx))?;
        for slice in slices {
            inner.outbox.collect(slice);
        }
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Does nothing: the driver pushes once a round.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner.borrow_mut();
        ready!(inner.poll_push(cx))?;
        Pin::new(&mut inner.socket).poll_shutdown(cx)
    }
}
