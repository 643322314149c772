//! Calls by the h2 crate: every header, DATA frame and half-close is the test's own.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use perigee::engine::Code;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::messages::{HEALTH, framed};

/// Fails the test instead of hanging it.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("nothing happened for 30 s")
}

/// A connection to the gateway, or to a node.
pub(crate) struct Client {
    requests: SendRequest<Bytes>,
    /// Resolves when the connection is over.
    pub(crate) over: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    pub(crate) async fn of(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(stream).await
    }

    pub(crate) async fn on(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (requests, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24)
            .handshake(io)
            .await
            .unwrap();
        Self {
            requests,
            over: tokio::spawn(connection),
        }
    }

    pub(crate) async fn open(&self, path: &str) -> Call {
        self.open_with(path, &[]).await
    }

    pub(crate) async fn open_with(&self, path: &str, headers: &[(&str, &str)]) -> Call {
        let mut request = Request::post(format!("http://gateway{path}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(()).unwrap()).await
    }

    /// A request that need not be gRPC.
    pub(crate) async fn request(&self, request: Request<()>) -> Call {
        let mut requests = soon(self.requests.clone().ready()).await.unwrap();
        let (response, body) = requests.send_request(request, false).unwrap();
        Call {
            body,
            answer: Awaited::Head(response),
            received: Vec::new(),
        }
    }

    /// One message, half-close, answer.
    pub(crate) async fn unary(&self, path: &str, message: &[u8]) -> Answer {
        self.unary_with(path, &[], message).await
    }

    pub(crate) async fn unary_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        message: &[u8],
    ) -> Answer {
        let mut call = self.open_with(path, headers).await;
        call.send(framed(message)).await.unwrap();
        call.half_close();
        call.answer().await
    }

    /// Whatever the gateway had to say on this connection before has arrived when this returns.
    pub(crate) async fn catch_up(&self) {
        self.unary(HEALTH, &[]).await.ok();
    }
}

/// An open call.
pub(crate) struct Call {
    body: SendStream<Bytes>,
    answer: Awaited,
    /// Bytes of the answer that have not been handed out.
    received: Vec<u8>,
}

enum Awaited {
    Head(ResponseFuture),
    Body(http::response::Parts, RecvStream),
}

impl Call {
    /// Sends the bytes as the gateway gives credit: one DATA frame, if the credit allows.
    pub(crate) async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<(), h2::Error> {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            self.body.reserve_capacity(bytes.len());
            let room = match self.body.capacity() {
                0 => poll_fn(|cx| self.body.poll_capacity(cx)).await,
                room => Some(Ok(room)),
            };
            let room = room.ok_or(h2::Error::from(Reason::STREAM_CLOSED))??;
            self.body
                .send_data(bytes.split_to(room.min(bytes.len())), false)?;
        }
        Ok(())
    }

    pub(crate) fn half_close(&mut self) {
        self.body.send_data(Bytes::new(), true).unwrap();
    }

    pub(crate) fn reset(&mut self) {
        self.body.send_reset(Reason::CANCEL);
    }

    /// Whether an answer has begun. True only for what has been read from the socket: see
    /// [`Client::catch_up`].
    pub(crate) async fn is_answered(&mut self) -> bool {
        match &mut self.answer {
            Awaited::Body(..) => true,
            Awaited::Head(response) => match response.now_or_never() {
                None => false,
                Some(response) => {
                    let (head, body) = response.unwrap().into_parts();
                    self.answer = Awaited::Body(head, body);
                    true
                }
            },
        }
    }

    async fn begun(&mut self) -> Result<(&mut http::response::Parts, &mut RecvStream), h2::Error> {
        if let Awaited::Head(response) = &mut self.answer {
            let (head, body) = response.await?.into_parts();
            self.answer = Awaited::Body(head, body);
        }
        match &mut self.answer {
            Awaited::Body(head, body) => Ok((head, body)),
            Awaited::Head(_) => unreachable!("just replaced"),
        }
    }

    /// The headers of the answer.
    pub(crate) async fn head(&mut self) -> HeaderMap {
        soon(self.begun()).await.unwrap().0.headers.clone()
    }

    async fn receive(&mut self) -> Result<bool, h2::Error> {
        let (_, body) = self.begun().await?;
        let Some(chunk) = body.data().await.transpose()? else {
            return Ok(false);
        };
        body.flow_control().release_capacity(chunk.len()).unwrap();
        self.received.extend_from_slice(&chunk);
        Ok(true)
    }

    /// The next message of the answer, with its prefix; `None` at the end.
    pub(crate) async fn message(&mut self) -> Option<Vec<u8>> {
        soon(async {
            loop {
                if let Some((_, length)) = perigee::engine::prefix(&self.received)
                    && self.received.len() >= 5 + length
                {
                    return Some(self.received.drain(..5 + length).collect());
                }
                if !self.receive().await.unwrap() {
                    assert!(self.received.is_empty(), "answer ends inside a message");
                    return None;
                }
            }
        })
        .await
    }

    /// The rest of the answer; an error if the call was reset.
    pub(crate) async fn outcome(mut self) -> Result<Answer, h2::Error> {
        soon(async {
            while self.receive().await? {}
            let (head, body) = self.begun().await?;
            let (http, headers) = (head.status.as_u16(), head.headers.clone());
            let trailers = body.trailers().await?.unwrap_or_default();
            Ok(Answer {
                http,
                headers,
                trailers,
                body: self.received,
            })
        })
        .await
    }

    /// The rest of the answer.
    pub(crate) async fn answer(self) -> Answer {
        self.outcome().await.unwrap()
    }
}

/// What a call was answered.
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
    /// Framed messages that had not been taken before.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&http::HeaderValue> {
        self.trailers.get(name).or_else(|| self.headers.get(name))
    }

    pub(crate) fn code(&self) -> Code {
        let status = self.field("grpc-status");
        Code::from_header(status.unwrap_or_else(|| panic!("no grpc-status in {self:?}")))
    }

    pub(crate) fn text(&self) -> String {
        let text = self.field("grpc-message");
        String::from_utf8_lossy(text.map_or(&[], |text| text.as_bytes())).into_owned()
    }

    /// The messages of an answer that has to be OK.
    #[track_caller]
    pub(crate) fn ok(&self) -> &[u8] {
        assert_eq!(self.code(), Code::Ok, "{self:?}");
        &self.body
    }

    /// The text of an answer that has to have this code and no message.
    #[track_caller]
    pub(crate) fn refused(&self, code: Code) -> String {
        assert_eq!(self.code(), code, "{self:?}");
        assert_eq!(self.http, 200, "{self:?}");
        assert!(self.body.is_empty(), "{self:?}");
        self.text()
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Answer")
            .field("http", &self.http)
            .field("headers", &self.headers)
            .field("trailers", &self.trailers)
            .field("body", &self.body.len())
            .finish()
    }
}
