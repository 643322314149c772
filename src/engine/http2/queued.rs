//! Reads one queued call: messages to its [`Ingest`], credit back to its client.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::RecvStream;
use http::HeaderMap;
use perigee_plugin_api::budget::{Crowded, PartCharge};
use perigee_plugin_api::gate::WaiterId;

use super::bond::Bond;
use super::front::{Answer, Front};
use super::gather::{Gathered, poll_gather};
use crate::engine::framing::{FrameError, Run, Splitter};
use crate::engine::gzip::{InflateError, Inflating};
use crate::engine::{Code, Ingest, Refusal, Status};

/// A part of a message up to this size is not charged to the budget: the stream's window already
/// bounds it, and nearly every message that spans two frames stays below.
const UNCHARGED_PART: usize = 16 * 1024;

/// How long a message that is finished above the limit, and in the way of others, may take for the
/// next [`PACE`] bytes.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client that sends fewer within [`PATIENCE`] does not go on.
const PACE: u64 = 64 * 1024;

/// What the method and the request's headers promise.
pub(super) struct Expected {
    pub(super) unary: bool,
    pub(super) compressed: bool,
    pub(super) deadline: Option<Instant>,
    /// Whose turn it is when there is no room for half a message.
    pub(super) waiter: WaiterId,
}

/// Whether messages may be compressed.
pub(super) fn is_compressed(headers: &HeaderMap) -> Result<bool, Status> {
    match headers
        .get("grpc-encoding")
        .map(http::HeaderValue::as_bytes)
    {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(other) => {
            let text = String::from_utf8_lossy(other);
            let text = format!("grpc-encoding {text:?} is not supported, use gzip or identity");
            Err(Status::new(Code::Unimplemented, text))
        }
    }
}

/// One call being read.
pub(super) struct Queued {
    bond: Rc<Bond>,
    expected: Expected,
    splitter: Splitter,
    taker: Taker,
    /// While this is the finisher: when it has to have been charged so much.
    pace: Option<(Instant, u64)>,
    /// The only message of a unary call, kept until the half-close.
    held: Option<Vec<u8>>,
}

/// How the reading ended.
enum End {
    HalfClosed,
    Refused(Refusal, Status),
    /// The gateway stops.
    Cut,
    Gone,
}

impl Queued {
    pub(super) fn new(
        front: Rc<Front>,
        bond: Rc<Bond>,
        ingest: Box<dyn Ingest>,
        expected: Expected,
    ) -> Self {
        let splitter = Splitter::new(front.options.max_message_bytes);
        let charge = PartCharge::new(Arc::clone(&front.options.budget), expected.waiter);
        let taker = Taker {
            front,
            ingest,
            charge,
            deadline: expected.deadline,
        };
        Self {
            bond,
            expected,
            splitter,
            taker,
            pace: None,
            held: None,
        }
    }

    /// Reads to the end and answers.
    pub(super) async fn run(mut self, mut body: RecvStream, mut answer: Answer) {
        let bond = Rc::clone(&self.bond);
        let end = tokio::select! {
            end = self.read(&mut body, &mut answer) => end,
            () = bond.until_cut() => End::Cut,
        };
        match end {
            End::HalfClosed => match self.taker.ingest.half_closed() {
                Ok(message) => answer.message(message),
                Err(status) => answer.status(&status),
            },
            End::Refused(why, status) => {
                self.taker.ingest.reset();
                self.taker.front.service.refused(why);
                answer.status(&status);
            }
            End::Cut => {
                self.taker.ingest.reset();
                answer.status(&Status::new(Code::Internal, "gateway is shutting down"));
            }
            End::Gone => self.taker.ingest.reset(),
        }
    }

    async fn read(&mut self, body: &mut RecvStream, answer: &mut Answer) -> End {
        loop {
            let gathered = match self.gather(body).await {
                Ok(Some(Ok(gathered))) => gathered,
                Ok(Some(Err(_))) => return End::Gone,
                Ok(None) => return self.finish(answer).await,
                Err(end) => return end,
            };
            let taken = self.take(gathered.bytes(), answer).await;
            // Fails only for a stream that is gone, whose credit the crate has given back.
            let _gone = body.flow_control().release_capacity(gathered.bytes().len());
            gathered.recycle();
            if let Err(end) = taken {
                return end;
            }
        }
    }

