//! One connection to one OAP node.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::DATA_FRAME_BUDGET;
use super::io::Io;
use super::live::{Broken, RecvBody, SendBody};
use crate::engine::socket::{Socket, configure};
use crate::engine::{Code, Status, metadata};

/// Unread bytes of one answer. It is all that a client holds up which does not read.
const STREAM_WINDOW: u32 = 64 * 1024;

/// The largest there is: were it shared, live calls whose clients do not read would use it up, and
/// no answer to a batch could arrive. What is unread is bounded by the streams.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// Live calls get one in so many of the streams that the node allows; the others are for batches.
const LIVE_SHARE: usize = 2;

/// Longest header list that a node may answer with.
const HEADER_LIST: u32 = 16 * 1024;

/// Longest answer to a batch that is read; a `Commands` is a few hundred bytes at most.
const ANSWER_BYTES: usize = 1024 * 1024;

/// Where a channel goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The address.
    pub address: SocketAddr,
    /// The node's name, for `:authority` and TLS.
    pub host: Arc<str>,
    /// TLS, or plain text.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Longest time from the first SYN to the node's first frame.
    pub timeout: Duration,
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The socket or TLS failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Not HTTP/2.
    #[error("{0}")]
    Http2(#[from] h2::Error),
    /// A name that TLS cannot use.
    #[error("{0:?} is not a TLS server name")]
    Name(Arc<str>),
    /// A name that HTTP cannot use.
    #[error("{0:?} is not an authority")]
    Authority(String),
    /// The node has accepted the connection and says nothing.
    #[error("nothing heard within {0:?}")]
    Silent(Duration),
}

/// Resolves when the connection is over, with the reason.
pub type Closed = oneshot::Receiver<String>;

/// A live connection. Cheap to clone.
#[derive(Clone)]
pub struct Channel {
    requests: SendRequest<Bytes>,
    base: Rc<Uri>,
    io: Io,
    live: Rc<LiveCalls>,
}

/// The live calls of one connection.
#[derive(Default)]
struct LiveCalls {
    open: Cell<usize>,
    /// Rung when one has ended.
    ended: Notify,
}

/// A place among a connection's live calls; free again when dropped.
pub struct Place(Rc<LiveCalls>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.ended.notify_one();
    }
}

/// A batch on its way.
pub struct Outgoing<'a> {
    /// Path of the method.
    pub path: &'a str,
    /// Whole length-prefixed messages.
    pub chunks: &'a [Bytes],
    /// `authentication`, if any.
    pub token: Option<HeaderValue>,
    /// Longest time without progress: credit from the node, or its answer.
    pub timeout: Duration,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The node answered. OK: everything is delivered.
    Answered(Status),
    /// The connection or the call broke before an answer; the node may have taken the batch.
    Lost(String),
    /// No progress in time; the call has been reset.
    TimedOut,
}

/// Why a live call was not opened.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(#[from] h2::Error);

/// A live call to a node.
pub struct Opened {
    /// What we send.
    pub body: SendBody,
    /// What comes back.
    pub answer: Awaited,
}

/// A response that has not arrived yet.
pub struct Awaited(ResponseFuture);

impl Awaited {
    /// The node's headers and body.
    ///
    /// # Errors
    /// The node has reset the call, or its connection is gone.
    pub async fn response(self) -> Result<Response<RecvBody>, Broken> {
        Ok(self.0.await?.map(RecvBody::new))
    }
}

impl Channel {
    /// Connects and waits until the node has spoken: a stalled process still accepts connections.
    ///
    /// # Errors
    /// No connection.
    pub async fn connect(target: &Target) -> Result<(Self, Closed), ConnectError> {
        match timeout(target.timeout, Self::establish(target)).await {
            Ok(established) => established,
            Err(_) => Err(ConnectError::Silent(target.timeout)),
        }
    }

