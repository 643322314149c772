//! Worker threads: each serves its share of the connections and of the queues' partitions.
//!
//! A worker is one thread with one runtime that never moves a task elsewhere. It has its own
//! connections to every node, so that nothing on the data path is shared but the queues' locks,
//! which are uncontended: connection number and partition are dealt to workers alike.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use perigee_plugin_api::discovery::EndpointSet;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tracing::{debug, warn};

use crate::balance::{self, Balancer};
use crate::engine::socket::{self, Socket};
use crate::engine::tls::Current;
use crate::engine::{ConnectionError, Drain, Front, FrontOptions, serve};
use crate::gateway::{Gateway, GatewayOptions};
use crate::limit::sources::Place;
use crate::pipe::sender::{Sender, SenderOptions};
use crate::telemetry::books::{self, Books};
use crate::telemetry::log::RateLimited;
use crate::upstream::{ConnectOptions, Upstream};

/// Connections dealt to a worker and not yet looked at.
const INBOX: usize = 1024;

/// How long a new connection may take until TLS stands.
const TLS_HANDSHAKE: Duration = Duration::from_secs(20);

/// A connection on its way to its worker.
pub(crate) struct Accepted {
    /// The socket.
    pub stream: std::net::TcpStream,
    /// The client.
    pub peer: SocketAddr,
    /// Its number, counted over all workers.
    pub number: u64,
    /// Counts it.
    pub counted: Counted,
}

/// Counts a connection as open until dropped, wherever that happens: it may never reach its worker.
pub(crate) struct Counted {
    books: Arc<Books>,
    /// Its place among its source's, if these are counted.
    _place: Option<Place>,
}

impl Counted {
    /// One more.
    pub(crate) fn new(books: &Arc<Books>, place: Option<Place>) -> Self {
        books.front.connection_opened();
        Self {
            books: Arc::clone(books),
            _place: place,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.books.front.connection_closed();
    }
}

/// What every worker needs.
#[derive(Clone)]
pub(crate) struct WorkerOptions {
    /// How many workers there are.
    pub workers: usize,
    /// Front limits.
    pub front: FrontOptions,
    /// What calls are answered from.
    pub gateway: GatewayOptions,
    /// Towards the nodes.
    pub connect: ConnectOptions,
    /// Delivery.
    pub sender: SenderOptions,
    /// Spreading.
    pub balance: balance::Settings,
    /// TLS towards agents.
    pub tls: Option<Current<rustls::ServerConfig>>,
    /// Open connections are counted here.
    pub books: Arc<Books>,
}

/// A running worker.
pub(crate) struct Worker {
    /// Where its connections are dealt to.
    pub inbox: mpsc::Sender<Accepted>,
    /// Ends once its senders have.
    pub thread: JoinHandle<()>,
}

/// Starts a worker's thread.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub(crate) fn start(
    index: usize,
    options: WorkerOptions,
    endpoints: watch::Receiver<EndpointSet>,
    phases: Phases,
) -> io::Result<Worker> {
    let (inbox, connections) = mpsc::channel(INBOX);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        let tasks = LocalSet::new();
        let mut abandon = phases.abandon.clone();
        tasks.block_on(&runtime, async move {
            tokio::select! {
                () = run(index, options, endpoints, connections, phases) => {}
                // The sender of phases outlives the workers; if it is gone, so is the daemon.
                _ = abandon.wait_for(|abandon| *abandon) => {}
            }
        });
    };
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(run)?;
    Ok(Worker { inbox, thread })
}

/// What a worker is told about the shutdown.
#[derive(Clone)]
pub(crate) struct Phases {
    /// For connections.
    pub drain: watch::Receiver<Drain>,
    /// The time is up: whatever is left stays undelivered.
    pub abandon: watch::Receiver<bool>,
}

