//! Live calls: both directions as chunks of bytes, with credit.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Response};

use super::front::grpc_head;
use crate::engine::{Code, Status};

/// The other side has ended the call, or its connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("call ended by its other side ({0})")]
pub struct Broken(pub(super) Reason);

impl From<h2::Error> for Broken {
    fn from(error: h2::Error) -> Self {
        Self(error.reason().unwrap_or(Reason::CANCEL))
    }
}

/// Why bytes were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// The other side has ended the call.
    Broken,
    /// The other side has given no credit in time.
    NoCredit,
}

/// A client's call, handed over whole.
pub struct Live {
    /// What the client sends.
    pub body: RecvBody,
    /// The way back.
    pub respond: Responder,
    /// When the client stops waiting.
    pub deadline: Option<Instant>,
}

/// One direction, for reading.
pub struct RecvBody {
    stream: RecvStream,
}

impl RecvBody {
    pub(super) fn new(stream: RecvStream) -> Self {
        Self { stream }
    }

    /// The next bytes; `None` after the last. cancel-safe: nothing is held.
    ///
    /// # Errors
    /// The other side has reset the call.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        Ok(poll_fn(|cx| self.stream.poll_data(cx)).await.transpose()?)
    }

    /// Gives back credit for bytes that have left us.
    pub fn release(&mut self, bytes: usize) {
        // Fails only for a stream that is gone.
        let _gone = self.stream.flow_control().release_capacity(bytes);
    }

    /// The trailers, after the last chunk.
    ///
    /// # Errors
    /// The other side has reset the call.
    pub async fn trailers(&mut self) -> Result<Option<HeaderMap>, Broken> {
        Ok(poll_fn(|cx| self.stream.poll_trailers(cx)).await?)
    }
}

/// One direction, for writing.
pub struct SendBody {
    stream: SendStream<Bytes>,
}

impl SendBody {
    pub(super) fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream }
    }

    /// Sends the bytes as the other side gives credit. `end`: nothing follows.
    ///
    /// # Errors
    /// The other side has reset the call.
    pub async fn send(&mut self, mut bytes: Bytes, end: bool) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let room = self.credit(bytes.len()).await?;
            let part = bytes.split_to(room.min(bytes.len()));
            self.stream.send_data(part, end && bytes.is_empty())?;
        }
        Ok(())
    }

    /// Sends the bytes as the other side gives credit; after `patience` without any it depends on
    /// `excused` whether it gets as much time again.
    ///
    /// # Errors
    /// See [`Unsent`].
    pub async fn send_within(
        &mut self,
        mut bytes: Bytes,
        patience: Duration,
        excused: impl Fn() -> bool,
    ) -> Result<(), Unsent> {
        while !bytes.is_empty() {
            let room = match tokio::time::timeout(patience, self.credit(bytes.len())).await {
                Ok(room) => room.map_err(|_| Unsent::Broken)?,
                Err(_) if excused() => continue,
                Err(_) => return Err(Unsent::NoCredit),
            };
            let part = bytes.split_to(room.min(bytes.len()));
            self.send_now(part, false).map_err(|_| Unsent::Broken)?;
        }
        Ok(())
    }

    /// Waits until some of `wanted` bytes may be sent.
    pub(super) async fn credit(&mut self, wanted: usize) -> Result<usize, Broken> {
        self.stream.reserve_capacity(wanted);
        if self.stream.capacity() > 0 {
            return Ok(self.stream.capacity());
        }
        poll_fn(|cx| self.poll_credit(cx)).await
    }

    fn poll_credit(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        if let Poll::Ready(reset) = self.stream.poll_reset(cx) {
            return Poll::Ready(Err(reset.map_or_else(Broken::from, Broken)));
        }
        match self.stream.poll_capacity(cx) {
            Poll::Ready(Some(Ok(0))) | Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(room))) => Poll::Ready(Ok(room)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(error.into())),
            Poll::Ready(None) => Poll::Ready(Err(Broken(Reason::CANCEL))),
        }
    }

    pub(super) fn send_now(&mut self, bytes: Bytes, end: bool) -> Result<(), Broken> {
        Ok(self.stream.send_data(bytes, end)?)
    }

    /// Resolves when the other side has ended the call.
    pub async fn gone(&mut self) {
        let _reason = poll_fn(|cx| self.stream.poll_reset(cx)).await;
    }

    /// Half-closes.
    pub fn finish(&mut self) {
        // A stream that is gone needs no end.
        let _gone = self.stream.send_data(Bytes::new(), true);
    }

    /// Ends with trailers.
    pub fn finish_with(&mut self, trailers: HeaderMap) {
        let _gone = self.stream.send_trailers(trailers);
    }

    /// Ends the call at once, both ways.
    pub fn reset(&mut self) {
        self.stream.send_reset(Reason::CANCEL);
    }
}

/// The way back of a live call, before its headers are sent.
pub struct Responder {
    respond: SendResponse<Bytes>,
}

impl Responder {
    pub(super) fn new(respond: SendResponse<Bytes>) -> Self {
        Self { respond }
    }

    /// Sends the headers of a gRPC response.
    ///
    /// # Errors
    /// The client has reset the call.
    pub fn start(&mut self, headers: HeaderMap) -> Result<SendBody, Broken> {
        let mut head = grpc_head();
        head.headers_mut().extend(headers);
        Ok(SendBody::new(self.respond.send_response(head, false)?))
    }

    /// Answers with a status and nothing else.
    pub fn status(&mut self, status: &Status) {
        self.end(status, HeaderMap::new());
    }

    /// Answers with a status and other fields, without a body.
    pub fn end(&mut self, status: &Status, headers: HeaderMap) {
        let mut head: Response<()> = grpc_head();
        head.headers_mut().extend(headers);
        status.write_to(head.headers_mut());
        let _gone = self.respond.send_response(head, true);
    }

    /// Resolves when the client has ended the call.
    pub async fn gone(&mut self) {
        let _reason = poll_fn(|cx| self.respond.poll_reset(cx)).await;
    }
}

impl From<Broken> for Status {
    fn from(broken: Broken) -> Self {
        Self::new(Code::Internal, broken.to_string())
    }
}
