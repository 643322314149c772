//! The books of the front: connections, streams, and why some of them were refused.

use super::count::{Count, Gauge};
use super::cpu::CpuBooks;

/// Why a connection ended before its peer closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionError {
    /// No HTTP/2 preface in time, or a wrong one.
    Handshake,
    /// The peer broke HTTP/2.
    Protocol,
    /// The TLS handshake failed.
    Tls,
    /// Above the number of connections that we serve.
    Limit,
    /// Above the share of CPU at which we serve more.
    Cpu,
    /// Above the number of connections that one address may have.
    Source,
    /// The socket failed.
    Io,
}

impl ConnectionError {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Handshake,
        Self::Protocol,
        Self::Tls,
        Self::Limit,
        Self::Cpu,
        Self::Source,
        Self::Io,
    ];

    /// Value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Protocol => "protocol",
            Self::Tls => "tls",
            Self::Limit => "limit",
            Self::Cpu => "cpu_limit",
            Self::Source => "source_limit",
            Self::Io => "io",
        }
    }
}

/// Why a call was ended by us with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No row of the table has the path.
    UnknownMethod,
    /// The file switches the method's pipe off.
    Disabled,
    /// A message above the limit.
    Oversized,
    /// The body ended within a message.
    Truncated,
    /// A gRPC frame that cannot be read: a bad flag, or compressed bytes that do not inflate.
    BadFrame,
    /// More or fewer messages than the method takes.
    WrongShape,
    /// Request headers that cannot be served.
    Metadata,
    /// No token, or a wrong one.
    Authentication,
    /// Not `application/grpc`.
    ContentType,
    /// The caller's deadline passed.
    Deadline,
    /// A passthrough call found no ready node.
    NoNode,
    /// Our own fault.
    Internal,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::UnknownMethod,
        Self::Disabled,
        Self::Oversized,
        Self::Truncated,
        Self::BadFrame,
        Self::WrongShape,
        Self::Metadata,
        Self::Authentication,
        Self::ContentType,
        Self::Deadline,
        Self::NoNode,
        Self::Internal,
    ];

    /// Value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::UnknownMethod => "unknown_method",
            Self::Disabled => "disabled",
            Self::Oversized => "oversized",
            Self::Truncated => "truncated",
            Self::BadFrame => "bad_frame",
            Self::WrongShape => "wrong_shape",
            Self::Metadata => "metadata",
            Self::Authentication => "authentication",
            Self::ContentType => "content_type",
            Self::Deadline => "deadline",
            Self::NoNode => "no_node",
            Self::Internal => "internal",
        }
    }
}

/// What came in from agents.
#[derive(Debug, Default)]
pub struct FrontBooks {
    /// Connections that are open.
    pub connections_open: Gauge,
    /// Connections that were accepted.
    pub connections: Count,
    /// Streams (calls) that are open.
    pub streams_open: Gauge,
    /// Streams that were begun.
    pub streams: Count,
    /// Streams that are not read because a queue or the budget is full.
    pub paused_streams: Gauge,
    /// What we use of the CPU.
    pub cpu: CpuBooks,
    /// Bytes of request bodies.
    pub received_bytes: Count,
    connection_errors: [Count; ConnectionError::ALL.len()],
    refusals: [Count; Refusal::ALL.len()],
}

impl FrontBooks {
    /// A connection was accepted.
    pub fn connection_opened(&self) {
        self.connections.add(1);
        self.connections_open.inc();
    }

    /// An accepted connection is gone.
    pub fn connection_closed(&self) {
        self.connections_open.dec();
    }

    /// A stream was begun.
    pub fn stream_opened(&self) {
        self.streams.add(1);
        self.streams_open.inc();
    }

    /// A stream is gone.
    pub fn stream_closed(&self) {
        self.streams_open.dec();
    }

    /// A connection failed.
    pub fn connection_failed(&self, error: ConnectionError) {
        self.connection_errors[error as usize].add(1);
    }

    /// Connections that failed so.
    pub fn connection_errors(&self, error: ConnectionError) -> u64 {
        self.connection_errors[error as usize].value()
    }

    /// A call was refused.
    pub fn refused(&self, refusal: Refusal) {
        self.refusals[refusal as usize].add(1);
    }

    /// Calls that were refused so.
    pub fn refusals(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal as usize].value()
    }
}