    /// What arrives next. Whoever holds the finisher's seat has to go on while others wait for it.
    async fn gather(
        &mut self,
        body: &mut RecvStream,
    ) -> Result<Option<Result<Gathered, h2::Error>>, End> {
        if !self.taker.charge.is_finisher() {
            self.pace = None;
            return Ok(poll_fn(|cx| self.taker.poll_gather(body, cx)).await);
        }
        loop {
            let charged = self.taker.charge.bytes();
            let (until, wanted) = *self
                .pace
                .get_or_insert_with(|| (Instant::now() + PATIENCE, charged + PACE));
            let next = poll_fn(|cx| self.taker.poll_gather(body, cx));
            if let Ok(gathered) = tokio::time::timeout_at(until.into(), next).await {
                return Ok(gathered);
            }
            if charged < wanted && self.taker.charge.is_in_the_way() {
                let text = format!(
                    "message did not go on for {PATIENCE:?}, after {charged} bytes of it, \
                     while others waited for room"
                );
                return Err(refuse(Refusal::Deadline, text));
            }
            self.pace = None;
        }
    }

    async fn take(&mut self, chunk: &[u8], answer: &mut Answer) -> Result<(), End> {
        let mut rest = chunk;
        loop {
            let run = match self.splitter.next(&mut rest) {
                Ok(Some(run)) => run,
                Ok(None) => break,
                Err(error) => return Err(refuse_frame(&error)),
            };
            let inflated;
            let (framed, count) = match run {
                Run::Plain { framed, count } => (framed, count),
                Run::Compressed(body) if self.expected.compressed => {
                    let max = self.taker.front.options.max_message_bytes;
                    let inflating = Inflating::new(body, max);
                    inflated = self.taker.inflate(inflating, &self.bond, answer).await?;
                    (inflated.as_slice(), 1)
                }
                Run::Compressed(_) => {
                    let text = "compressed message without grpc-encoding";
                    return Err(refuse(Refusal::BadFrame, text.to_owned()));
                }
            };
            if self.expected.unary {
                if self.held.is_some() || count > 1 {
                    let text = "unary method got more than one message";
                    return Err(refuse(Refusal::WrongShape, text.to_owned()));
                }
                self.held = Some(framed.to_vec());
            } else {
                self.taker.take(framed, count, answer).await?;
            }
        }
        self.charge_part(answer).await
    }

    /// Charges what has arrived of an unfinished message.
    async fn charge_part(&mut self, answer: &mut Answer) -> Result<(), End> {
        let part = self.splitter.part_len();
        if part <= UNCHARGED_PART {
            return Ok(());
        }
        let bond = &self.bond;
        self.taker.charge_up_to(part as u64, bond, answer).await
    }

    async fn finish(&mut self, answer: &mut Answer) -> End {
        let part = self.splitter.part_len();
        if part > 0 {
            let text = format!("stream ended inside a message, after {part} bytes of it");
            return refuse(Refusal::Truncated, text);
        }
        if self.expected.unary {
            let Some(message) = self.held.take() else {
                let text = "unary method got no message";
                return refuse(Refusal::WrongShape, text.to_owned());
            };
            if let Err(end) = self.taker.take(&message, 1, answer).await {
                return end;
            }
        }
        End::HalfClosed
    }
}

/// Hands over runs of messages, waiting for room while the call is open.
struct Taker {
    front: Rc<Front>,
    ingest: Box<dyn Ingest>,
    charge: PartCharge,
    deadline: Option<Instant>,
}

