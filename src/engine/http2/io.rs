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

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::engine::socket::Socket;

const READ_BUFFER: usize = 256 * 1024;
const WRITE_BUFFER: usize = 64 * 1024;

/// A round that begins with less than this takes no spare buffer.
const SMALL_WRITE: usize = 1024;

/// Write buffers that a thread keeps for its next round.
const SPARE_BUFFERS: usize = 8;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into_boxed_slice());
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A handle; the crate holds one and the connection's driver another.
#[derive(Clone)]
pub(super) struct Io {
    inner: Rc<RefCell<Inner>>,
    seen: Rc<Cell<bool>>,
}

struct Inner {
    socket: Socket,
    /// Read from the socket and not yet asked for; without storage when empty, so that an idle
    /// connection costs none.
    ahead: Vec<u8>,
    ahead_at: usize,
    pending: Vec<u8>,
    pending_at: usize,
}

impl Io {
    pub(super) fn new(socket: Socket) -> Self {
        let inner = Inner {
            socket,
            ahead: Vec::new(),
            ahead_at: 0,
            pending: Vec::new(),
            pending_at: 0,
        };
        Self {
            inner: Rc::new(RefCell::new(inner)),
            seen: Rc::new(Cell::new(false)),
        }
    }

    /// Whether the peer has sent anything yet.
    pub(super) fn has_spoken(&self) -> bool {
        self.seen.get()
    }

    /// Writes what has been collected.
    pub(super) fn poll_push(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.borrow_mut().poll_push(cx)
    }
}

impl Inner {
    fn poll_push(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.pending_at < self.pending.len() {
            let unsent = &self.pending[self.pending_at..];
            let sent = ready!(Pin::new(&mut self.socket).poll_write(cx, unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.pending_at += sent;
        }
        self.recycle();
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// A connection that has nothing to say holds no buffer.
    fn recycle(&mut self) {
        let mut buffer = std::mem::take(&mut self.pending);
        self.pending_at = 0;
        if buffer.capacity() >= WRITE_BUFFER {
            buffer.clear();
            SPARE.with_borrow_mut(|spare| {
                if spare.len() < SPARE_BUFFERS {
                    spare.push(buffer);
                }
            });
        }
    }

    fn collect(&mut self, data: &[u8]) {
        if self.pending.capacity() == 0 && data.len() > SMALL_WRITE {
            self.pending = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        self.pending.extend_from_slice(data);
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pending.len() - self.pending_at < WRITE_BUFFER {
            return Poll::Ready(Ok(()));
        }
        self.poll_push(cx)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ahead_at < self.ahead.len() {
            let take = out.remaining().min(self.ahead.len() - self.ahead_at);
            out.put_slice(&self.ahead[self.ahead_at..self.ahead_at + take]);
            self.ahead_at += take;
            if self.ahead_at == self.ahead.len() {
                self.ahead = Vec::new();
                self.ahead_at = 0;
            }
            return Poll::Ready(Ok(()));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut read = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
            let (now, later) = read
                .filled()
                .split_at(read.filled().len().min(out.remaining()));
            out.put_slice(now);
            if !later.is_empty() {
                self.ahead.extend_from_slice(later);
            }
            Poll::Ready(Ok(()))
        })
    }
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
            self.seen.set(true);
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
        inner.collect(data);
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
            inner.collect(slice);
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
