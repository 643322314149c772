//! Connections above a limit, and those below it.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use perigee::sink::fault::Fault;
use perigee::telemetry::books::ConnectionError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::client::{Call, Client, soon};
use crate::gateway::{Gateway, TRACING, pipe};
use crate::messages::*;
use crate::raw::{Frame, PREFACE, SETTINGS};

/// Keeps sending one segment a call until told to stop; gives how many were acknowledged.
async fn keep_sending(client: Client, name: usize, stop: Arc<AtomicBool>) -> usize {
    let mut sent = 0;
    while !stop.load(Ordering::SeqCst) {
        let segment = segment(&format!("{name}-{sent}"), "accepted");
        client.unary(SEGMENTS, &segment).await.ok();
        sent += 1;
    }
    sent
}

/// Connects from this address of ours.
async fn connect_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(source.into(), 0)).unwrap();
    socket.connect(address).await.unwrap()
}

/// A whole connection of a client that does not wait for the other side before it speaks, as most:
/// whatever it is told, up to the orderly end. A reset is an error.
async fn speak_first(source: Ipv4Addr, address: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = connect_from(source, address).await;
    let settings = Frame::new(SETTINGS, 0, 0, &[]).encode();
    let call = Frame::call(1, SEGMENTS, &[]).encode();
    stream
        .write_all(&[PREFACE, &settings, &call].concat())
        .await?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await?;
    Ok(heard)
}

/// Scenario: 100 connections above `connection_count`, each with a call already on its way,
/// while those that were accepted send on.
/// Guarantees: each sees an end, without a word and no reset; every segment of the accepted ones
/// arrives.
#[tokio::test]
async fn connections_above_the_limit_are_turned_away_in_order() {
    const ACCEPTED: usize = 4;
    let gateway = Gateway::start_with(1, |settings| {
        settings.server.max_connections = ACCEPTED;
        settings.server.max_connections_per_source = Some(ACCEPTED);
    })
    .await;
    let address = gateway.app.address;
    let stop = Arc::new(AtomicBool::new(false));
    let mut senders = JoinSet::new();
    for name in 0..ACCEPTED {
        let client = gateway.client().await;
        client.catch_up().await;
        senders.spawn(keep_sending(client, name, Arc::clone(&stop)));
    }
    let mut refused = JoinSet::new();
    for number in 0..100 {
        // Ten of each address: many more of one may be reset.
        let source = Ipv4Addr::new(127, 0, 0, 2 + number % 10);
        refused.spawn(async move {
            let told = soon(speak_first(source, address)).await.unwrap();
            assert_eq!(told, b"");
        });
    }
    while let Some(refused) = soon(refused.join_next()).await {
        refused.unwrap();
    }
    assert_eq!(gateway.connection_errors(ConnectionError::Limit), 100);
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = 0;
    while let Some(sent) = soon(senders.join_next()).await {
        acknowledged += sent.unwrap();
    }
    assert!(acknowledged >= ACCEPTED, "{acknowledged}");
    let Gateway { app, sinks } = gateway;
    let report = soon(app.stop(Duration::from_secs(10))).await;
    assert_eq!(report.totals.delivered, acknowledged as u64);
    let ids = sinks[0].ids(SEGMENTS);
    let arrived: BTreeSet<_> = ids.iter().map(|id| &id.id).collect();
    assert_eq!((arrived.len(), ids.len()), (acknowledged, acknowledged));
}

/// Scenario: one address may have two connections and asks for a third.
/// Guarantees: it is turned away, the gateway stays ready, and one that ends makes room.
#[tokio::test]
async fn one_address_does_not_take_all_connections() {
    let two = |settings: &mut perigee::config::settings::Settings| {
        settings.server.max_connections_per_source = Some(2);
    };
    let gateway = Gateway::start_with(1, two).await;
    let first = gateway.client().await;
    let second = gateway.client().await;
    second.catch_up().await;
    let third = gateway.client().await;
    soon(third.over).await.unwrap().unwrap();
    assert_eq!(gateway.connection_errors(ConnectionError::Source), 1);
    // Our own probe of health is on one of the two, and is told that all is well.
    assert_eq!(first.unary(HEALTH, b"").await.ok(), [0, 0, 0, 0, 2, 8, 1]);
    first.over.abort();
    drop(first);
    gateway
        .wait_for("one gone", |gateway| {
            gateway.app.books.front.connections_open.value() == 1
        })
        .await;
    gateway.client().await.catch_up().await;
}

