//! A counting HTTP/2 server with an OAP's settings.
//!
//! Counts messages by walking their length prefixes and answers every stream at its end with an
//! empty `Commands` and status 0, whatever its method. Header blocks are not decoded. The counts
//! are served as one line of text to whoever connects to the control address.

use std::collections::HashMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};

use crate::http2::{self, MAX_FRAME, PREFACE, flag, kind, setting};
use crate::link::{Link, READ_BUFFER, Ready, Received};

const LISTENER: Token = Token(usize::MAX);
const CONTROL: Token = Token(usize::MAX - 1);

/// Initial window of OAP's grpc-java server. Source: protocols.md, "Seen on a real OAP".
const WINDOW: u32 = 1 << 20;

/// Response headers with `:status 200` and `application/grpc`, without the dynamic table.
const HEADERS: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// Trailers with `grpc-status: 0`, without the dynamic table.
const TRAILERS: &[u8] = b"\x00\x0bgrpc-status\x010";

/// What has arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Whole messages.
    pub messages: u64,
    /// Streams that were answered.
    pub streams: u64,
    /// Connections accepted.
    pub connections: u64,
}

impl Counts {
    /// Reads what a sink's control address sends.
    ///
    /// # Errors
    /// The sink does not answer within `within`, or not with three numbers.
    pub fn fetch(control: SocketAddr, within: Duration) -> Result<Self> {
        let stream = std::net::TcpStream::connect_timeout(&control, within)?;
        stream.set_read_timeout(Some(within))?;
        let line = io::read_to_string(stream).context("ask the sink for its counts")?;
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [messages, streams, connections] = numbers[..] else {
            bail!("the sink's counts are not three numbers: {line:?}");
        };
        Ok(Self {
            messages,
            streams,
            connections,
        })
    }
}

/// Serves until the process is ended. `listening` is called with both addresses once they are open.
///
/// # Errors
/// An address is taken, or polling fails.
pub fn run(
    listen: SocketAddr,
    control: SocketAddr,
    listening: impl FnOnce(SocketAddr, SocketAddr) -> Result<()>,
) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(listen).with_context(|| format!("listen on {listen}"))?;
    let mut control = TcpListener::bind(control).with_context(|| format!("listen on {control}"))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    poll.registry()
        .register(&mut control, CONTROL, Interest::READABLE)?;
    listening(listener.local_addr()?, control.local_addr()?)?;
    let mut events = Events::with_capacity(1024);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut counts = Counts::default();
    let mut buffer = vec![0; READ_BUFFER + http2::HEAD + MAX_FRAME];
    let mut ready = Ready::default();
    let mut round = Vec::new();
    loop {
        ready.poll(&mut poll, &mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, poll.registry(), &mut connections, &mut counts)?,
                CONTROL => tell(&control, counts)?,
                Token(index) => {
                    if let Some(connection) = connections.get_mut(index).and_then(Option::as_mut) {
                        connection.link.note(event);
                        ready.add(index);
                    }
                }
            }
        }
        ready.take(&mut round);
        for index in &round {
            let Some(connection) = connections[*index].as_mut() else {
                continue;
            };
            match connection.serve(&mut buffer, &mut counts) {
                Ok(()) if connection.link.is_readable() => ready.add(*index),
                Ok(()) => {}
                Err(_) => connections[*index] = None,
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    registry: &mio::Registry,
    connections: &mut Vec<Option<Connection>>,
    counts: &mut Counts,
) -> Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        counts.connections += 1;
        let free = connections
            .iter()
            .position(Option::is_none)
            .unwrap_or(connections.len());
        let connection = Some(Connection::new(Link::new(registry, stream, Token(free))?));
        match connections.get_mut(free) {
            Some(slot) => *slot = connection,
            None => connections.push(connection),
        }
    }
}

fn tell(control: &TcpListener, counts: Counts) -> Result<()> {
    loop {
        let mut stream = match control.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Counts {
            messages,
            streams,
            connections,
        } = counts;
        // A few bytes always fit into a new socket; an asker that is gone does not matter.
        drop(writeln!(stream, "{messages} {streams} {connections}"));
    }
}

/// One client.
struct Connection {
    link: Link,
    /// Bytes of a frame that is not complete yet.
    tail: Vec<u8>,
    greeted: bool,
    /// DATA bytes not yet given back to the connection's window.
    taken: u32,
    streams: HashMap<u32, Stream>,
}

/// One call.
#[derive(Default)]
struct Stream {
    /// DATA bytes not yet given back to the stream's window.
    taken: u32,
    walk: Walk,
}

/// Where in a body of length-prefixed messages we are.
#[derive(Debug, Default)]
struct Walk {
    prefix: [u8; 5],
    /// Bytes of `prefix` that have arrived; 0 between messages.
    known: usize,
    /// Bytes of the message still to come.
    missing: usize,
}

