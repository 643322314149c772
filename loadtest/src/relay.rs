//! A plain byte relay: the physical floor that gateways are measured against.
//!
//! Each accepted connection gets one of its own to the upstream; bytes are copied both ways through
//! one read buffer. A side whose peer does not take bytes is not read.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::link::{Link, READ_BUFFER, Ready, Received};

const LISTENER: Token = Token(usize::MAX);

/// Both ends of one relayed connection; tokens are twice the index of the pair, plus the side.
struct Pair {
    sides: [Link; 2],
    ended: [bool; 2],
}

/// Relays until the process is ended. `listening` is called with the address once connections are taken.
///
/// # Errors
/// The address is taken, or polling fails.
pub fn run(
    listen: SocketAddr,
    upstream: SocketAddr,
    listening: impl FnOnce(SocketAddr) -> Result<()>,
) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(listen).with_context(|| format!("listen on {listen}"))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)?;
    listening(listener.local_addr()?)?;
    let mut events = Events::with_capacity(1024);
    let mut pairs: Vec<Option<Pair>> = Vec::new();
    let mut buffer = vec![0; READ_BUFFER];
    let mut ready = Ready::default();
    let mut round = Vec::new();
    loop {
        ready.poll(&mut poll, &mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, upstream, poll.registry(), &mut pairs)?;
            } else if let Some(pair) = pairs.get_mut(event.token().0 / 2).and_then(Option::as_mut) {
                pair.sides[event.token().0 % 2].note(event);
                ready.add(event.token().0 / 2);
            }
        }
        ready.take(&mut round);
        for index in &round {
            let Some(pair) = pairs[*index].as_mut() else {
                continue;
            };
            match pair.copy(&mut buffer) {
                Some(more) if more => ready.add(*index),
                Some(_) => {}
                None => pairs[*index] = None,
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    upstream: SocketAddr,
    registry: &mio::Registry,
    pairs: &mut Vec<Option<Pair>>,
) -> Result<()> {
    loop {
        let agent = match listener.accept() {
            Ok((agent, _)) => agent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let oap = TcpStream::connect(upstream)?;
        let free = pairs
            .iter()
            .position(Option::is_none)
            .unwrap_or(pairs.len());
        let agent = Link::new(registry, agent, Token(2 * free))?;
        let oap = Link::new(registry, oap, Token(2 * free + 1))?;
        let pair = Some(Pair {
            sides: [agent, oap],
            ended: [false, false],
        });
        match pairs.get_mut(free) {
            Some(slot) => *slot = pair,
            None => pairs.push(pair),
        }
    }
}

impl Pair {
    /// One read and write each way; whether there may be more, `None` once the pair is done for.
    fn copy(&mut self, buffer: &mut [u8]) -> Option<bool> {
        let mut more = false;
        for from in 0..2 {
            let to = 1 - from;
            self.sides[to].flush().ok()?;
            if self.ended[from] || self.sides[to].backlog() > 0 || !self.sides[to].is_writable() {
                continue;
            }
            match self.sides[from].receive(buffer) {
                Received::Bytes(read) => self.sides[to].send(&buffer[..read]).ok()?,
                Received::Nothing => {}
                Received::End => {
                    self.ended[from] = true;
                    self.sides[to].end();
                }
            }
            more |=
                self.sides[from].is_readable() && self.sides[to].is_writable() && !self.ended[from];
        }
        if self.ended == [true, true] {
            None
        } else {
            Some(more)
        }
    }
}
