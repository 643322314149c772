//! What a worker says to each call: the engine's [`Service`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use perigee_plugin_api::protocol::{Mode, Shape};

use crate::admin::Readiness;
use crate::engine::{Call, Code, Disposition, Ingest, Live, Refusal, Service, Status, metadata};
use crate::pipe::ingest::{Origin, QueuedCall};
use crate::pipe::passthrough::{Ended, Passthrough, Patience};
use crate::pipe::{Pipes, Served};
use crate::telemetry::books::{self, Books};
use crate::upstream::{Slots, Upstream};

mod access;
mod health;

pub use access::Access;

/// OAP nodes talk to each other on this service; an agent has no business there.
const REMOTE_SERVICE: &str = "/RemoteService/";

/// Reflection describes services of the gateway itself, which has none of its own.
const REFLECTION: &str = "/grpc.reflection.";

/// Longest path of an unknown method that is forwarded: with the metadata it stays below what an
/// OAP accepts, which ends the whole connection for 16 KiB.
const LONGEST_PATH: usize = 1024;

/// Live calls of one worker at one node: each may hold a stream's window of unread bytes.
const LIVE_CALLS: usize = 512;

/// Decides about the calls of one worker.
pub struct Gateway {
    pipes: Arc<Pipes>,
    books: Arc<Books>,
    readiness: Arc<Readiness>,
    upstream: Rc<Upstream>,
    live_slots: Rc<Slots>,
    access: Option<Arc<Access>>,
    /// Our own token, which replaces the callers'.
    authentication: Option<http::HeaderValue>,
    forward_unknown: bool,
    unary_timeout: Duration,
    stream_timeout: Duration,
}

/// What a gateway is made of, besides the worker's nodes.
#[derive(Clone)]
pub struct GatewayOptions {
    /// What is served.
    pub pipes: Arc<Pipes>,
    /// Counters.
    pub books: Arc<Books>,
    /// What `grpc.health.v1` answers.
    pub readiness: Arc<Readiness>,
    /// Who may call; `None`: anybody.
    pub access: Option<Arc<Access>>,
    /// Our own token.
    pub authentication: Option<http::HeaderValue>,
    /// Copy methods that the table does not know.
    pub forward_unknown: bool,
    /// Longest time that a node may owe the answer to a unary call.
    pub unary_timeout: Duration,
    /// Longest time that a node may owe something on any other call and be silent.
    pub stream_timeout: Duration,
}

impl Gateway {
    /// The gateway of one worker.
    pub fn new(options: GatewayOptions, upstream: Rc<Upstream>) -> Self {
        let GatewayOptions {
            pipes,
            books,
            readiness,
            access,
            authentication,
            forward_unknown,
            unary_timeout,
            stream_timeout,
        } = options;
        let live_slots = Rc::new(Slots::new(LIVE_CALLS));
        Self {
            pipes,
            books,
            readiness,
            upstream,
            live_slots,
            access,
            authentication,
            forward_unknown,
            unary_timeout,
            stream_timeout,
        }
    }

    fn serve(&self, served: &Served, call: &Call<'_>) -> Disposition {
        let Mode::Queued(queued) = served.method.mode else {
            return self.pass_through(call, Some(served));
        };
        let origin = Origin {
            source: call.peer.ip(),
            connection: call.connection,
            token: self.callers_token(call),
        };
        match QueuedCall::new(served, queued.adapter, origin) {
            Some(ingest) => Disposition::Queue {
                unary: served.method.shape == Shape::Unary,
                ingest: Box::new(Counted {
                    ingest,
                    books: StreamCount::new(&self.books),
                }),
            },
            None => self.refuse(books::Refusal::Disabled, unimplemented(call.path)),
        }
    }

    /// The caller's token travels with its data only where we have none of our own.
    fn callers_token(&self, call: &Call<'_>) -> Option<Arc<str>> {
        match self.authentication {
            Some(_) => None,
            None => metadata::token(call.headers)?.to_str().ok().map(Arc::from),
        }
    }

    fn pass_through(&self, call: &Call<'_>, served: Option<&Served>) -> Disposition {
        let passthrough = Passthrough {
            path: call.path.to_owned(),
            headers: metadata::forwardable(call.headers, self.authentication.as_ref()),
            known: served.is_some(),
            pipe: self.balancer_number(served),
            upstream: Rc::clone(&self.upstream),
            slots: Rc::clone(&self.live_slots),
            patience: self.patience(served),
        };
        let pipe = served.map(|served| Arc::clone(&served.pipe.books));
        let count = StreamCount::new(&self.books);
        if let Some(pipe) = &pipe {
            pipe.passthrough_call();
        }
        Disposition::Live(Box::new(move |live: Live| {
            Box::pin(async move {
                let ended = passthrough.run(live).await;
                count.ended(ended);
                if let Some(pipe) = pipe.filter(|_| ended.is_failure()) {
                    pipe.passthrough_failed();
                }
            })
        }))
    }

