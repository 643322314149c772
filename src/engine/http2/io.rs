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

/// One read. A connection that has filled it lets its streams run before it reads on, so that they
/// find the data in the cache.
const READ_BUFFER: usize = 128 * 1024;

/// One write. Large ones matter: each wakes the peer and walks the network stack once.
const WRITE_BUFFER: usize = 512 * 1024;

/// Up to this a round takes no full-sized buffer.
const SMALL_WRITE: usize = 1024;

/// What may be added to a buffer that is not yet full: a frame with its header.
const LARGEST_FRAME: usize = 16 * 1024 + 9;

/// Write buffers that a thread keeps for its next round.
const SPARE_BUFFERS: usize = 2;

thread_local! {
    static READ: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
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
    ahead: Option<Ahead>,
    full_read: bool,
    pending: Vec<u8>,
    pending_at: usize,
}

impl Io {
    pub(super) fn new(socket: Socket) -> Self {
        let inner = Inner {
            socket,
            ahead: None,
            full_read: false,
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
        let mut inner = self.inner.borrow_mut();
        inner.full_read = false;
        inner.poll_push(cx)
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

    /// Small answers get a buffer of their size; what outgrows it moves to a full-sized one, which
    /// the thread reuses.
    fn collect(&mut self, data: &[u8]) {
        let wanted = self.pending.len() + data.len();
        if wanted > self.pending.capacity().max(SMALL_WRITE) && !self.is_full_sized() {
            let mut buffer = SPARE
                .with_borrow_mut(Vec::pop)
                .unwrap_or_else(|| Vec::with_capacity(WRITE_BUFFER + LARGEST_FRAME));
            buffer.extend_from_slice(&self.pending);
            self.pending = buffer;
        }
        self.pending.extend_from_slice(data);
    }

    fn is_full_sized(&self) -> bool {
        self.pending.capacity() >= WRITE_BUFFER
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pending.len() - self.pending_at < WRITE_BUFFER {
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
