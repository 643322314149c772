//! A bare node: takes any path, records what reaches it, and answers as told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::client::soon;
use crate::messages::EMPTY;

/// How a node answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// With an empty message and OK, after the half-close.
    Report,
    /// Speaks first, repeats each chunk, and has a last word after the half-close.
    Echo,
    /// With headers alone: a status and a field of its own.
    HeadersOnly,
}

pub(crate) const FIRST_WORD: &[u8] = b"\0\0\0\0\x05first";
pub(crate) const LAST_WORD: &[u8] = b"\x01\0\0\0\x04last";

/// A call as it reached the node.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) scheme: Option<String>,
    pub(crate) authority: String,
    pub(crate) headers: HeaderMap,
    /// The client's certificates, leaf first.
    pub(crate) certificates: Vec<Vec<u8>>,
}

pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Node {
    pub(crate) async fn start(manner: Manner) -> Self {
        Self::start_with(manner, None).await
    }

    pub(crate) async fn start_with(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let log = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(accept(stream, tls.clone(), manner, Arc::clone(&log)));
            }
        });
        Self { address, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn accept(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    manner: Manner,
    log: Arc<Mutex<Vec<Seen>>>,
) {
    let Some(tls) = tls else {
        return serve(stream, Vec::new(), manner, log).await;
    };
    // A client that does not like our certificate says so here.
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let certificates = certificates.unwrap_or_default().iter();
    let certificates = certificates.map(|one| one.to_vec()).collect();
    serve(stream, certificates, manner, log).await;
}

async fn serve(
    io: impl AsyncRead + AsyncWrite + Unpin,
    certificates: Vec<Vec<u8>>,
    manner: Manner,
    log: Arc<Mutex<Vec<Seen>>>,
) {
    let Ok(mut connection) = h2::server::handshake(io).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, body) = request.into_parts();
        log.lock().unwrap().push(Seen {
            path: head.uri.path().to_owned(),
            scheme: head.uri.scheme_str().map(str::to_owned),
            authority: head.uri.authority().unwrap().to_string(),
            headers: head.headers.clone(),
            certificates: certificates.clone(),
        });
        let request = Request::from_parts(head, body);
        tokio::spawn(answer(request.into_body(), respond, manner));
    }
}

async fn answer(mut body: RecvStream, mut respond: SendResponse<Bytes>, manner: Manner) {
    let mut head = Response::new(());
    let fields = head.headers_mut();
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    fields.insert("x-node", HeaderValue::from_static("head"));
    if let Manner::HeadersOnly = manner {
        fields.insert("grpc-status", HeaderValue::from_static("5"));
        fields.insert("grpc-message", HeaderValue::from_static("not%20here"));
        respond.send_response(head, true).unwrap();
        return;
    }
    let mut out = respond.send_response(head, false).unwrap();
    let say = |out: &mut h2::SendStream<Bytes>, bytes: Bytes| out.send_data(bytes, false).unwrap();
    let echoes = matches!(manner, Manner::Echo);
    if echoes {
        say(&mut out, FIRST_WORD.into());
    }
    while let Some(chunk) = soon(body.data()).await {
        // The gateway has gone: so do we.
        let Ok(chunk) = chunk else { return };
        body.flow_control().release_capacity(chunk.len()).unwrap();
        if echoes {
            say(&mut out, chunk);
        }
    }
    say(&mut out, if echoes { LAST_WORD } else { EMPTY }.into());
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("x-node", HeaderValue::from_static("trailer"));
    out.send_trailers(trailers).unwrap();
}
