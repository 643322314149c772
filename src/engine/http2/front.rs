//! Connections from agents.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use perigee_plugin_api::budget::Budget;
use perigee_plugin_api::gate::WaiterId;
use tokio::sync::watch;

use super::bond::Bond;
use super::io::Io;
use super::live::{Live, RecvBody, Responder};
use super::queued;
use crate::engine::socket::Socket;
use crate::engine::{Call, Code, Disposition, Refusal, Service, Status, metadata};

/// How long a new connection may take to say its preface.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// How long the last frames of a failed connection may take to leave.
const FAREWELL: Duration = Duration::from_millis(500);

/// Longest header list that is read at all; above it the connection answers 431 by itself. Larger
/// than [`metadata::ACCEPTED_BYTES`] so that a flood gets a gRPC status.
const HEADER_LIST: u32 = 64 * 1024;

/// Streams that may be reset without having been looked at, before the peer counts as abusive.
const RESET_STREAMS: usize = 1024;

/// What unread DATA frames may cost beside their bytes, in connection windows. The h2 crate reckons
/// 256 bytes a frame less what it carries, and its own default ends a connection with
/// ENHANCE_YOUR_CALM once clients with 160-byte messages have been paused for a few seconds
/// (`performance.md` 7.1). This admits a window full of frames of 52 bytes each, 20 000 with 1 MiB;
/// a flood of single bytes ends after 16 000.
const SMALL_FRAMES: usize = 4;

/// The largest window that HTTP/2 knows.
const MOST_WINDOW: u32 = (1 << 31) - 1;

/// What connections are allowed.
#[derive(Clone, Debug)]
pub struct FrontOptions {
    /// Longest message.
    pub max_message_bytes: usize,
    /// Streams a connection.
    pub max_concurrent_streams: u32,
    /// Unread bytes a stream.
    pub stream_window: u32,
    /// Unread bytes a connection. Larger than a stream's, so that paused streams leave room for the
    /// calls beside them.
    pub connection_window: u32,
    /// What half-read messages are charged to.
    pub budget: Arc<Budget>,
}

/// What all connections of a worker share.
pub struct Front {
    /// Decides about calls.
    pub service: Rc<dyn Service>,
    /// What connections are allowed.
    pub options: FrontOptions,
}

/// How far the shutdown is, for connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drain {
    /// Serving.
    #[default]
    Open,
    /// Open calls may finish; new ones go elsewhere (GOAWAY).
    GoAway,
    /// Connections end now.
    Cut,
}

/// How a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The peer did not speak HTTP/2 in time, or at all.
    #[error("no HTTP/2 preface: {0}")]
    Handshake(String),
    /// The peer violated HTTP/2, and was told so.
    #[error("{0}")]
    Protocol(h2::Error),
    /// The socket failed.
    #[error("{0}")]
    Io(String),
}

/// Serves one connection to its end.
///
/// # Errors
/// The connection failed; its calls have been reset.
pub async fn serve(
    front: Rc<Front>,
    socket: Socket,
    peer: SocketAddr,
    number: u64,
    mut drain: watch::Receiver<Drain>,
) -> Result<(), ConnectionError> {
    let io = Io::new(socket);
    let connection = tokio::select! {
        connection = shake_hands(&front.options, &io) => connection?,
        // A client that has not spoken yet has nothing to lose.
        _ = drain.wait_for(|phase| *phase != Drain::Open) => return Ok(()),
    };
    let ended = accept_streams(&front, connection, &io, (peer, number), &mut drain).await;
    let farewell = poll_fn(|cx| io.poll_push(cx));
    let _pushed = tokio::time::timeout(FAREWELL, farewell).await;
    ended
}

async fn shake_hands(
    options: &FrontOptions,
    io: &Io,
) -> Result<Connection<Io, Bytes>, ConnectionError> {
    let mut handshake = std::pin::pin!(
        h2::server::Builder::new()
            .initial_window_size(options.stream_window)
            .initial_connection_window_size(options.connection_window)
            .max_concurrent_streams(options.max_concurrent_streams)
            .max_header_list_size(HEADER_LIST)
            .max_pending_accept_reset_streams(RESET_STREAMS)
            .data_frame_budget(options.connection_window as usize * SMALL_FRAMES)
            .handshake::<_, Bytes>(io.clone())
    );
    let done = poll_fn(|cx| {
        let polled = handshake.as_mut().poll(cx);
        let _pushed = io.poll_push(cx);
        polled
    });
    match tokio::time::timeout(HANDSHAKE, done).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(ConnectionError::Handshake(error.to_string())),
        Err(_) => Err(ConnectionError::Handshake(format!(
            "nothing within {HANDSHAKE:?}"
        ))),
    }
}

