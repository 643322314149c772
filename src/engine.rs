//! The engine: everything that knows how HTTP/2 is done.
//!
//! The rest of the daemon sees streams of gRPC messages and nothing of frames, windows or header
//! compression. This module's public items are the whole seam; an engine with its own framing may
//! replace `http2` without a change elsewhere.
//!
//! # Towards agents
//! A [`Service`] is told of every call ([`Service::open`]) and says what becomes of it
//! ([`Disposition`]):
//! - *queued*: an [`Ingest`] is given runs of whole length-prefixed messages
//!   ([`Ingest::poll_messages`]; pending is the credit: the client's window is not refilled until
//!   it is ready), then exactly one of [`Ingest::half_closed`], which returns the answer, and
//!   [`Ingest::reset`].
//! - *live*: a handler is given both directions of the call ([`Live`]) as opaque chunks of bytes
//!   with credit, half-close, reset and trailers each way.
//! - *refused* with a [`Status`].
//!
//! # Towards the OAP
//! A [`Channel`] is one connection to one node. It takes a batch that is already length-prefixed
//! ([`Channel::send`]) and gives back an [`Outcome`], or opens a live call ([`Channel::open`]).
//!
//! # Decisions
//! - Bodies are bytes. No message type is decoded here or above.
//! - One thread drives a connection and its streams (nothing here is `Send`); work stealing
//!   costs 1.9 times the CPU (`performance.md` 2.7).

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;

mod framing;
mod gzip;
mod http2;
pub mod metadata;
pub mod socket;
pub mod status;
pub mod tls;
mod turn_away;

pub use http2::channel::{
    Awaited, Channel, Closed, ConnectError, OpenError, Opened, Outcome, Outgoing, Place, Target,
};
pub use http2::front::{ConnectionError, Drain, Front, FrontOptions, serve};
pub use http2::live::{Broken, Live, RecvBody, Responder, SendBody, Unsent};
pub use perigee_plugin_api::framing::{PREFIX, messages, prefix};
pub use status::{Code, Status};
pub use turn_away::turn_away;

/// A call as its client opened it.
#[derive(Debug)]
pub struct Call<'a> {
    /// `/package.Service/method`.
    pub path: &'a str,
    /// All request headers. What may be forwarded is chosen by [`metadata`].
    pub headers: &'a HeaderMap,
    /// The client's address.
    pub peer: SocketAddr,
    /// Number of the connection, unique in the process; its messages keep their order.
    pub connection: u64,
    /// When the client stops waiting.
    pub deadline: Option<Instant>,
}

/// What becomes of a call.
pub enum Disposition {
    /// Answered now; the body is not read.
    Refuse(Status),
    /// Read by the engine, message by message.
    Queue {
        /// The method takes exactly one message.
        unary: bool,
        /// Who takes them.
        ingest: Box<dyn Ingest>,
    },
    /// Handed over whole.
    Live(LiveHandler),
}

/// Runs a live call to its end.
pub type LiveHandler = Box<dyn FnOnce(Live) -> Pin<Box<dyn Future<Output = ()>>>>;

/// Decides about calls. One for each worker thread.
pub trait Service {
    /// A client has opened a call.
    fn open(&self, call: &Call<'_>) -> Disposition;

    /// The engine itself has refused a call or the rest of one, for the counters.
    fn refused(&self, why: Refusal);

    /// A stream's reading has been paused or resumed.
    fn paused(&self, paused: bool);
}

/// Why the engine refused something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A message longer than the limit.
    Oversized,
    /// The stream ended inside a message.
    Truncated,
    /// A bad message prefix, or compressed data that does not inflate.
    BadFrame,
    /// Not exactly one message on a unary method.
    WrongShape,
    /// More metadata than is accepted.
    Metadata,
    /// Not a gRPC request.
    NotGrpc,
    /// The client's deadline passed while the call was paused.
    Deadline,
}

/// Takes the messages of one queued call.
pub trait Ingest {
    /// Takes a run of whole length-prefixed messages. When pending, it is called again with the
    /// same run, and the client is not read in the meantime.
    fn poll_messages(&mut self, framed: &[u8], count: u32, cx: &mut Context<'_>) -> Poll<()>;

    /// Called while the client is silent, and whenever the task was woken: for what was taken and
    /// is to go on by itself.
    fn poll_idle(&mut self, _cx: &mut Context<'_>) {}

    /// The client has sent everything: the answer, as a length-prefixed message.
    fn half_closed(&mut self) -> Result<Bytes, Status>;

    /// The call has ended otherwise; what was taken stays taken.
    fn reset(&mut self);
}
