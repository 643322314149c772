//! The load: many agents in one thread, each message a DATA frame of its own as grpc-java does.
//!
//! Every connection has a fixed number of call slots; a slot makes its calls one after the other and
//! waits for each call's `grpc-status` before the next. The report says what was acknowledged, so
//! that a driver can compare it with what arrived.

mod connection;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use mio::net::TcpStream;
use mio::{Events, Poll, Token};

use crate::http2;
use crate::link::{Link, READ_BUFFER, Ready};
use crate::payload::Payload;
use connection::Connection;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// What the messages are.
    pub payload: Payload,
    /// Connections.
    pub connections: usize,
    /// Calls open at a time on each connection.
    pub streams: usize,
    /// Messages of each call.
    pub messages: u64,
    /// Calls that each slot makes, one after the other.
    pub rounds: u64,
    /// Bytes of each message, as [`Payload::call`] takes them.
    pub size: usize,
    /// Messages a second over all connections; `None`: as fast as they are taken.
    pub rate: Option<u64>,
    /// When to give up.
    pub within: Duration,
}

impl Load {
    /// Messages of the whole load.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.connections as u64 * self.streams as u64 * self.messages * self.rounds
    }
}

/// What became of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// Messages handed to the kernel or waiting for it.
    pub sent: u64,
    /// Messages of calls that ended with status 0.
    pub acked: u64,
    /// Calls that ended with status 0.
    pub calls: u64,
    /// Calls that ended otherwise, were reset, or never ended.
    pub errors: u64,
    /// Connections that the other side ended before their calls were done.
    pub killed: u64,
    /// From the first connection to the last answer.
    pub seconds: f64,
}

impl Report {
    /// One line of JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "sent": self.sent, "acked": self.acked, "calls": self.calls,
            "errors": self.errors, "killed": self.killed, "seconds": self.seconds,
        })
    }

    /// Reads what [`to_json`](Self::to_json) made.
    ///
    /// # Errors
    /// A field is missing.
    pub fn from_json(text: &str) -> Result<Self> {
        let value: serde_json::Value = serde_json::from_str(text)?;
        let number = |name: &str| {
            value[name]
                .as_u64()
                .with_context(|| format!("report without {name}: {text}"))
        };
        Ok(Self {
            sent: number("sent")?,
            acked: number("acked")?,
            calls: number("calls")?,
            errors: number("errors")?,
            killed: number("killed")?,
            seconds: value["seconds"]
                .as_f64()
                .context("report without seconds")?,
        })
    }
}

/// Sends `load` to `target` and waits until every call is answered or the time is up.
///
/// # Errors
/// No message has the size, or the target cannot be connected to.
pub fn run(target: SocketAddr, load: &Load) -> Result<Report> {
    let started = Instant::now();
    let mut poll = Poll::new()?;
    let mut clients = Vec::with_capacity(load.connections);
    for index in 0..load.connections {
        // Blocking, so that a refused connection is an error of the run and not of a call.
        let stream =
            std::net::TcpStream::connect(target).with_context(|| format!("connect to {target}"))?;
        stream.set_nonblocking(true)?;
        let link = Link::new(poll.registry(), TcpStream::from_std(stream), Token(index))?;
        let call = load.payload.call(load.size, index)?;
        clients.push(Some(Connection::new(link, load, call, target)));
    }
    let mut pace = Pace::new(load.rate, started);
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; READ_BUFFER + http2::HEAD + http2::MAX_FRAME];
    let (mut ready, mut round, mut report) = (Ready::default(), Vec::new(), Report::default());
    let mut open = clients.len();
    while open > 0 && started.elapsed() < load.within {
        ready.poll(&mut poll, &mut events, Some(pace.wait()))?;
        for event in &events {
            if let Some(Some(client)) = clients.get_mut(event.token().0) {
                client.note(event);
                ready.add(event.token().0);
            }
        }
        if pace.refill() {
            (0..clients.len()).for_each(|index| ready.add(index));
        }
        ready.take(&mut round);
        for index in &round {
            let Some(client) = clients[*index].as_mut() else {
                continue;
            };
            let alive = client.turn(&mut buffer, &mut pace.allowed, &mut report);
            if client.is_done() {
                clients[*index] = None;
                open -= 1;
            } else if alive.is_err() {
                report.killed += 1;
                report.errors += client.unanswered();
                clients[*index] = None;
                open -= 1;
            } else if client.has_work(pace.allowed) {
                ready.add(*index);
            }
        }
    }
    report.errors += clients
        .iter()
        .flatten()
        .map(Connection::unanswered)
        .sum::<u64>();
    report.seconds = started.elapsed().as_secs_f64();
    Ok(report)
}

/// How many messages may be sent now.
struct Pace {
    rate: Option<u64>,
    started: Instant,
    /// Granted since the start.
    granted: u64,
    allowed: u64,
}

/// Longest wait, so that the deadline is seen.
const LONGEST_WAIT: Duration = Duration::from_millis(100);
/// Step of a paced load.
const TICK: Duration = Duration::from_millis(1);

impl Pace {
    fn new(rate: Option<u64>, started: Instant) -> Self {
        let allowed = if rate.is_some() { 0 } else { u64::MAX };
        Self {
            rate,
            started,
            granted: 0,
            allowed,
        }
    }

    fn wait(&self) -> Duration {
        if self.rate.is_some() {
            TICK
        } else {
            LONGEST_WAIT
        }
    }

    /// Whether there is something new to grant.
    fn refill(&mut self) -> bool {
        let Some(rate) = self.rate else { return false };
        let due = (self.started.elapsed().as_secs_f64() * rate as f64) as u64;
        let new = due - self.granted;
        self.granted = due;
        self.allowed += new;
        new > 0
    }
}
