//! The vocabulary of the protocol table: closed enums, plain data.
//!
//! A row says everything the daemon needs to know about a method. Routing, answers, queueing,
//! metric labels, configuration names and the README's table all follow from it, so that adding a
//! protocol is adding a row.

use std::time::Duration;

/// A family of methods that share a pipe: one queue, one set of metrics, one entry in the file.
#[derive(Debug)]
pub struct Protocol {
    /// `pipe_name` in Satellite's stock file, and the built-in pipe's name where Satellite has none.
    pub pipe: &'static str,
    /// `plugin_name` of the receiver, by which a pipe in the file chooses its protocol.
    pub receiver: &'static str,
    /// `plugin_name` of the forwarder that goes with the receiver.
    pub forwarder: &'static str,
    /// Value of the label `type` on `sender_output_count` (Satellite's `SniffType` names).
    pub sniff_type: &'static str,
    /// Where the protocol comes from, which decides what a file that does not name it means.
    pub origin: Origin,
    /// The methods, in the order of the reference.
    pub methods: &'static [Method],
}

/// Whether Satellite knows the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In Satellite: a file without its pipe switches it off.
    Satellite,
    /// Ours: has a built-in pipe that the file may override or switch off.
    BuiltIn,
}

/// One gRPC method.
#[derive(Debug)]
pub struct Method {
    /// Path as agents call it, e.g. `/skywalking.v3.EventService/collect`.
    pub path: &'static str,
    /// Full name of the request message.
    pub request: &'static str,
    /// Full name of the response message.
    pub response: &'static str,
    /// Streaming shape on the agents' side.
    pub shape: Shape,
    /// Who answers the client.
    pub mode: Mode,
}

/// Streaming shape of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One message, one answer.
    Unary,
    /// Many messages, one answer.
    ClientStream,
    /// Many messages both ways.
    Bidi,
}

/// Who answers the client, and what becomes of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The OAP answers; the gateway copies both directions live and repeats nothing.
    Passthrough,
    /// The gateway answers at once and delivers later.
    Queued(Queued),
}

/// How a queued method is kept and delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queued {
    /// What makes its messages fit to travel alone.
    pub adapter: Adapter,
    /// How a batch leaves.
    pub forward: Forward,
    /// After this age a message is dropped and counted as `expired`; `None`: the pipe's retry age
    /// alone decides.
    pub ttl: Option<Duration>,
}

/// What has to be done to a method's messages so that each may travel alone.
///
/// Many receivers in OAP let a message inherit something from those before it in the same call.
/// A queue cuts and mixes calls, so what is in it inherits nothing: the adapter writes into each
/// message what its receiver would have known, and says which messages may share a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// Nothing: they say everything themselves, and any node may have them, in any company.
    Plain,
    /// Messages with the same values of these fields, each a path of field numbers from the
    /// message down, go to one node. A message that lacks all of them goes where the one before
    /// it in its call went.
    Keyed(&'static [&'static [u32]]),
    /// One that is followed by another with the same values of these fields within a batch does not
    /// leave.
    Latest(&'static [&'static [u32]]),
    /// `LogReportService`: the service is inherited, and a call has one only.
    Logs,
    /// `MeterReportService/collect`: the call is one set, and goes out as one message.
    Meters,
    /// Envoy's access logs: the identifier is inherited.
    EnvoyAccessLogs,
    /// Envoy's metrics: the first message's identifier is the call's.
    EnvoyMetrics,
    /// `EBPFAccessLogService`: node and connection are inherited.
    EbpfAccessLogs,
    /// `EBPFProfilingService`: the task is inherited.
    EbpfProfiling,
    /// `ProfileTask/goProfileReport`: the chunks of a task belong to one call.
    GoProfiles,
    /// OTLP metrics: resources of one key go to one node.
    OtlpMetrics,
    /// `EventService`: an event without layer would end the call.
    Events,
}

impl Adapter {
    /// Whether only few messages may share a call, those of one service, say. There are many small
    /// calls then.
    pub const fn is_grouped(&self) -> bool {
        matches!(self, Self::Logs | Self::EnvoyMetrics | Self::EbpfAccessLogs)
    }

    /// Whether a node has to see everything of a key, because it remembers what came before.
    pub const fn is_sticky(&self) -> bool {
        matches!(
            self,
            Self::Keyed(_) | Self::Meters | Self::EnvoyMetrics | Self::OtlpMetrics
        )
    }
}

/// How a batch leaves the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// As one client stream on this path.
    Stream(&'static str),
    /// As one unary call a message on this path.
    Unary(&'static str),
}

impl Forward {
    /// The path on the OAP.
    pub const fn path(&self) -> &'static str {
        match self {
            Self::Stream(path) | Self::Unary(path) => path,
        }
    }
}

impl Method {
    /// A method whose client waits for the OAP's answer.
    pub const fn passthrough(
        path: &'static str,
        shape: Shape,
        request: &'static str,
        response: &'static str,
    ) -> Self {
        Self {
            path,
            request,
            response,
            shape,
            mode: Mode::Passthrough,
        }
    }

    /// A unary report that is answered at once and goes out as a unary call on the same path.
    pub const fn queued_unary(
        path: &'static str,
        request: &'static str,
        response: &'static str,
    ) -> Self {
        Self::queued(path, Shape::Unary, request, response, Forward::Unary(path))
    }

    /// A client stream that is answered at its half-close and goes out as streams on the same path.
    pub const fn queued_stream(
        path: &'static str,
        request: &'static str,
        response: &'static str,
    ) -> Self {
        Self::queued(
            path,
            Shape::ClientStream,
            request,
            response,
            Forward::Stream(path),
        )
    }

    const fn queued(
        path: &'static str,
        shape: Shape,
        request: &'static str,
        response: &'static str,
        forward: Forward,
    ) -> Self {
        let mode = Mode::Queued(Queued {
            adapter: Adapter::Plain,
            forward,
            ttl: None,
        });
        Self {
            path,
            request,
            response,
            shape,
            mode,
        }
    }

    /// The same row for another path: old agents call services without their package.
    pub const fn alias(&self, path: &'static str) -> Self {
        Self {
            path,
            request: self.request,
            response: self.response,
            shape: self.shape,
            mode: self.mode,
        }
    }

    /// Sends the messages to another path of the same shape.
    #[must_use]
    pub const fn forward_to(mut self, path: &'static str) -> Self {
        if let Mode::Queued(queued) = &mut self.mode {
            queued.forward = match queued.forward {
                Forward::Stream(_) => Forward::Stream(path),
                Forward::Unary(_) => Forward::Unary(path),
            };
        }
        self
    }

    /// Gives the method an adapter.
    #[must_use]
    pub const fn adapted(mut self, adapter: Adapter) -> Self {
        if let Mode::Queued(queued) = &mut self.mode {
            queued.adapter = adapter;
        }
        self
    }

    /// Drops a message that could not be delivered in this time.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        if let Mode::Queued(queued) = &mut self.mode {
            queued.ttl = Some(ttl);
        }
        self
    }

    /// The path to call on an OAP.
    pub const fn upstream_path(&self) -> &'static str {
        match self.mode {
            Mode::Passthrough => self.path,
            Mode::Queued(queued) => queued.forward.path(),
        }
    }
}