impl Taker {
    /// What arrives next; what was taken before may have to go on meanwhile.
    fn poll_gather(
        &mut self,
        body: &mut RecvStream,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Gathered, h2::Error>>> {
        self.ingest.poll_idle(cx);
        poll_gather(body, cx)
    }

    async fn take(&mut self, framed: &[u8], count: u32, answer: &mut Answer) -> Result<(), End> {
        let (ingest, charge) = (&mut *self.ingest, &mut self.charge);
        let mut poll = |cx: &mut Context<'_>| {
            charge.poll_hand_over(|| ingest.poll_messages(framed, count, cx))
        };
        if poll_fn(|cx| Poll::Ready(poll(cx).is_ready())).await {
            return Ok(());
        }
        let _paused = Paused::new(&self.front);
        let room = while_open(answer, poll);
        match self.deadline {
            None => room.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), room)
                .await
                .unwrap_or_else(|_| {
                    let text = "no room before the call's deadline";
                    let status = Status::new(Code::DeadlineExceeded, text);
                    Err(End::Refused(Refusal::Deadline, status))
                }),
        }
    }

    /// Charges a message so much in all. A call that waits for room keeps its client's credit, of
    /// the connection too, which is why the connection's window is wider by a stream's meanwhile.
    async fn charge_up_to(
        &mut self,
        bytes: u64,
        bond: &Rc<Bond>,
        answer: &mut Answer,
    ) -> Result<(), End> {
        let (ingest, charge) = (&mut *self.ingest, &mut self.charge);
        let more = bytes.saturating_sub(charge.bytes());
        let charged = match poll_fn(|cx| Poll::Ready(charge.poll_grow(more, cx))).await {
            Poll::Ready(charged) => charged,
            Poll::Pending => {
                let _waiting = bond.wait();
                let grown = |cx: &mut Context<'_>| {
                    // Others may wait for what was taken before.
                    ingest.poll_idle(cx);
                    charge.poll_grow(more, cx)
                };
                while_open(answer, grown).await?
            }
        };
        charged.map_err(|Crowded| {
            let text = "too many large messages at once";
            refuse(Refusal::Deadline, text.to_owned())
        })
    }

    /// Inflates a message, which is charged as it grows: nobody knows how long it becomes, and it
    /// may have to wait for room in the queue. Other calls have their turns meanwhile.
    async fn inflate(
        &mut self,
        mut message: Inflating<'_>,
        bond: &Rc<Bond>,
        answer: &mut Answer,
    ) -> Result<Vec<u8>, End> {
        let compressed = self.charge.bytes();
        while message.advance().map_err(|error| refuse_inflate(&error))? {
            if message.bytes() > UNCHARGED_PART {
                let all = compressed + message.bytes() as u64;
                self.charge_up_to(all, bond, answer).await?;
                tokio::task::yield_now().await;
            }
        }
        message.framed().map_err(|error| refuse_inflate(&error))
    }
}

/// Counts a call as paused until dropped.
struct Paused<'a>(&'a Front);

impl<'a> Paused<'a> {
    fn new(front: &'a Front) -> Self {
        front.service.paused(true);
        Self(front)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.service.paused(false);
    }
}

/// Waits, but not for a call that has gone away: its messages must not be taken after that.
async fn while_open<T>(
    answer: &mut Answer,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, End> {
    poll_fn(|cx| match answer.respond.poll_reset(cx) {
        Poll::Ready(_) => Poll::Ready(Err(End::Gone)),
        Poll::Pending => poll(cx).map(Ok),
    })
    .await
}

fn refuse(why: Refusal, text: String) -> End {
    End::Refused(why, Status::new(Code::Internal, text))
}

/// INTERNAL, not RESOURCE_EXHAUSTED as OAP: the latter stops a Java agent for half a minute.
fn refuse_frame(error: &FrameError) -> End {
    let why = match error {
        FrameError::Oversized { .. } => Refusal::Oversized,
        FrameError::Flag(_) => Refusal::BadFrame,
    };
    refuse(why, error.to_string())
}

fn refuse_inflate(error: &InflateError) -> End {
    let why = match error {
        InflateError::TooLong { .. } => Refusal::Oversized,
        InflateError::Corrupt(_) => Refusal::BadFrame,
    };
    refuse(why, error.to_string())
}