    fn patience(&self, served: Option<&Served>) -> Patience {
        Patience {
            answer: served.map(|served| match served.method.shape {
                Shape::Unary => self.unary_timeout,
                Shape::ClientStream | Shape::Bidi => self.stream_timeout,
            }),
            credit: self.stream_timeout,
        }
    }

    /// Live calls are spread for each pipe apart, and are no part of the shares of its batches.
    fn balancer_number(&self, served: Option<&Served>) -> usize {
        let pipes = self.pipes.all.len();
        served.map_or(2 * pipes, |served| pipes + served.pipe.index)
    }

    fn admits(&self, call: &Call<'_>) -> bool {
        let Some(access) = &self.access else {
            return true;
        };
        if call.path.starts_with(health::SERVICE) {
            return true;
        }
        let checked = access.check(call.path, call.headers);
        if let Err(fault) = checked {
            access.log_refused(fault, call.path, call.peer);
        }
        checked.is_ok()
    }

    fn refuse(&self, why: books::Refusal, status: Status) -> Disposition {
        self.books.front.refused(why);
        Disposition::Refuse(status)
    }
}

fn unimplemented(path: &str) -> Status {
    let mut shown = path.chars().take(LONGEST_PATH).collect::<String>();
    if shown.len() < path.len() {
        shown.push_str("...");
    }
    Status::new(Code::Unimplemented, format!("{shown} is not served here"))
}

impl Service for Gateway {
    fn open(&self, call: &Call<'_>) -> Disposition {
        if !self.admits(call) {
            let status = Status::new(Code::PermissionDenied, "no valid authentication");
            return self.refuse(books::Refusal::Authentication, status);
        }
        if let Some(served) = self.pipes.find(call.path) {
            return self.serve(served, call);
        }
        if call.path == health::CHECK {
            let ingest = Box::new(health::Check::new(Arc::clone(&self.readiness)));
            return Disposition::Queue {
                unary: true,
                ingest,
            };
        }
        if call.path.starts_with(REMOTE_SERVICE) {
            let text = "RemoteService is for OAP nodes only";
            return self.refuse(
                books::Refusal::Disabled,
                Status::new(Code::PermissionDenied, text),
            );
        }
        let local = call.path.starts_with(REFLECTION) || call.path.starts_with(health::SERVICE);
        let disabled = perigee_protocols::find(call.path).is_some();
        let forwardable = self.forward_unknown && call.path.len() <= LONGEST_PATH;
        if local || disabled || !forwardable {
            let why = if disabled {
                books::Refusal::Disabled
            } else {
                books::Refusal::UnknownMethod
            };
            return self.refuse(why, unimplemented(call.path));
        }
        self.pass_through(call, None)
    }

    fn refused(&self, why: Refusal) {
        self.books.front.refused(match why {
            Refusal::Oversized => books::Refusal::Oversized,
            Refusal::Truncated => books::Refusal::Truncated,
            Refusal::BadFrame => books::Refusal::BadFrame,
            Refusal::WrongShape => books::Refusal::WrongShape,
            Refusal::Metadata => books::Refusal::Metadata,
            Refusal::NotGrpc => books::Refusal::ContentType,
            Refusal::Deadline => books::Refusal::Deadline,
        });
    }

    fn paused(&self, paused: bool) {
        let gauge = &self.books.front.paused_streams;
        if paused { gauge.inc() } else { gauge.dec() }
    }
}

/// Counts a stream as open until dropped.
struct StreamCount(Arc<Books>);

impl StreamCount {
    fn new(books: &Arc<Books>) -> Self {
        books.front.stream_opened();
        Self(Arc::clone(books))
    }

    fn ended(&self, ended: Ended) {
        match ended {
            Ended::NoNode => self.0.front.refused(books::Refusal::NoNode),
            Ended::Deadline => self.0.front.refused(books::Refusal::Deadline),
            Ended::Answered | Ended::Gone | Ended::Stalled | Ended::Failed => {}
        }
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.front.stream_closed();
    }
}

/// A queued call that counts as an open stream.
struct Counted {
    ingest: QueuedCall,
    books: StreamCount,
}

impl Ingest for Counted {
    fn poll_messages(
        &mut self,
        framed: &[u8],
        count: u32,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<()> {
        let polled = self.ingest.poll_messages(framed, count, cx);
        if polled.is_ready() {
            self.books.0.front.received_bytes.add(framed.len() as u64);
        }
        polled
    }

    fn poll_idle(&mut self, cx: &mut std::task::Context<'_>) {
        self.ingest.poll_idle(cx);
    }

    fn half_closed(&mut self) -> Result<Bytes, Status> {
        self.ingest.half_closed()
    }

    fn reset(&mut self) {
        self.ingest.reset();
    }
}
