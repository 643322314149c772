//! Synthetic agents: real gRPC clients on real connections, a few for each row of the table.
//!
//! A unary method gets an agent that calls; a client stream gets one that opens a stream for a few
//! messages, as Java agents do, and one that keeps a stream open, as Go agents do; an upload
//! happens once. They keep their own counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use parking_lot::Mutex;
use perigee_plugin_api::protocol::{Mode, Shape};
use perigee_protocols::Found;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::client::Client;
use super::payload::{self, Payload, Upload};
use crate::telemetry::books::Count;

/// A method that nobody has defined yet: the gateway copies it to an OAP, which does not know it.
pub(super) const UNKNOWN: &str = "/skywalking.v99.DemoService/collect";

const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// `HealthCheckResponse { status: SERVING }`.
const SERVING: &[u8] = &[0x08, 0x01];

/// Connections that the agents share: enough for each worker to get some.
const CONNECTIONS: usize = 12;

/// Messages of an endless stream that wait for the connection.
const STREAM_BUFFER: usize = 64;

/// What agents counted on one row.
#[derive(Debug, Default)]
pub(super) struct RowCounts {
    /// Messages handed to the connection.
    pub(super) sent: Count,
    /// Messages of calls that were answered with OK.
    pub(super) acknowledged: Count,
    /// Calls begun.
    pub(super) calls: Count,
    /// Calls that were answered as they should be.
    pub(super) answered: Count,
    last_failure: Mutex<Option<String>>,
}

impl RowCounts {
    fn ended(&self, messages: u64, result: Result<(), Status>) {
        match result {
            Ok(()) => {
                self.acknowledged.add(messages);
                self.answered.add(1);
            }
            Err(status) => *self.last_failure.lock() = Some(status.to_string()),
        }
    }

    /// Why the latest call failed that did.
    pub(super) fn last_failure(&self) -> Option<String> {
        self.last_failure.lock().clone()
    }
}

/// Counts of a file that was uploaded.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) path: &'static str,
    pub(super) content: Vec<u8>,
}

/// What all agents counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// In the order of the table's rows.
    pub(super) rows: Vec<(&'static str, Arc<RowCounts>)>,
    /// Calls of [`UNKNOWN`].
    pub(super) unknown: Arc<RowCounts>,
    /// Health checks.
    pub(super) health: Arc<RowCounts>,
    /// Files.
    pub(super) uploads: Vec<Sent>,
}

/// The agents at work.
pub(super) struct Fleet {
    /// What they count.
    pub(super) counts: Counts,
    clients: Vec<Client>,
    stop: watch::Sender<bool>,
    agents: JoinSet<()>,
}

/// One agent.
struct Agent {
    client: Client,
    path: &'static str,
    messages: Vec<Bytes>,
    next: usize,
    pace: Pace,
    counts: Arc<RowCounts>,
    stop: watch::Receiver<bool>,
}

/// How much an agent sends at a time, and how often.
#[derive(Clone, Copy)]
struct Pace {
    messages: usize,
    every: Duration,
}

impl Pace {
    const fn new(messages: usize, millis: u64) -> Self {
        Self {
            messages,
            every: Duration::from_millis(millis),
        }
    }

    fn ticks(self) -> Interval {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }
}

/// Traces are most of what a gateway carries.
fn is_segments(path: &str) -> bool {
    path.ends_with("TraceSegmentReportService/collect")
}