    async fn establish(target: &Target) -> Result<(Self, Closed), ConnectError> {
        let authority = authority(target);
        let scheme = if target.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let base = Uri::builder()
            .scheme(scheme)
            .authority(authority.as_str())
            .path_and_query("/");
        let base = base
            .build()
            .map_err(|_| ConnectError::Authority(authority))?;
        let stream = TcpStream::connect(target.address).await?;
        configure(&stream)?;
        let io = Io::new(encrypt(stream, target).await?);
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_LIST)
            .enable_push(false)
            .data_frame_budget(DATA_FRAME_BUDGET)
            .handshake::<_, Bytes>(io.clone())
            .await?;
        let (spoken, heard) = oneshot::channel();
        let (ended, closed) = oneshot::channel();
        tokio::task::spawn_local(drive(connection, io.clone(), spoken, ended));
        if heard.await.is_err() {
            let reason = closed.await.unwrap_or_default();
            return Err(ConnectError::Io(std::io::Error::other(reason)));
        }
        Ok((
            Self {
                requests,
                base: Rc::new(base),
                io,
                live: Rc::default(),
            },
            closed,
        ))
    }

    /// Whether the node has sent anything since then, for whichever call.
    pub fn has_heard_since(&self, then: Instant) -> bool {
        self.io.heard().is_some_and(|heard| heard > then)
    }

    /// Whether both are the same connection.
    pub fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.base, &other.base)
    }

    /// Sends a batch as one call and waits for the answer.
    pub async fn send(&self, batch: Outgoing<'_>) -> Outcome {
        let mut headers = HeaderMap::with_capacity(4);
        if let Some(token) = &batch.token {
            headers.insert(metadata::AUTHENTICATION, token.clone());
        }
        let open = self.open(batch.path, headers);
        let Opened { mut body, answer } = match timeout(batch.timeout, open).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return Outcome::Lost(error.to_string()),
            Err(_) => return Outcome::TimedOut,
        };
        let _loan = self.io.lend(batch.chunks);
        let mut answer = std::pin::pin!(read_answer(answer.0));
        let sent = tokio::select! {
            biased; // a node that refuses says so before everything is sent
            early = &mut answer => return match early {
                Outcome::Answered(status) if status.code == Code::Ok => {
                    Outcome::Lost("answered before the end of the batch".to_owned())
                }
                other => other,
            },
            sent = send_all(&mut body, &batch) => sent,
        };
        let outcome = match sent {
            // Why the sending stopped is in the answer, if there is one.
            Ok(()) | Err(Stopped::Broken) => timeout(batch.timeout, answer)
                .await
                .unwrap_or(Outcome::TimedOut),
            Err(Stopped::NoProgress) => Outcome::TimedOut,
        };
        if outcome == Outcome::TimedOut {
            body.reset();
        }
        outcome
    }

    /// A place for a live call, if there is one now.
    pub fn place(&self) -> Option<Place> {
        let most = (self.requests.current_max_send_streams() / LIVE_SHARE).max(1);
        let open = self.live.open.get();
        (open < most).then(|| {
            self.live.open.set(open + 1);
            Place(Rc::clone(&self.live))
        })
    }

    /// Waits for a place. cancel-safe: one that was about to be taken goes to the next.
    pub async fn place_when_free(&self) -> Place {
        loop {
            let ended = self.live.ended.notified();
            if let Some(place) = self.place() {
                return place;
            }
            ended.await;
        }
    }

    /// Opens a call.
    ///
    /// # Errors
    /// The connection is going away: nothing has been sent.
    pub async fn open(&self, path: &str, headers: HeaderMap) -> Result<Opened, OpenError> {
        let mut requests = self.requests.clone().ready().await?;
        let (response, body) = requests.send_request(self.request(path, headers), false)?;
        Ok(Opened {
            body: SendBody::new(body),
            answer: Awaited(response),
        })
    }

    fn request(&self, path: &str, headers: HeaderMap) -> Request<()> {
        let mut parts = Uri::clone(&self.base).into_parts();
        parts.path_and_query = path.parse().ok();
        let mut request = Request::new(());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_else(|_| Uri::clone(&self.base));
        *request.headers_mut() = headers;
        let fields = request.headers_mut();
        fields.insert("te", HeaderValue::from_static("trailers"));
        fields.insert("content-type", HeaderValue::from_static("application/grpc"));
        request
    }
}