/// Sends segments on one call until told to stop.
async fn pour(mut call: Call, name: String, stop: Arc<AtomicBool>) {
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let message = padded_segment(&format!("{name}-{number}"), "shop", 124);
        tokio::select! {
            sent = call.send(framed(&message)) => sent.unwrap(),
            // Whoever is waiting for credit is cut with the connection.
            () = tokio::time::sleep(Duration::from_secs(20)) => break,
        }
    }
}

/// Scenario: one address pours 240 streams on four connections into a small queue before a slow node,
/// and another address a single one.
/// Guarantees: the single stream gets at least half of its half through, while the flood goes on.
#[tokio::test]
async fn a_flood_of_one_address_leaves_another_its_share_of_a_full_queue() {
    let gateway = Gateway::start_with(1, |settings| {
        settings.limits.workers = 1;
        let tracing = pipe(settings, TRACING);
        tracing.sender.max_buffer_size = 20;
        let queue = tracing.queue.as_mut().unwrap();
        (queue.event_buffer_size, queue.partition) = (100, 1);
    })
    .await;
    let slow = Fault {
        delay_ms: 20,
        ..Fault::default()
    };
    gateway.sink().set_fault(slow);
    let stop = Arc::new(AtomicBool::new(false));
    let mut flood = Vec::new();
    let mut pouring = JoinSet::new();
    for connection in 0..4 {
        let client = gateway.client().await;
        for stream in 0..60 {
            let call = client.open(SEGMENTS).await;
            let name = format!("flood-{connection}-{stream}");
            pouring.spawn(pour(call, name, Arc::clone(&stop)));
        }
        flood.push(client);
    }
    gateway
        .wait_for("a flood that waits", |gateway| {
            gateway.app.books.front.paused_streams.value() >= 200
        })
        .await;
    gateway.sink().reset();
    gateway.sink().set_fault(Fault {
        delay_ms: 20,
        ..Fault::default()
    });
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let modest = Client::on(connect_from(other, gateway.app.address).await).await;
    let call = modest.open(SEGMENTS).await;
    pouring.spawn(pour(call, "modest".to_owned(), Arc::clone(&stop)));
    let sink = gateway.sink();
    soon(sink.wait_until(|state| state.messages(SEGMENTS) >= 1500)).await;
    let ids = sink.ids(SEGMENTS);
    let share = ids.iter().filter(|id| id.id.starts_with("modest")).count();
    stop.store(true, Ordering::SeqCst);
    assert!(share * 4 >= ids.len(), "{share} of {}", ids.len());
}

/// Scenario: the stock file, and one address that opens as many connections as it can and says
/// nothing.
/// Guarantees: it gets three quarters of them, and another address is served.
#[tokio::test]
async fn by_default_one_address_does_not_take_every_connection() {
    const MOST: usize = 8;
    let gateway = Gateway::start_with(1, |settings| settings.server.max_connections = MOST).await;
    let mut silent = Vec::new();
    for _ in 0..MOST {
        silent.push(TcpStream::connect(gateway.app.address).await.unwrap());
    }
    gateway
        .wait_for("the flood at an end", |gateway| {
            let accepted = gateway.app.books.front.connections.value();
            let refused = gateway.connection_errors(ConnectionError::Source);
            (accepted, refused) == (6, 2)
        })
        .await;
    let other = Ipv4Addr::new(127, 0, 0, 2);
    let modest = Client::on(connect_from(other, gateway.app.address).await).await;
    modest.unary(SEGMENTS, &segment("a", "shop")).await.ok();
    drop(silent);
}