impl Fleet {
    /// Connects and starts an agent or two for each row.
    pub(super) async fn start(gateway: SocketAddr) -> Result<Self, tonic::transport::Error> {
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(Client::connect(gateway).await?);
        }
        let mut fleet = Self {
            counts: Counts::default(),
            clients,
            stop: watch::Sender::new(false),
            agents: JoinSet::new(),
        };
        for (number, row) in perigee_protocols::rows().enumerate() {
            fleet.add_row(number, &row);
        }
        fleet.add_probes();
        Ok(fleet)
    }

    /// Tells the agents to finish their calls and waits for them; those that do not are cut.
    pub(super) async fn stop(mut self, within: Duration) -> Counts {
        self.stop.send_replace(true);
        let all = async { while self.agents.join_next().await.is_some() {} };
        if tokio::time::timeout(within, all).await.is_err() {
            self.agents.shutdown().await;
        }
        self.counts
    }

    fn add_row(&mut self, number: usize, row: &Found) {
        let method = row.method;
        let counts = Arc::new(RowCounts::default());
        self.counts.rows.push((method.path, Arc::clone(&counts)));
        let messages = match payload::of(row) {
            None => return,
            Some(Payload::Upload(upload)) => {
                return self.add_upload(number, method.path, upload, counts);
            }
            Some(Payload::Messages(messages)) => messages,
        };
        let agent = |place: usize, pace| Agent {
            client: self.clients[(number + place) % CONNECTIONS].clone(),
            path: method.path,
            messages: messages.clone(),
            next: place,
            pace,
            counts: Arc::clone(&counts),
            stop: self.stop.subscribe(),
        };
        let (short, endless) = match (method.mode, method.shape) {
            (Mode::Passthrough, _) => {
                let poll = agent(0, Pace::new(1, 100));
                self.agents.spawn(poll.open_short_streams());
                return;
            }
            (Mode::Queued(_), Shape::Unary) => {
                let calls = agent(0, Pace::new(1, 20));
                self.agents.spawn(calls.open_short_streams());
                return;
            }
            _ if is_segments(method.path) => (Pace::new(20, 50), Pace::new(4, 10)),
            _ => (Pace::new(4, 100), Pace::new(1, 25)),
        };
        let (java, go) = (agent(0, short), agent(1, endless));
        self.agents.spawn(java.open_short_streams());
        self.agents.spawn(go.keep_a_stream_open());
    }

    fn add_upload(
        &mut self,
        number: usize,
        path: &'static str,
        upload: Upload,
        counts: Arc<RowCounts>,
    ) {
        let mut client = self.clients[number % CONNECTIONS].clone();
        self.counts.uploads.push(Sent {
            path,
            content: upload.content.clone(),
        });
        self.agents.spawn(async move {
            counts.calls.add(1);
            let result = client.upload(path, upload).await;
            let sent = *result.as_ref().unwrap_or(&0);
            counts.sent.add(sent);
            counts.ended(sent, result.map(drop));
        });
    }

    /// Calls that are no part of any row.
    fn add_probes(&mut self) {
        let probe = |path, counts: &Arc<RowCounts>| Agent {
            client: self.clients[0].clone(),
            path,
            messages: vec![Bytes::new()],
            next: 0,
            pace: Pace::new(1, 200),
            counts: Arc::clone(counts),
            stop: self.stop.subscribe(),
        };
        let unknown = probe(UNKNOWN, &self.counts.unknown);
        let health = probe(HEALTH, &self.counts.health);
        self.agents.spawn(unknown.probe(|result| match result {
            Err(status) if status.code() == Code::Unimplemented => Ok(()),
            Err(status) => Err(status),
            Ok(_) => Err(Status::internal("an unknown method was served")),
        }));
        self.agents.spawn(health.probe(|result| match result? {
            answer if answer == SERVING => Ok(()),
            _ => Err(Status::internal("the gateway is not serving")),
        }));
    }
}

impl Agent {
    /// A call with a few messages, over and over. With one message this is a unary call.
    async fn open_short_streams(mut self) {
        let mut ticks = self.pace.ticks();
        while self.is_due(&mut ticks).await {
            let messages: Vec<Bytes> = (0..self.pace.messages).map(|_| self.message()).collect();
            let count = messages.len() as u64;
            self.counts.calls.add(1);
            self.counts.sent.add(count);
            let result = self.client.report(self.path, stream::iter(messages)).await;
            self.counts.ended(count, result.map(drop));
        }
    }

    /// One call for as long as the agent lives; a broken one is replaced.
    async fn keep_a_stream_open(mut self) {
        let mut ticks = self.pace.ticks();
        let mut alive = true;
        while alive {
            let (messages, outgoing) = mpsc::channel(STREAM_BUFFER);
            let mut client = self.client.clone();
            let path = self.path;
            self.counts.calls.add(1);
            let call =
                tokio::spawn(
                    async move { client.report(path, ReceiverStream::new(outgoing)).await },
                );
            let mut count = 0;
            'stream: loop {
                alive = self.is_due(&mut ticks).await;
                if !alive {
                    break;
                }
                for _ in 0..self.pace.messages {
                    if messages.send(self.message()).await.is_err() {
                        break 'stream;
                    }
                    self.counts.sent.add(1);
                    count += 1;
                }
            }
            drop(messages);
            let result = call.await;
            let result = result.unwrap_or_else(|error| Err(Status::unknown(error.to_string())));
            self.counts.ended(count, result.map(drop));
        }
    }

    async fn probe(mut self, judge: impl Fn(Result<Bytes, Status>) -> Result<(), Status>) {
        let mut ticks = self.pace.ticks();
        while self.is_due(&mut ticks).await {
            let messages = stream::iter([self.message()]);
            self.counts.calls.add(1);
            self.counts.sent.add(1);
            let result = self.client.report(self.path, messages).await;
            self.counts.ended(1, judge(result));
        }
    }

    fn message(&mut self) -> Bytes {
        self.next += 1;
        self.messages[self.next % self.messages.len()].clone()
    }

    /// Waits for the next tick; `false` when the agent is to stop.
    async fn is_due(&mut self, ticks: &mut Interval) -> bool {
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stop| *stop) => false,
            _ = ticks.tick() => true,
        }
    }
}