impl Walk {
    /// Passes over `body` and says how many messages it completed.
    fn count(&mut self, mut body: &[u8]) -> u64 {
        let mut messages = 0;
        loop {
            if self.known == self.prefix.len() {
                let skipped = self.missing.min(body.len());
                self.missing -= skipped;
                body = &body[skipped..];
                if self.missing > 0 {
                    return messages;
                }
                messages += 1;
                self.known = 0;
            }
            let Some((byte, rest)) = body.split_first() else {
                return messages;
            };
            self.prefix[self.known] = *byte;
            self.known += 1;
            body = rest;
            let [_, a, b, c, d] = self.prefix;
            self.missing = u32::from_be_bytes([a, b, c, d]) as usize;
        }
    }
}

impl Connection {
    fn new(mut link: Link) -> Self {
        let settings = [
            (setting::MAX_CONCURRENT_STREAMS, i32::MAX as u32),
            (setting::INITIAL_WINDOW_SIZE, WINDOW),
        ];
        http2::put_settings(link.outbox(), &settings);
        http2::put_window_update(link.outbox(), 0, WINDOW - http2::DEFAULT_WINDOW as u32);
        Self {
            link,
            tail: Vec::new(),
            greeted: false,
            taken: 0,
            streams: HashMap::new(),
        }
    }

    /// One read, its frames, and one write; an error ends the connection.
    fn serve(&mut self, buffer: &mut [u8], counts: &mut Counts) -> Result<()> {
        let kept = self.tail.len();
        buffer[..kept].copy_from_slice(&self.tail);
        let read = match self.link.receive(&mut buffer[kept..]) {
            Received::Bytes(read) => read,
            Received::Nothing => 0,
            Received::End => bail!("the client has ended the connection"),
        };
        if read > 0 {
            let mut bytes = &buffer[..kept + read];
            if !self.greeted && bytes.len() >= PREFACE.len() {
                bytes = bytes
                    .strip_prefix(PREFACE)
                    .context("not an HTTP/2 client")?;
                self.greeted = true;
            }
            while self.greeted
                && let Some(frame) = http2::take_frame(&mut bytes)?
            {
                self.frame(&frame, counts)?;
            }
            self.tail.clear();
            self.tail.extend_from_slice(bytes);
            if self.taken >= WINDOW / 2 {
                http2::put_window_update(self.link.outbox(), 0, self.taken);
                self.taken = 0;
            }
        }
        Ok(self.link.flush()?)
    }

    fn frame(&mut self, frame: &http2::Frame<'_>, counts: &mut Counts) -> Result<()> {
        match frame.kind {
            kind::DATA => self.data(frame, counts)?,
            kind::HEADERS => {
                ensure!(
                    frame.has(flag::END_HEADERS),
                    "CONTINUATION is not supported"
                );
                self.streams.insert(frame.stream, Stream::default());
                if frame.has(flag::END_STREAM) {
                    self.answer(frame.stream, counts);
                }
            }
            kind::RST_STREAM => drop(self.streams.remove(&frame.stream)),
            kind::SETTINGS | kind::PING => http2::put_acknowledgement(self.link.outbox(), frame),
            _ => {}
        }
        Ok(())
    }

    fn data(&mut self, frame: &http2::Frame<'_>, counts: &mut Counts) -> Result<()> {
        let length = u32::try_from(frame.payload.len())?;
        self.taken += length;
        let Some(stream) = self.streams.get_mut(&frame.stream) else {
            return Ok(());
        };
        counts.messages += stream.walk.count(frame.content()?);
        stream.taken += length;
        if frame.has(flag::END_STREAM) {
            self.answer(frame.stream, counts);
        } else if stream.taken >= WINDOW / 2 {
            http2::put_window_update(self.link.outbox(), frame.stream, stream.taken);
            stream.taken = 0;
        }
        Ok(())
    }

    fn answer(&mut self, stream: u32, counts: &mut Counts) {
        counts.streams += 1;
        self.streams.remove(&stream);
        let out = self.link.outbox();
        http2::put_frame(out, kind::HEADERS, flag::END_HEADERS, stream, HEADERS);
        http2::put_frame(out, kind::DATA, 0, stream, &[0; 5]);
        let ends = flag::END_HEADERS | flag::END_STREAM;
        http2::put_frame(out, kind::HEADERS, ends, stream, TRAILERS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_they_are_cut() {
        let mut body = Vec::new();
        for length in [0_u32, 1, 300, 7] {
            body.push(0);
            body.extend_from_slice(&length.to_be_bytes());
            body.resize(body.len() + length as usize, 0xff);
        }
        for step in 1..=body.len() {
            let mut walk = Walk::default();
            let counted: u64 = body.chunks(step).map(|piece| walk.count(piece)).sum();
            assert_eq!(counted, 4, "in pieces of {step} bytes");
        }
    }
}
