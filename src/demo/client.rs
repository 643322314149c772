//! A gRPC client for encoded messages.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::uri::PathAndQuery;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use super::payload::Upload;
use crate::sink::BytesCodec;

/// Connecting, and unary calls.
const PATIENCE: Duration = Duration::from_secs(10);

/// One connection; clones share it.
#[derive(Clone)]
pub(super) struct Client(tonic::client::Grpc<Channel>);

impl Client {
    pub(super) async fn connect(to: SocketAddr) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{to}"))?.connect_timeout(PATIENCE);
        let channel = endpoint.connect().await?;
        Ok(Self(tonic::client::Grpc::new(channel)))
    }

    /// Sends the messages, half-closes, and waits for the one answer.
    pub(super) async fn report(
        &mut self,
        path: &'static str,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Bytes, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(path);
        let request = Request::new(messages);
        let response = self.0.client_streaming(request, path, BytesCodec).await?;
        Ok(response.into_inner())
    }

    /// Sends a file as agents do: the pieces only after the metadata has been answered.
    pub(super) async fn upload(
        &mut self,
        path: &'static str,
        upload: Upload,
    ) -> Result<u64, Status> {
        self.ready().await?;
        let (messages, outgoing) = mpsc::channel(1);
        let sent = 1 + upload.pieces.len() as u64;
        let gone = || Status::cancelled("the call ended before the file");
        messages.send(upload.metadata).await.map_err(|_| gone())?;
        let request = Request::new(ReceiverStream::new(outgoing));
        let path = PathAndQuery::from_static(path);
        let response = self.0.streaming(request, path, BytesCodec).await?;
        let mut answers: Streaming<Bytes> = response.into_inner();
        if answers.message().await?.is_none() {
            return Err(Status::internal("the metadata was not answered"));
        }
        for piece in upload.pieces {
            messages.send(piece).await.map_err(|_| gone())?;
        }
        drop(messages);
        while answers.message().await?.is_some() {}
        Ok(sent)
    }

    async fn ready(&mut self) -> Result<(), Status> {
        let ready = self.0.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))
    }
}
