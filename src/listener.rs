//! Accepts connections and deals them to the workers.
//!
//! One listener, round robin: agents hold few connections for long, and letting the kernel hash
//! them (`SO_REUSEPORT`) leaves workers idle (`performance.md` 4.1).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::warn;

use crate::admin::{Limit, Readiness};
use crate::engine::turn_away;
use crate::limit::sources::{Place, Sources};
use crate::telemetry::books::{Books, ConnectionError};
use crate::telemetry::log::RateLimited;
use crate::worker::{Accepted, Counted};

/// Pause after a failure that waiting may cure, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);

/// Refused connections that may be on their way out at once; above it they are closed without waiting
/// for the client, which then may see a reset, so that a flood costs no more than accepting it. All of
/// them are descriptors of `limit::descriptors`' reserve.
const PARTING: usize = 128;

/// Of one address, so that whoever floods us is not in the others' way out.
const PARTING_OF_SOURCE: usize = PARTING / 8;

/// Deals connections.
pub(crate) struct Listener {
    /// Bound and listening.
    pub socket: TcpListener,
    /// The workers' inboxes.
    pub workers: Vec<mpsc::Sender<Accepted>>,
    /// Counters.
    pub books: Arc<Books>,
    /// Knows whether there is room; what there is none for is turned away.
    pub readiness: Arc<Readiness>,
    /// Bounds the connections of one address.
    pub sources: Arc<Sources>,
    /// Refused connections on their way out.
    pub parting: Parting,
}

