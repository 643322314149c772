//! The end: connections that say nothing, calls that never end, nodes that take nothing.

use std::time::{Duration, Instant};

use perigee::engine::Code;
use perigee::sink::fault::Fault;
use perigee::telemetry::books::{ConnectionError, DropReason};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::soon;
use crate::gateway::{Gateway, TRACING, pipe};
use crate::messages::*;
use crate::raw::{PREFACE, Raw};
use crate::tls::{Authority, gateway_with_tls};

/// Connections that never get as far as HTTP/2: one has said nothing, the other this.
async fn silent(gateway: &Gateway, beginning: &[u8]) -> Vec<Raw> {
    let address = gateway.app.address;
    let mut half = Raw::silent(address).await;
    half.say(beginning).await;
    let silent = vec![Raw::silent(address).await, half];
    gateway
        .wait_for("both accepted", |gateway| {
            gateway.app.books.front.connections_open.value() == 2
        })
        .await;
    silent
}

#[tokio::test]
async fn a_connection_that_says_nothing_does_not_hold_up_the_end() {
    let authority = Authority::new();
    for (gateway, beginning) in [
        (Gateway::start(1).await, &PREFACE[..10]),
        (gateway_with_tls(&authority).await, &[0x16, 3, 1, 2, 0]),
    ] {
        let _silent = silent(&gateway, beginning).await;
        let began = Instant::now();
        gateway.stop().await;
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed_after_a_while() {
    let authority = Authority::new();
    let (plain, tls) = (Gateway::start(1).await, gateway_with_tls(&authority).await);
    let silent_of = |gateway: &Gateway| TcpStream::connect(gateway.app.address);
    let (mut one, mut other) = tokio::try_join!(silent_of(&plain), silent_of(&tls)).unwrap();
    let (mut read, mut read_other) = (Vec::new(), Vec::new());
    let closed = async {
        let closed = tokio::try_join!(
            one.read_to_end(&mut read),
            other.read_to_end(&mut read_other)
        );
        closed.unwrap();
    };
    let closed = tokio::time::timeout(Duration::from_secs(25), closed);
    closed.await.expect("closed within 25 s");
    for (gateway, why) in [
        (plain, ConnectionError::Handshake),
        (tls, ConnectionError::Tls),
    ] {
        gateway
            .wait_for("counted", |gateway| gateway.connection_errors(why) == 1)
            .await;
    }
}

/// Go agents never half-close.
#[tokio::test]
async fn what_an_endless_call_has_said_is_delivered_before_the_end() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(SEGMENTS).await;
    for number in 0..1000 {
        let message = segment(&number.to_string(), "shop");
        call.send(framed(&message)).await.unwrap();
    }
    client.catch_up().await;
    let began = Instant::now();
    let totals = gateway.stop().await;
    assert!(began.elapsed() < Duration::from_secs(8));
    assert_eq!((totals.received, totals.delivered), (1000, 1000));
}

#[tokio::test]
async fn what_cannot_be_delivered_is_reported_in_time() {
    const HOOK: Duration = Duration::from_secs(2);
    let gateway = Gateway::start(1).await;
    gateway.sink().set_fault(Fault {
        stall: true,
        ..Fault::default()
    });
    let client = gateway.client().await;
    for number in 0..30 {
        let ping = ping(&format!("shop-{number}"));
        client.unary(KEEP_ALIVE, &ping).await.ok();
    }
    let began = Instant::now();
    let report = gateway.app.stop(HOOK).await;
    assert!(began.elapsed() < HOOK + Duration::from_millis(500));
    assert_eq!(report.undelivered, [("managementpipe".to_owned(), 30)]);
    assert_eq!(report.totals.dropped_for(DropReason::Shutdown), 30);
}

/// A Java agent that loses a call with its connection stops for half a minute.
#[tokio::test]
async fn calls_that_are_open_at_the_end_are_told_so() {
    let gateway = Gateway::start_with(1, |settings| {
        let queue = pipe(settings, TRACING).queue.as_mut().unwrap();
        queue.event_buffer_size = 8;
        queue.partition = 1;
    })
    .await;
    gateway.sink().set_fault(Fault {
        stall: true,
        ..Fault::default()
    });
    let client = gateway.client().await;
    let mut calls = vec![client.open(KEEP_ALIVE).await, client.open(SEGMENTS).await];
    for _ in 0..5 {
        let mut call = client.open(SEGMENTS).await;
        for number in 0..100 {
            let message = segment(&number.to_string(), "shop");
            call.send(framed(&message)).await.unwrap();
        }
        calls.push(call);
    }
    calls.last_mut().unwrap().half_close();
    gateway
        .wait_for("the streams paused", |gateway| {
            gateway.app.books.front.paused_streams.value() == 5
        })
        .await;
    let books = std::sync::Arc::clone(&gateway.app.books);
    let stop = tokio::spawn(gateway.app.stop(Duration::from_secs(4)));
    for call in calls {
        let text = call.answer().await.refused(Code::Internal);
        assert_eq!(text, "gateway is shutting down");
    }
    soon(client.over).await.unwrap().unwrap();
    let report = stop.await.unwrap();
    assert_eq!(report.totals.dropped_for(DropReason::QueueFull), 0);
    assert_eq!(books.front.paused_streams.value(), 0);
}