fn authority(target: &Target) -> String {
    let port = target.address.port();
    if target.host.contains(':') {
        format!("[{}]:{port}", target.host)
    } else {
        format!("{}:{port}", target.host)
    }
}

async fn encrypt(stream: TcpStream, target: &Target) -> Result<Socket, ConnectError> {
    let Some(tls) = &target.tls else {
        return Ok(Socket::Plain(stream));
    };
    let name = ServerName::try_from(target.host.to_string())
        .map_err(|_| ConnectError::Name(Arc::clone(&target.host)))?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(tls));
    Ok(Socket::Tls(Box::new(
        connector.connect(name, stream).await?.into(),
    )))
}

/// Runs the connection; every round ends with one write.
async fn drive(
    mut connection: Connection<Io, Bytes>,
    io: Io,
    spoken: oneshot::Sender<()>,
    ended: oneshot::Sender<String>,
) {
    let mut spoken = Some(spoken);
    let result = poll_fn(|cx| {
        let polled = std::pin::Pin::new(&mut connection).poll(cx);
        if io.heard().is_some()
            && let Some(spoken) = spoken.take()
        {
            // Nobody listens when the connect has timed out; then the channel is dropped, too.
            let _timed_out = spoken.send(());
        }
        match (polled, io.poll_push(cx)) {
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error.to_string())),
            (polled, _) => polled.map_err(|error| error.to_string()),
        }
    })
    .await;
    let reason = result
        .err()
        .unwrap_or_else(|| "closed by the node".to_owned());
    let _nobody = ended.send(reason);
}

enum Stopped {
    Broken,
    NoProgress,
}

async fn send_all(body: &mut SendBody, batch: &Outgoing<'_>) -> Result<(), Stopped> {
    let mut left = batch.chunks.iter().map(Bytes::len).sum::<usize>();
    for chunk in batch.chunks {
        let mut chunk = chunk.clone();
        while !chunk.is_empty() {
            let room = match timeout(batch.timeout, body.credit(left)).await {
                Ok(Ok(room)) => room,
                Ok(Err(_)) => return Err(Stopped::Broken),
                Err(_) => return Err(Stopped::NoProgress),
            };
            let part = chunk.split_to(room.min(chunk.len()));
            left -= part.len();
            body.send_now(part, left == 0)
                .map_err(|_| Stopped::Broken)?;
        }
    }
    Ok(())
}

async fn read_answer(response: ResponseFuture) -> Outcome {
    let response = match response.await {
        Ok(response) => response,
        Err(error) => return Outcome::Lost(error.to_string()),
    };
    if let Some(status) = Status::from_headers(response.headers()) {
        return Outcome::Answered(status);
    }
    if response.status() != StatusCode::OK {
        return Outcome::Lost(format!("HTTP status {}", response.status()));
    }
    match read_trailers(RecvBody::new(response.into_body())).await {
        Ok(Some(status)) => Outcome::Answered(status),
        Ok(None) => Outcome::Lost("answer without grpc-status".to_owned()),
        Err(broken) => Outcome::Lost(broken.to_string()),
    }
}

async fn read_trailers(mut body: RecvBody) -> Result<Option<Status>, Broken> {
    let mut read = 0;
    while let Some(chunk) = body.chunk().await? {
        read += chunk.len();
        if read > ANSWER_BYTES {
            return Ok(None);
        }
        body.release(chunk.len());
    }
    Ok(body
        .trailers()
        .await?
        .as_ref()
        .and_then(Status::from_headers))
}
