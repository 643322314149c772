//! The way out for a connection that is refused before anything of it was read.
//!
//! # Decisions
//! - Nothing is said. SETTINGS and GOAWAY would be the polite words, but to gRPC's C core (Python,
//!   C++, Ruby, PHP) SETTINGS make a connect that has succeeded: it forgets its back-off, sees that
//!   its call was not begun, connects again and so on, a core of CPU for as long as the call's
//!   deadline lasts. After an end without a word it fails the call with UNAVAILABLE and backs off.
//! - The end is an orderly one. Closing a socket that holds unread bytes resets the connection, which
//!   looks like a broken network. So we end our half and read what the client has still to say until
//!   it ends its own.
//! - Under TLS the same: words would cost the handshake, which is what costs most.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the client may take to end its half.
const LINGER: Duration = Duration::from_secs(1);

/// Ends a connection in order and without a word.
pub async fn turn_away(stream: TcpStream) {
    // Whoever goes on talking is cut.
    let _late = tokio::time::timeout(LINGER, part(stream)).await;
}

async fn part(mut stream: TcpStream) -> io::Result<()> {
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
    async fn told(sent: &[u8]) -> io::Result<Vec<u8>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        client.write_all(sent).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        // It is there, so that closing at once would reset the connection.
        stream.readable().await.unwrap();
        let parting = tokio::spawn(turn_away(stream));
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await?;
        client.write_all(b"more that nobody wants").await?;
        drop(client);
        parting.await.unwrap();
        Ok(heard)
    }

    #[tokio::test]
    async fn a_client_that_has_spoken_sees_an_end_without_a_word_and_no_reset() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        assert_eq!(told(preface).await.unwrap(), b"");
        assert_eq!(told(b"\x16\x03\x01 hello").await.unwrap(), b"");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_go_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let began = tokio::time::Instant::now();
        turn_away(stream).await;
        assert!(began.elapsed() >= LINGER);
        drop(client);
    }
}
