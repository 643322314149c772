//! A non-blocking socket with an outbox, and the set of sockets that have work.
//!
//! `mio` reports edges, so a socket's readiness is remembered here until the kernel says otherwise.
//! Each round handles every ready socket once; a socket that still has bytes is put back, so that no
//! connection starves the others.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

/// Read buffer of a thread: one `recv` may take this much.
pub const READ_BUFFER: usize = 256 * 1024;

/// What one read gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes at the start of the buffer.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// The peer has ended its half, or the connection broke.
    End,
}

/// A non-blocking socket with an outbox.
#[derive(Debug)]
pub struct Link {
    stream: TcpStream,
    outbox: Vec<u8>,
    sent: usize,
    writable: bool,
    readable: bool,
    peer_ended: bool,
}

impl Link {
    /// Registers `stream` for both directions.
    ///
    /// # Errors
    /// The poll refuses the socket.
    pub fn new(registry: &Registry, mut stream: TcpStream, token: Token) -> io::Result<Self> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        // Fails on a socket that is still connecting on some systems; batching hides the loss.
        drop(stream.set_nodelay(true));
        Ok(Self {
            stream,
            outbox: Vec::new(),
            sent: 0,
            writable: false,
            readable: false,
            peer_ended: false,
        })
    }

    /// Remembers what the kernel reported.
    pub fn note(&mut self, event: &Event) {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.peer_ended |= event.is_read_closed() || event.is_error();
    }

    /// Whether a read may give something.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.readable
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.outbox.len() - self.sent
    }

    /// Whether the kernel takes bytes.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Where to append bytes for the next [`flush`](Self::flush).
    pub fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// One `recv` into `buffer`.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        if !self.readable {
            return Received::Nothing;
        }
        match self.stream.read(buffer) {
            Ok(0) => Received::End,
            Ok(read) => {
                // A short read has emptied the socket, unless an end is queued behind the bytes.
                self.readable = read == buffer.len() || self.peer_ended;
                Received::Bytes(read)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Received::Nothing
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Received::Nothing,
            Err(_) => Received::End,
        }
    }

    /// Sends `bytes` at once if nothing waits; what the kernel does not take goes to the outbox.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = if self.backlog() == 0 {
            self.write(bytes)?
        } else {
            0
        };
        self.outbox.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Writes the outbox as far as the kernel takes it.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.backlog() == 0 || !self.writable {
            return Ok(());
        }
        let outbox = std::mem::take(&mut self.outbox);
        let written = self.write(&outbox[self.sent..]);
        self.outbox = outbox;
        self.sent += written?;
        if self.sent == self.outbox.len() {
            self.outbox.clear();
            self.sent = 0;
        }
        Ok(())
    }

    /// Ends our half.
    pub fn end(&self) {
        // A peer that is already gone has nothing to be told.
        drop(self.stream.shutdown(std::net::Shutdown::Write));
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.writable {
            return Ok(0);
        }
        match self.stream.write(bytes) {
            Ok(written) => {
                self.writable = written == bytes.len();
                Ok(written)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(0)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// Indexes of sockets that have work this round, each once.
#[derive(Debug, Default)]
pub struct Ready {
    queue: Vec<usize>,
    queued: Vec<bool>,
}

impl Ready {
    /// Puts `index` into the next round.
    pub fn add(&mut self, index: usize) {
        if self.queued.len() <= index {
            self.queued.resize(index + 1, false);
        }
        if !std::mem::replace(&mut self.queued[index], true) {
            self.queue.push(index);
        }
    }

    /// Looks for events; waits for them, at most for `idle`, only when the next round has nothing to
    /// do yet.
    ///
    /// # Errors
    /// The poll fails.
    pub fn poll(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        idle: Option<Duration>,
    ) -> io::Result<()> {
        let wait = if self.queue.is_empty() {
            idle
        } else {
            Some(Duration::ZERO)
        };
        loop {
            match poll.poll(events, wait) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                polled => return polled,
            }
        }
    }

    /// Starts a round: everything added so far, into `round`.
    pub fn take(&mut self, round: &mut Vec<usize>) {
        round.clear();
        std::mem::swap(round, &mut self.queue);
        for index in round.iter() {
            self.queued[*index] = false;
        }
    }
}
