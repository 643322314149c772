//! Accepts connections and deals them to the workers.
//!
//! One listener, round robin: agents hold few connections for long, and letting the kernel hash
//! them (`SO_REUSEPORT`) leaves workers idle (`performance.md` 4.1).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tracing::warn;

use crate::admin::Readiness;
use crate::telemetry::books::{Books, ConnectionError};
use crate::telemetry::log::RateLimited;
use crate::worker::{Accepted, Counted};

/// Pause after a failure that waiting may cure, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);

/// Deals connections.
pub(crate) struct Listener {
    /// Bound and listening.
    pub socket: TcpListener,
    /// The workers' inboxes.
    pub workers: Vec<mpsc::Sender<Accepted>>,
    /// Counters.
    pub books: Arc<Books>,
    /// Knows whether there is room; what there is none for is closed at once.
    pub readiness: Arc<Readiness>,
}

impl Listener {
    /// Accepts until dropped.
    pub(crate) async fn run(self) {
        let limited = RateLimited::new(Duration::from_secs(10));
        for number in 0_u64.. {
            match self.accept(number).await {
                Ok(()) => {}
                Err(error) => {
                    if let Some(suppressed) = limited.permit(std::time::Instant::now()) {
                        warn!(%error, suppressed, "cannot accept a connection");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn accept(&self, number: u64) -> io::Result<()> {
        let (stream, peer) = self.socket.accept().await?;
        if !self.readiness.has_room_for_connection() {
            self.books.front.connection_failed(ConnectionError::Limit);
            return Ok(());
        }
        let counted = Counted::new(&self.books);
        let stream = stream.into_std()?;
        let worker = usize::try_from(number % self.workers.len() as u64).unwrap_or(0);
        // A worker is gone only when the daemon is.
        let _gone = self.workers[worker]
            .send(Accepted {
                stream,
                peer,
                number,
                counted,
            })
            .await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use perigee_plugin_api::budget::Budget;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_reaches_no_worker_is_not_counted_for_ever() {
        let books = Arc::new(Books::new([("tracepipe", "TracingType")]));
        let budget = Arc::new(Budget::new(1 << 20));
        let readiness = Arc::new(Readiness::new(Arc::clone(&books), 10, budget));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (inbox, connections) = mpsc::channel(2);
        let listener = Listener {
            socket,
            workers: vec![inbox],
            books: Arc::clone(&books),
            readiness,
        };
        let _waiting = TcpStream::connect(address).await.unwrap();
        listener.accept(0).await.unwrap();
        assert_eq!(books.front.connections_open.value(), 1);
        drop(connections);
        assert_eq!(books.front.connections_open.value(), 0);
        let _too_late = TcpStream::connect(address).await.unwrap();
        listener.accept(1).await.unwrap();
        assert_eq!(books.front.connections_open.value(), 0);
        assert_eq!(books.front.connections.value(), 2);
    }
}