async fn accept_streams(
    front: &Rc<Front>,
    mut connection: Connection<Io, Bytes>,
    io: &Io,
    (peer, number): (SocketAddr, u64),
    drain: &mut watch::Receiver<Drain>,
) -> Result<(), ConnectionError> {
    let mut said_goodbye = false;
    let bond = Rc::<Bond>::default();
    let mut waiting = 0;
    loop {
        let phase = *drain.borrow_and_update();
        if phase == Drain::Cut {
            let opened = |call| open_stream(front, &bond, call, (peer, number));
            part(connection, io, &bond, opened).await;
            return Ok(());
        }
        if phase == Drain::GoAway && !said_goodbye {
            connection.graceful_shutdown();
            said_goodbye = true;
        }
        let next = poll_fn(|cx| {
            let now = bond.waiting(cx);
            if now != waiting {
                waiting = now;
                connection.set_target_window_size(window(&front.options, waiting));
            }
            let accepted = connection.poll_accept(cx);
            // Everything that this round wants to say leaves in one write.
            match (accepted, io.poll_push(cx)) {
                (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
                (accepted, _) => accepted.map(Ok),
            }
        });
        tokio::select! {
            biased; // requests first: the phase is looked at before each wait anyway
            accepted = next => match accepted {
                Ok(Some(Ok((request, respond)))) => {
                    open_stream(front, &bond, (request, respond), (peer, number));
                }
                Ok(Some(Err(error))) => return Err(classify(error)),
                Ok(None) => return Ok(()),
                Err(error) => return Err(ConnectionError::Io(error.to_string())),
            },
            changed = drain.changed() => if changed.is_err() {
                return Ok(());
            },
        }
    }
}

/// Tells the queued calls to end, and lets their answers leave: a client whose call ends with the
/// connection takes the gateway for lost, and a Java agent stops for half a minute.
async fn part(
    mut connection: Connection<Io, Bytes>,
    io: &Io,
    bond: &Rc<Bond>,
    mut opened: impl FnMut((Request<RecvStream>, SendResponse<Bytes>)),
) {
    connection.graceful_shutdown();
    bond.cut();
    let answered = poll_fn(|cx| {
        // Whoever is gone now has answered before, so the round that begins here says it.
        let mut over = bond.is_free();
        while let Poll::Ready(next) = connection.poll_accept(cx) {
            let Some(Ok(call)) = next else {
                over = true;
                break;
            };
            opened(call);
            over = false;
        }
        match io.poll_push(cx) {
            Poll::Ready(Ok(())) if !over => Poll::Pending,
            pushed => pushed,
        }
    });
    let _answered = tokio::time::timeout(FAREWELL, answered).await;
}

fn classify(error: h2::Error) -> ConnectionError {
    match error.get_io() {
        Some(io) if io.kind() != io::ErrorKind::InvalidData => ConnectionError::Io(io.to_string()),
        _ => ConnectionError::Protocol(error),
    }
}

/// A connection's window while so many calls wait for room for half a message: they keep a
/// stream's window each, and the message that they wait for may be on the same connection.
fn window(options: &FrontOptions, waiting: u32) -> u32 {
    let wider = waiting.saturating_mul(options.stream_window);
    options
        .connection_window
        .saturating_add(wider)
        .min(MOST_WINDOW)
}

fn open_stream(
    front: &Rc<Front>,
    bond: &Rc<Bond>,
    (request, respond): (Request<RecvStream>, SendResponse<Bytes>),
    (peer, connection): (SocketAddr, u64),
) {
    let (head, body) = request.into_parts();
    let mut answer = Answer { respond };
    if !is_grpc(&head) {
        front.service.refused(Refusal::NotGrpc);
        answer.plain(StatusCode::UNSUPPORTED_MEDIA_TYPE);
        return;
    }
    let size = metadata::size(&head.headers);
    if size > metadata::ACCEPTED_BYTES {
        front.service.refused(Refusal::Metadata);
        let most = metadata::ACCEPTED_BYTES;
        let text = format!("metadata is {size} bytes, at most {most} are accepted");
        answer.status(&Status::new(Code::Internal, text));
        return;
    }
    let call = Call {
        path: head.uri.path(),
        headers: &head.headers,
        peer,
        connection,
        deadline: metadata::deadline(&head.headers, Instant::now()),
    };
    let deadline = call.deadline;
    match front.service.open(&call) {
        Disposition::Refuse(status) => answer.status(&status),
        Disposition::Queue { unary, ingest } => {
            let compressed = match queued::is_compressed(&head.headers) {
                Ok(compressed) => compressed,
                Err(status) => {
                    front.service.refused(Refusal::Metadata);
                    answer.respond_unsupported(&status);
                    return;
                }
            };
            let shape = queued::Expected {
                unary,
                compressed,
                deadline,
                waiter: WaiterId::of(peer.ip(), connection),
            };
            let stream = queued::Queued::new(Rc::clone(front), Rc::clone(bond), ingest, shape);
            tokio::task::spawn_local(stream.run(body, answer));
        }
        Disposition::Live(handler) => {
            let live = Live {
                body: RecvBody::new(body),
                respond: Responder::new(answer.respond),
                deadline,
            };
            tokio::task::spawn_local(handler(live));
        }
    }
}

fn is_grpc(head: &http::request::Parts) -> bool {
    head.method == http::Method::POST
        && head
            .headers
            .get(http::header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// The way back of a call that the gateway answers itself.
pub(super) struct Answer {
    pub(super) respond: SendResponse<Bytes>,
}

impl Answer {
    /// One message and OK.
    pub(super) fn message(&mut self, message: Bytes) {
        let Ok(mut stream) = self.respond.send_response(grpc_head(), false) else {
            return;
        };
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        // A client that has gone in the meantime needs no answer.
        let _gone = stream
            .send_data(message, false)
            .and_then(|()| stream.send_trailers(trailers));
    }

    /// A status without a message.
    pub(super) fn status(&mut self, status: &Status) {
        self.end_with(|headers| status.write_to(headers));
    }

    fn respond_unsupported(&mut self, status: &Status) {
        self.end_with(|headers| {
            status.write_to(headers);
            headers.insert(
                "grpc-accept-encoding",
                HeaderValue::from_static("identity,gzip"),
            );
        });
    }

    fn end_with(&mut self, fill: impl FnOnce(&mut HeaderMap)) {
        let mut head = grpc_head();
        fill(head.headers_mut());
        let _gone = self.respond.send_response(head, true);
    }

    fn plain(&mut self, code: StatusCode) {
        let mut head = Response::new(());
        *head.status_mut() = code;
        let _gone = self.respond.send_response(head, true);
    }
}

pub(super) fn grpc_head() -> Response<()> {
    let mut head = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    head
}
