//! The way out for a connection that is refused before anything of it was read.
//!
//! Closing a socket that holds unread bytes resets the connection, and a client that has sent its
//! preface would see an error instead of our words. So we speak, end our half, and read what it has
//! still to say until it ends its own.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// SETTINGS without parameters, then GOAWAY with NO_ERROR: of no stream has anything been done, so
/// every call may safely be tried elsewhere (RFC 9113 6.5, 6.8).
#[rustfmt::skip]
const GOODBYE: [u8; 26] = [
    0, 0, 0, 4, 0, 0, 0, 0, 0,
    0, 0, 8, 7, 0, 0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,
];

/// How long the client may take to end its half.
const LINGER: Duration = Duration::from_secs(1);

/// Ends a connection in order. Without TLS the client is told so in HTTP/2; under TLS it could be
/// told only after a handshake, which is what costs most, so it sees the end of the connection.
pub async fn turn_away(stream: TcpStream, has_tls: bool) {
    // Whoever goes on talking is cut.
    let _late = tokio::time::timeout(LINGER, part(stream, has_tls)).await;
}

async fn part(mut stream: TcpStream, has_tls: bool) -> io::Result<()> {
    if !has_tls {
        stream.write_all(&GOODBYE).await?;
    }
    stream.shutdown().await?;
    let mut unheard = [0; 1024];
    while stream.read(&mut unheard).await? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What a client reads to the end of the connection that had sent this.
    async fn told(has_tls: bool, sent: &[u8]) -> io::Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.write_all(sent).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        // It is there, so that closing at once would reset the connection.
        stream.readable().await.unwrap();
        let parting = tokio::spawn(turn_away(stream, has_tls));
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await?;
        client.write_all(b"more that nobody wants").await?;
        drop(client);
        parting.await.unwrap();
        Ok(heard)
    }

    #[tokio::test]
    async fn a_client_that_has_spoken_is_told_and_sees_an_end_not_a_reset() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        assert_eq!(told(false, preface).await.unwrap(), GOODBYE);
        assert_eq!(told(true, b"\x16\x03\x01 hello").await.unwrap(), b"");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_go_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let began = tokio::time::Instant::now();
        turn_away(stream, false).await;
        assert!(began.elapsed() >= LINGER);
        drop(client);
    }
}
