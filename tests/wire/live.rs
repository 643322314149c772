//! Live calls that something holds up: a client that does not read, a node that does not answer,
//! a node without room.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response};
use perigee::app::App;
use perigee::config::settings::Settings;
use perigee::engine::Code;
use perigee::sink::fault::Fault;
use tokio::net::{TcpListener, TcpStream};

use crate::client::{Call, Client, soon};
use crate::gateway::{Gateway, settings};
use crate::messages::*;
use crate::node::{Manner, Node};
use crate::uploads::JFR;

/// A method of no table that the nodes below never answer.
const HOLD: &str = "/new.v1.Service/hold";

/// A method of no table.
const UNKNOWN: &str = "/new.v1.Service/other";

const PATIENCE: Duration = Duration::from_secs(1);

/// One worker, which shares one connection to each node between live calls and batches.
async fn gateway_of(nodes: &[SocketAddr], edit: impl FnOnce(&mut Settings)) -> Gateway {
    let mut settings = settings(nodes);
    settings.limits.workers = 1;
    edit(&mut settings);
    Gateway {
        app: App::start(settings).await.unwrap(),
        sinks: Vec::new(),
    }
}

fn impatient(settings: &mut Settings) {
    settings.client.unary_timeout = PATIENCE;
    settings.client.stream_timeout = PATIENCE;
}

type Answering = fn(Request<RecvStream>, SendResponse<Bytes>) -> BoxFuture<'static, ()>;

/// A node that takes `streams` calls at a time and announces its end once it has got a [`HOLD`],
/// if it `leaves`.
async fn node(streams: u32, leaves: bool, answering: Answering) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = h2::server::Builder::new();
                let server = server.max_concurrent_streams(streams).handshake(stream);
                let Ok(mut connection) = server.await else {
                    return;
                };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    if leaves && request.uri().path() == HOLD {
                        connection.graceful_shutdown();
                    }
                    tokio::spawn(answering(request, respond));
                }
            });
        }
    });
    address
}

fn head() -> Response<()> {
    let mut head = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    head.headers_mut().insert("content-type", kind);
    head
}

/// Reads to the end; an error if the gateway resets the call.
async fn read(body: &mut RecvStream) -> Result<(), h2::Error> {
    while let Some(chunk) = body.data().await {
        body.flow_control().release_capacity(chunk?.len())?;
    }
    Ok(())
}

/// Holds a [`HOLD`] after the headers until it is reset; OK for everything else.
fn hold_or_ok(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let held = request.uri().path() == HOLD;
        let mut body = request.into_body();
        let mut out = respond.send_response(head(), false).unwrap();
        if held {
            let _reset = std::future::poll_fn(|cx| out.poll_reset(cx)).await;
        } else if read(&mut body).await.is_ok() {
            out.send_data(Bytes::from_static(EMPTY), false).unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            out.send_trailers(trailers).unwrap();
        }
    })
}

/// Answers at once, reads everything and never ends.
fn never_end(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let mut out = respond.send_response(head(), false).unwrap();
        let _reset = read(&mut request.into_body()).await;
        let _reset = std::future::poll_fn(|cx| out.poll_reset(cx)).await;
    })
}

/// Says nothing, reads nothing.
fn never_read(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let _reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
        drop(request);
    })
}

/// Ends the body without trailers.
fn end_without_status(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> BoxFuture<'static, ()> {
    Box::pin(async move {
        let _reset = read(&mut request.into_body()).await;
        let mut out = respond.send_response(head(), false).unwrap();
        out.send_data(Bytes::from_static(EMPTY), true).unwrap();
    })
}

/// Nobody's connection may have to be given up for it: that would help, too.
async fn deliver_one(gateway: &Gateway) {
    let client = gateway.client().await;
    client.unary(SEGMENTS, &segment("one", "shop")).await.ok();
    let delivered = gateway.wait_for("delivered", |gateway| {
        gateway.app.books.totals().delivered == 1
    });
    let delivered = tokio::time::timeout(Duration::from_secs(10), delivered);
    delivered.await.expect("delivered within 10 s");
}

#[tokio::test]
async fn clients_that_do_not_read_do_not_hold_up_batches() {
    let node = Node::start(Manner::Echo).await;
    let gateway = gateway_of(&[node.address], |_| {}).await;
    let stream = TcpStream::connect(gateway.app.address).await.unwrap();
    let (requests, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let mut held = Vec::new();
    for _ in 0..12 {
        let request = Request::post(format!("http://gateway{UNKNOWN}"))
            .header("te", "trailers")
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let mut requests = soon(requests.clone().ready()).await.unwrap();
        let (response, mut body) = requests.send_request(request, false).unwrap();
        let mut left = 300_000;
        // The gateway's credit for the last bytes: the node has taken most of the others, and has
        // echoed them.
        while left > 0 {
            body.reserve_capacity(left);
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx));
            let room = soon(room).await.unwrap().unwrap().min(left);
            body.send_data(vec![0; room].into(), false).unwrap();
            left -= room;
        }
        held.push((soon(response).await.unwrap(), body));
    }
    deliver_one(&gateway).await;
}

