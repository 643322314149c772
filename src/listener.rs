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

use crate::admin::{Readiness, State};
use crate::telemetry::books::{Books, ConnectionError};
use crate::telemetry::log::RateLimited;
use crate::worker::Accepted;

/// Pause after a failure that waiting may cure, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);

/// Deals connections.
pub(crate) struct Listener {
    /// Bound and listening.
    pub socket: TcpListener,
    /// The workers' inboxes.
    pub workers: Vec<mpsc::Sender<Accepted>>,
    /// Connections above this number are closed at once.
    pub max_connections: usize,
    /// Counters.
    pub books: Arc<Books>,
    /// Told when the limit is reached.
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
        if !self.has_room() {
            self.books.front.connection_failed(ConnectionError::Limit);
            return Ok(());
        }
        self.books.front.connection_opened();
        let stream = stream.into_std()?;
        let worker = usize::try_from(number % self.workers.len() as u64).unwrap_or(0);
        // A worker is gone only when the daemon is.
        let _gone = self.workers[worker]
            .send(Accepted {
                stream,
                peer,
                number,
            })
            .await;
        Ok(())
    }

    /// Also tells the readiness: at the limit new clients should go to another replica.
    fn has_room(&self) -> bool {
        let open = usize::try_from(self.books.front.connections_open.value()).unwrap_or(usize::MAX);
        let room = open < self.max_connections;
        self.readiness
            .set(if room { State::Ready } else { State::AtLimit });
        room
    }
}