async fn run(
    index: usize,
    options: WorkerOptions,
    endpoints: watch::Receiver<EndpointSet>,
    mut connections: mpsc::Receiver<Accepted>,
    phases: Phases,
) {
    let balance = balance::Settings {
        offset: index,
        ..options.balance
    };
    let balancer = Balancer::new(balance, fastrand::Rng::new());
    let upstream = Upstream::new(
        balancer,
        options.connect.clone(),
        Arc::clone(&options.books),
    );
    tokio::task::spawn_local(Rc::clone(&upstream).follow(endpoints));
    let mut senders = start_senders(index, &options, &upstream);
    let service = Rc::new(Gateway::new(options.gateway.clone(), upstream));
    let front = Rc::new(Front {
        service,
        options: options.front.clone(),
    });
    let mut drain = phases.drain.clone();
    loop {
        tokio::select! {
            accepted = connections.recv() => match accepted {
                Some(accepted) => {
                    let connection = Connection {
                        front: Rc::clone(&front),
                        tls: options.tls.as_ref().map(Current::load),
                        books: Arc::clone(&options.books),
                        drain: phases.drain.clone(),
                    };
                    tokio::task::spawn_local(connection.serve(accepted));
                }
                None => break,
            },
            _ = drain.wait_for(|drain| *drain == Drain::Cut) => break,
        }
    }
    // Nobody looks at these any more, and the daemon waits until none is counted.
    drop(connections);
    // Queues are closed by the daemon; a sender ends when its partition is closed and empty.
    while senders.join_next().await.is_some() {}
}

fn start_senders(index: usize, options: &WorkerOptions, upstream: &Rc<Upstream>) -> JoinSet<()> {
    let mut senders = JoinSet::new();
    for pipe in &options.gateway.pipes.all {
        let partitions = pipe.queue.as_ref().map_or(0, |queue| queue.partitions());
        for partition in (0..partitions).filter(|partition| partition % options.workers == index) {
            if let Some(sender) = Sender::new(pipe, partition, upstream, &options.sender) {
                senders.spawn_local(sender.run());
            }
        }
    }
    senders
}

/// A failed handshake is worth a word: it may be an agent with the wrong certificate, which nobody
/// else tells. Other connections fail in the course of things.
fn log_failed(peer: SocketAddr, why: books::ConnectionError, error: &str) {
    static HANDSHAKES: RateLimited = RateLimited::new(Duration::from_secs(10));
    if why != books::ConnectionError::Tls {
        debug!(%peer, error, why = why.label(), "connection failed");
    } else if let Some(suppressed) = HANDSHAKES.permit(Instant::now()) {
        warn!(%peer, error, suppressed, "TLS handshake failed");
    }
}

struct Connection {
    front: Rc<Front>,
    tls: Option<Arc<rustls::ServerConfig>>,
    books: Arc<Books>,
    drain: watch::Receiver<Drain>,
}

impl Connection {
    async fn serve(self, accepted: Accepted) {
        let peer = accepted.peer;
        let ended = self.serve_to_the_end(accepted).await;
        if let Err((why, error)) = ended {
            self.books.front.connection_failed(why);
            log_failed(peer, why, &error);
        }
    }

    /// `None`: we are told to stop, and a client that has not spoken yet has nothing to lose.
    async fn encrypt(
        &self,
        tls: &Arc<rustls::ServerConfig>,
        stream: TcpStream,
    ) -> io::Result<Option<Socket>> {
        let accept = tokio_rustls::TlsAcceptor::from(Arc::clone(tls)).accept(stream);
        let mut drain = self.drain.clone();
        tokio::select! {
            accepted = tokio::time::timeout(TLS_HANDSHAKE, accept) => {
                Ok(Some(Socket::Tls(Box::new(accepted??.into()))))
            }
            _ = drain.wait_for(|phase| *phase != Drain::Open) => Ok(None),
        }
    }

    async fn serve_to_the_end(
        &self,
        accepted: Accepted,
    ) -> Result<(), (books::ConnectionError, String)> {
        let Accepted {
            stream,
            peer,
            number,
            counted: _counted,
        } = accepted;
        let io = |error: io::Error| (books::ConnectionError::Io, error.to_string());
        let stream = TcpStream::from_std(stream).map_err(io)?;
        socket::configure(&stream).map_err(io)?;
        let socket = match &self.tls {
            None => Socket::Plain(stream),
            Some(tls) => match self.encrypt(tls, stream).await {
                Ok(Some(socket)) => socket,
                Ok(None) => return Ok(()),
                Err(error) => return Err((books::ConnectionError::Tls, error.to_string())),
            },
        };
        serve(
            Rc::clone(&self.front),
            socket,
            peer,
            number,
            self.drain.clone(),
        )
        .await
        .map_err(|error| {
            let why = match error {
                ConnectionError::Handshake(_) => books::ConnectionError::Handshake,
                ConnectionError::Protocol(_) => books::ConnectionError::Protocol,
                ConnectionError::Io(_) => books::ConnectionError::Io,
            };
            (why, error.to_string())
        })
    }
}