async fn held(client: &Client) -> Call {
    let mut call = client.open(HOLD).await;
    soon(call.head()).await;
    call
}

#[tokio::test]
async fn live_calls_leave_half_of_a_nodes_streams_to_batches() {
    let gateway = gateway_of(&[node(4, false, hold_or_ok).await], |_| {}).await;
    let client = gateway.client().await;
    let mut first = held(&client).await;
    let _second = held(&client).await;
    let mut more = [client.open(HOLD).await, client.open(HOLD).await];
    client.catch_up().await;
    deliver_one(&gateway).await;
    for call in &mut more {
        assert!(!call.is_answered().await);
    }
    // The place of a call that has ended goes to the next one.
    first.reset();
    soon(more[0].head()).await;
}

#[tokio::test]
async fn a_poll_without_a_deadline_ends_when_the_node_stalls() {
    let gateway = Gateway::start_with(1, impatient).await;
    gateway.sink().set_fault(Fault {
        stall: true,
        ..Fault::default()
    });
    let client = gateway.client().await;
    let began = Instant::now();
    let request = configuration_request("shop");
    let answer = client.unary(CONFIGURATIONS, &request).await;
    answer.refused(Code::DeadlineExceeded);
    let waited = began.elapsed();
    assert!(waited >= PATIENCE && waited < 5 * PATIENCE, "{waited:?}");
    let cut = |state: &perigee::sink::state::State| state.methods[CONFIGURATIONS].cut == 1;
    soon(gateway.sink().wait_until(cut)).await;
}

#[tokio::test]
async fn an_upload_may_be_idle_and_is_owed_its_end_after_the_half_close() {
    let gateway = gateway_of(&[node(100, false, never_end).await], impatient).await;
    let client = gateway.client().await;
    let mut call = client.open(JFR).await;
    call.send(framed(b"some")).await.unwrap();
    soon(call.head()).await;
    // Time has to pass: it is about nothing happening.
    tokio::time::sleep(2 * PATIENCE).await;
    call.send(framed(b"more")).await.unwrap();
    let began = Instant::now();
    call.half_close();
    let answer = call.answer().await;
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    let waited = began.elapsed();
    assert!(waited >= PATIENCE && waited < 5 * PATIENCE, "{waited:?}");
}

#[tokio::test]
async fn an_unknown_method_may_wait_for_ever_but_not_for_credit() {
    let gateway = gateway_of(&[node(100, false, never_read).await], impatient).await;
    let client = gateway.client().await;
    let mut idle = client.open(UNKNOWN).await;
    idle.send(framed(b"some")).await.unwrap();
    idle.half_close();
    let mut stuck = client.open(UNKNOWN).await;
    // More than a node takes that does not read, less than we take.
    stuck.send(vec![0; 100_000]).await.unwrap();
    let answer = stuck.answer().await;
    assert_eq!(answer.code(), Code::DeadlineExceeded);
    tokio::time::sleep(PATIENCE).await;
    client.catch_up().await;
    assert!(!idle.is_answered().await);
}

#[tokio::test]
async fn an_answer_without_a_status_is_internal_on_a_known_method() {
    let gateway = gateway_of(&[node(100, false, end_without_status).await], |_| {}).await;
    let client = gateway.client().await;
    let request = configuration_request("shop");
    let answer = client.unary(CONFIGURATIONS, &request).await;
    assert_eq!(answer.code(), Code::Internal);
    assert_eq!(answer.body, EMPTY);
    let answer = client.unary(UNKNOWN, b"").await;
    assert_eq!(answer.trailers.get("grpc-status"), None);
}

#[tokio::test]
async fn a_call_that_a_leaving_node_does_not_take_goes_to_another() {
    let nodes = [
        node(100, true, hold_or_ok).await,
        node(100, false, hold_or_ok).await,
    ];
    let gateway = gateway_of(&nodes, |_| {}).await;
    let client = gateway.client().await;
    // Both are connected once calls have reached both, one after the other; the call that is held
    // keeps the connection open after the node has announced its end.
    let _held = [held(&client).await, held(&client).await];
    for _ in 0..20 {
        client.unary(UNKNOWN, b"").await.ok();
    }
}
