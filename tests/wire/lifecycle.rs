//! What the gateway says about itself, from the start to the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use perigee::telemetry::books::ConnectionError;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::soon;
use crate::gateway::{Gateway, http_get};
use crate::messages::*;

async fn readiness(gateway: &Gateway) -> String {
    http_get(gateway.app.admin_address.unwrap(), "/readyz").await
}

async fn until_nobody_is_connected(gateway: &Gateway) {
    gateway
        .wait_for("nobody connected", |gateway| {
            gateway.app.books.front.connections_open.value() == 0
        })
        .await;
}

/// `HealthCheckResponse { status: SERVING }`, framed.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 1];

#[tokio::test]
async fn readiness_at_the_connection_limit_ends_with_the_limit() {
    let gateway = Gateway::start_with(1, |settings| settings.server.max_connections = 1).await;
    let first = gateway.client().await;
    first.catch_up().await;
    let body = readiness(&gateway).await;
    assert!(body.contains("at the limit of connections"), "{body}");
    let answer = first.unary(HEALTH, b"").await;
    assert_ne!(answer.ok(), SERVING);
    let mut refused = TcpStream::connect(gateway.app.address).await.unwrap();
    let mut told = Vec::new();
    soon(refused.read_to_end(&mut told)).await.unwrap();
    assert_eq!(gateway.connection_errors(ConnectionError::Limit), 1);
    first.over.abort();
    drop(first);
    until_nobody_is_connected(&gateway).await;
    let body = readiness(&gateway).await;
    assert!(body.contains("\"reason\":\"ready\""), "{body}");
}

/// The call is one that the gateway counts, and whose task is still busy with what has arrived.
#[tokio::test]
async fn queues_stay_open_for_calls_that_outlive_their_connections_but_not_for_ever() {
    for ends in [true, false] {
        let gateway = Gateway::start(1).await;
        let books = Arc::clone(&gateway.app.books);
        books.front.stream_opened();
        let began = Instant::now();
        let mut stop = Box::pin(gateway.stop());
        let early = tokio::time::timeout(Duration::from_millis(500), &mut stop).await;
        assert!(early.is_err(), "stopped after {:?}", began.elapsed());
        if ends {
            books.front.stream_closed();
        }
        stop.await;
        let most = Duration::from_secs(if ends { 1 } else { 5 });
        assert!(began.elapsed() < most, "{:?}", began.elapsed());
    }
}
