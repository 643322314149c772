//! Sockets and connections, set up as an OAP's were seen to be.

use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes};
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::Grpc;

use super::call::{self, MAX_MESSAGE};
use super::control;
use super::shared::Shared;

const WINDOW: u32 = 1024 * 1024;
const MAX_HEADER_LIST: u32 = 8192;
const MAX_STREAMS: u32 = i32::MAX as u32;
/// Streams reset before we have looked at them; a gateway under test may do that often.
const MAX_EARLY_RESETS: usize = 4096;

/// Serves until dropped; returns only when a listener cannot be used.
pub(super) async fn run(
    grpc: TcpListener,
    control: Option<TcpListener>,
    shared: Arc<Shared>,
) -> std::io::Result<()> {
    let calls = {
        let shared = Arc::clone(&shared);
        accept(grpc, move |stream| serve(stream, Arc::clone(&shared)))
    };
    match control {
        None => calls.await,
        Some(control) => {
            let control = accept(control, move |stream| {
                control::serve(stream, Arc::clone(&shared))
            });
            tokio::try_join!(calls, control).map(|_| ())
        }
    }
}

async fn accept<F>(listener: TcpListener, serve: impl Fn(TcpStream) -> F) -> std::io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream));
            }
            Err(error) => {
                tracing::warn!(%error, "sink cannot accept a connection");
                // Out of descriptors: at once again would spin.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let _guard = shared.connection_begins();
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "sink cannot set TCP_NODELAY");
    }
    let service = hyper::service::service_fn(move |request| dispatch(Arc::clone(&shared), request));
    let served = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_EARLY_RESETS)
        .max_local_error_reset_streams(None)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "sink's connection ended");
    }
}

async fn dispatch(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<tonic::body::Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let authority = request.uri().authority().map(ToString::to_string);
    let take = tower::service_fn(move |request| {
        call::take(
            Arc::clone(&shared),
            path.clone(),
            authority.clone(),
            request,
        )
    });
    let mut grpc = Grpc::new(BytesCodec)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MAX_MESSAGE);
    Ok(grpc.streaming(take, request.map(Whole)).await)
}

/// A request body that tells a half-close from a reset: hyper and tonic both end the messages
/// without an error on some reset codes.
struct Whole(Incoming);

#[derive(Debug, thiserror::Error)]
#[error("the client has ended the call")]
struct Cut;

impl Body for Whole {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
            Some(Ok(frame)) => Some(Ok(frame)),
            None if self.0.is_end_stream() => None,
            Some(Err(_)) | None => Some(Err(Cut)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

/// Messages as bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(message);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
