//! T16: an OAP ends a connection with its third PING within minutes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::send_each;
use crate::gateway::{Gateway, sink};
use crate::messages::{SEGMENTS, padded_segment};

const PREFACE: usize = 24;
const FRAME_HEAD: usize = 9;
const PING: u8 = 6;
const ACK: u8 = 1;

/// Passes connections on to a node and counts the PINGs towards it that answer none.
async fn tap(node: SocketAddr, pings: Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let pings = Arc::clone(&pings);
            let (from_client, mut to_client) = client.into_split();
            let (mut from_node, to_node) = TcpStream::connect(node).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_node, &mut to_client).await });
            tokio::spawn(pass_frames(from_client, to_node, pings));
        }
    });
    address
}

async fn pass_frames(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    pings: Arc<AtomicUsize>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; PREFACE];
    from.read_exact(&mut buffer).await?;
    to.write_all(&buffer).await?;
    loop {
        let mut head = [0; FRAME_HEAD];
        from.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, ..] = head;
        buffer.resize(u32::from_be_bytes([0, a, b, c]) as usize, 0);
        from.read_exact(&mut buffer).await?;
        if kind == PING && flags & ACK == 0 {
            pings.fetch_add(1, Ordering::Relaxed);
        }
        to.write_all(&head).await?;
        to.write_all(&buffer).await?;
    }
}

#[tokio::test]
async fn t16_an_oap_is_never_pinged() {
    const MESSAGES: usize = 4000;
    let pings = Arc::<AtomicUsize>::default();
    let node = sink();
    let tap = tap(node.listen(), Arc::clone(&pings)).await;
    let gateway = Gateway::over(vec![node], |settings| {
        settings.client.servers[0].port = tap.port();
    })
    .await;
    let client = gateway.client().await;
    let mut call = client.open(SEGMENTS).await;
    // Enough for whoever probes the bandwidth or the round trip.
    let segments = (0..MESSAGES).map(|number| padded_segment(&number.to_string(), "shop", 2000));
    send_each(&mut call, segments).await;
    gateway.wait_for_entries(SEGMENTS, MESSAGES).await;
    assert_eq!(pings.load(Ordering::Relaxed), 0);
}