impl Listener {
    /// Accepts until dropped.
    pub(crate) async fn run(mut self) {
        let limited = RateLimited::new(Duration::from_secs(10));
        for number in 0_u64.. {
            match self.accept(number).await {
                Ok(()) => {}
                Err(error) => {
                    if let Some(suppressed) = limited.permit(Instant::now()) {
                        warn!(%error, suppressed, "cannot accept a connection");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn accept(&mut self, number: u64) -> io::Result<()> {
        let (stream, peer) = self.socket.accept().await?;
        let place = match self.admit(peer.ip()) {
            Ok(place) => place,
            Err(why) => {
                self.refuse(stream, peer, why);
                return Ok(());
            }
        };
        let counted = Counted::new(&self.books, Some(place));
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

    /// Whether one more connection may be served, with its place among its source's.
    fn admit(&self, source: IpAddr) -> Result<Place, ConnectionError> {
        match self.readiness.refusal() {
            Some(Limit::Cpu) => return Err(ConnectionError::Cpu),
            Some(_) => return Err(ConnectionError::Limit),
            None => {}
        }
        self.sources.admit(source).ok_or(ConnectionError::Source)
    }

    /// Never waits: whoever is refused must not hold up the others.
    fn refuse(&mut self, stream: TcpStream, peer: SocketAddr, why: ConnectionError) {
        static REFUSED: RateLimited = RateLimited::new(Duration::from_secs(10));
        self.books.front.connection_failed(why);
        if let Some(suppressed) = REFUSED.permit(Instant::now()) {
            let reason = why.label();
            warn!(%peer, reason, suppressed, "connection refused");
        }
        self.parting.see_off(stream, peer.ip());
    }
}

/// Refused connections on their way out.
pub(crate) struct Parting {
    connections: JoinSet<()>,
    sources: Arc<Sources>,
}

impl Parting {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            connections: JoinSet::new(),
            sources: Arc::new(Sources::new(PARTING_OF_SOURCE)),
        }
    }

    /// Waits for the client's end in the background, if there is room for one more of this address.
    fn see_off(&mut self, stream: TcpStream, source: IpAddr) {
        while self.connections.try_join_next().is_some() {}
        if self.connections.len() >= PARTING {
            return;
        }
        if let Some(place) = self.sources.admit(source) {
            self.connections.spawn(async move {
                turn_away(stream).await;
                drop(place);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use perigee_plugin_api::budget::Budget;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpSocket;

    use super::*;

    struct Bench {
        listener: Listener,
        address: SocketAddr,
        connections: mpsc::Receiver<Accepted>,
        books: Arc<Books>,
    }

    async fn bench(most: usize, per_source: Option<usize>) -> Bench {
        let books = Arc::new(Books::new([("tracepipe", "TracingType")]));
        let budget = Arc::new(Budget::new(1 << 20));
        let readiness = Arc::new(Readiness::new(Arc::clone(&books), most, budget));
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (inbox, connections) = mpsc::channel(16);
        let listener = Listener {
            socket,
            workers: vec![inbox],
            books: Arc::clone(&books),
            readiness,
            sources: Arc::new(Sources::new(per_source.unwrap_or(most))),
            parting: Parting::new(),
        };
        Bench {
            listener,
            address,
            connections,
            books,
        }
    }

    /// Connects from this address of ours, with something to say.
    async fn connect_from(source: &str, bench: &Bench) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket
            .bind(SocketAddr::new(source.parse().unwrap(), 0))
            .unwrap();
        let mut stream = socket.connect(bench.address).await.unwrap();
        stream.write_all(b"unread").await.unwrap();
        stream
    }

    /// Has this client refused, and says how it saw the end.
    async fn refused(bench: &mut Bench, mut client: TcpStream) -> io::Result<usize> {
        bench.listener.accept(0).await.unwrap();
        let mut words = Vec::new();
        client.read_to_end(&mut words).await
    }

    #[tokio::test]
    async fn a_flood_of_refused_connections_is_bounded_and_in_nobodys_way() {
        let mut bench = bench(0, None).await;
        let mut clients = Vec::new();
        let flood = PARTING_OF_SOURCE + 10;
        for _ in 0..flood {
            clients.push(connect_from("127.0.0.1", &bench).await);
            bench.listener.accept(0).await.unwrap();
        }
        assert_eq!(
            bench.listener.parting.connections.len(),
            PARTING_OF_SOURCE,
            "of one address"
        );
        let other = connect_from("127.0.0.2", &bench).await;
        assert_eq!(refused(&mut bench, other).await.unwrap(), 0);
        let counted = bench.books.front.connection_errors(ConnectionError::Limit);
        assert_eq!(counted, flood as u64 + 1);
        drop(clients);
        while bench
            .listener
            .parting
            .connections
            .join_next()
            .await
            .is_some()
        {}
        let late = connect_from("127.0.0.1", &bench).await;
        assert_eq!(refused(&mut bench, late).await.unwrap(), 0, "room again");
    }

    #[tokio::test]
    async fn a_flood_of_many_addresses_is_bounded_in_all() {
        let mut bench = bench(0, None).await;
        let mut clients = Vec::new();
        for number in 0..PARTING + 10 {
            let source = format!("127.0.1.{}", number / 10 + 1);
            clients.push(connect_from(&source, &bench).await);
            bench.listener.accept(0).await.unwrap();
        }
        assert_eq!(bench.listener.parting.connections.len(), PARTING);
    }

    #[tokio::test]
    async fn one_address_has_as_many_connections_as_it_may() {
        let mut bench = bench(10, Some(2)).await;
        let mut clients = Vec::new();
        for number in 0..3 {
            clients.push(TcpStream::connect(bench.address).await.unwrap());
            bench.listener.accept(number).await.unwrap();
        }
        let refused = |bench: &Bench| bench.books.front.connection_errors(ConnectionError::Source);
        assert_eq!(refused(&bench), 1);
        assert_eq!(bench.books.front.connections_open.value(), 2);
        drop(bench.connections.recv().await);
        clients.push(TcpStream::connect(bench.address).await.unwrap());
        bench.listener.accept(3).await.unwrap();
        assert_eq!(refused(&bench), 1, "its place is free again");
    }

    #[tokio::test]
    async fn nobody_is_served_at_the_limit_of_cpu() {
        let mut bench = bench(10, None).await;
        bench.books.front.cpu.set_at_limit(true);
        let _client = TcpStream::connect(bench.address).await.unwrap();
        bench.listener.accept(0).await.unwrap();
        let refused = bench.books.front.connection_errors(ConnectionError::Cpu);
        assert_eq!(
            (refused, bench.books.front.connections_open.value()),
            (1, 0)
        );
    }

    #[tokio::test]
    async fn a_connection_that_reaches_no_worker_is_not_counted_for_ever() {
        let Bench {
            mut listener,
            address,
            connections,
            books,
        } = bench(10, None).await;
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
