//! Calls that an OAP answers itself: both directions are copied live, nothing is repeated.
//!
//! The two directions are independent: an OAP may answer before, between and after the client's
//! messages, or not at all until the half-close (T6). Half-close, reset and deadline travel on.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use self::owed::Owed;
pub use self::owed::Patience;
use crate::balance::{NodeId, Request, Route};
use crate::engine::{
    Awaited, Broken, Code, Live, OpenError, Opened, Place, RecvBody, Responder, SendBody, Status,
    Unsent, metadata,
};
use crate::upstream::{Picked, Slot, Slots, Upstream};

mod owed;

/// Longest wait for a ready node, if the caller would wait longer.
const NO_NODE: Duration = Duration::from_secs(5);

/// How often a node is looked for while those that are found are going away.
const ATTEMPTS: u32 = 5;

/// Pause before a node is tried again whose connection is going away.
const PAUSE: Duration = Duration::from_millis(100);

/// How a call ended, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The OAP's answer reached the client, whatever it says.
    Answered,
    /// The client went away.
    Gone,
    /// No node was ready in time.
    NoNode,
    /// The caller's deadline passed.
    Deadline,
    /// The node owed something and said nothing.
    Stalled,
    /// The node or its connection failed.
    Failed,
}

impl Ended {
    /// Whether the client went without the OAP's answer through no doing of its own.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Answered | Self::Gone => false,
            Self::NoNode | Self::Deadline | Self::Stalled | Self::Failed => true,
        }
    }
}

/// A live call to be copied.
pub struct Passthrough {
    /// Path on the OAP.
    pub path: String,
    /// Metadata that is forwarded.
    pub headers: HeaderMap,
    /// The method is one of the table: statuses that would stop an agent are not relayed.
    pub known: bool,
    /// The balancer's number of the pipe.
    pub pipe: usize,
    /// The worker's nodes.
    pub upstream: Rc<Upstream>,
    /// How many live calls a node gets.
    pub slots: Rc<Slots>,
    /// How long a node may owe something.
    pub patience: Patience,
}

impl Passthrough {
    /// Runs the call to its end.
    pub async fn run(self, mut live: Live) -> Ended {
        let deadline = live.deadline;
        let ended = match deadline {
            None => self.copy(&mut live).await,
            Some(deadline) => {
                match tokio::time::timeout_at(deadline.into(), self.copy(&mut live)).await {
                    Ok(ended) => ended,
                    Err(_) => {
                        let text = "deadline passed before an OAP answered";
                        live.respond
                            .status(&Status::new(Code::DeadlineExceeded, text));
                        return Ended::Deadline;
                    }
                }
            }
        };
        if ended == Ended::NoNode {
            let text = "no OAP node is ready";
            live.respond
                .status(&Status::new(Code::DeadlineExceeded, text));
        }
        ended
    }

    async fn copy(&self, live: &mut Live) -> Ended {
        let Live {
            body,
            respond,
            deadline,
        } = live;
        let reached = tokio::select! {
            reached = tokio::time::timeout(NO_NODE, self.reach(*deadline)) => reached,
            () = respond.gone() => return Ended::Gone,
        };
        match reached {
            Ok(Ok(reached)) => {
                // No message of a batch: a call that stays open for hours must not make its node
                // lag.
                let _calling = reached.at.picked.node.sending(0);
                let owed = Owed::new(self.patience);
                copy_both(reached.opened, body, respond, (self.known, &owed)).await
            }
            Ok(Err(error)) => fail(respond, &error.to_string()),
            Err(_) => Ended::NoNode,
        }
    }

    /// Opens the call at a node. Of a call that could not be opened nothing has been sent, so
    /// another node may take it.
    async fn reach(&self, deadline: Option<Instant>) -> Result<Reached, OpenError> {
        let mut avoid = None;
        let mut attempt = 1;
        loop {
            let at = self.find(avoid).await;
            let error = match self.open(&at.picked, deadline).await {
                Ok(opened) => return Ok(Reached { at, opened }),
                Err(error) => error,
            };
            if attempt == ATTEMPTS {
                return Err(error);
            }
            attempt += 1;
            if avoid.replace(at.picked.id) == Some(at.picked.id) {
                let mut changes = self.upstream.subscribe();
                drop(at);
                let _looked_again = tokio::time::timeout(PAUSE, changes.changed()).await;
            }
        }
    }

    /// A node with room for a live call; waits at the first if there is none.
    async fn find(&self, avoid: Option<NodeId>) -> At {
        let mut request = Request {
            pipe: self.pipe,
            route: Route::Any,
            count: 1,
            avoid,
        };
        let (picked, slot) = self.upstream.pick_when_ready(&request, &self.slots).await;
        if let Some(place) = picked.channel.place() {
            return At::new(picked, slot, place);
        }
        request.avoid = Some(picked.id);
        if let Some((other, slot)) = self.upstream.pick(&request, &self.slots)
            && let Some(place) = other.channel.place()
        {
            return At::new(other, slot, place);
        }
        let place = picked.channel.place_when_free().await;
        At::new(picked, slot, place)
    }

    async fn open(&self, picked: &Picked, deadline: Option<Instant>) -> Result<Opened, OpenError> {
        let mut headers = self.headers.clone();
        if let Some(deadline) = deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            headers.insert("grpc-timeout", metadata::timeout_value(left));
        }
        picked.channel.open(&self.path, headers).await
    }
}

/// Where a call is, for as long as it is there.
struct At {
    picked: Picked,
    _slot: Slot,
    _place: Place,
}

impl At {
    fn new(picked: Picked, slot: Slot, place: Place) -> Self {
        Self {
            picked,
            _slot: slot,
            _place: place,
        }
    }
}

struct Reached {
    at: At,
    opened: Opened,
}

async fn copy_both(
    opened: Opened,
    body: &mut RecvBody,
    respond: &mut Responder,
    (known, owed): (bool, &Owed),
) -> Ended {
    let Opened {
        body: upload,
        answer,
    } = opened;
    let mut up = std::pin::pin!(copy_up(body, upload, owed));
    let mut down = std::pin::pin!(copy_down(answer, respond, (known, owed)));
    let mut uploading = true;
    // Returning drops both directions, which resets whatever has not ended by itself.
    loop {
        tokio::select! {
            ended = &mut down => return ended,
            sent = &mut up, if uploading => match sent {
                // A node that stops reading says why on the way down.
                Upload::Over => uploading = false,
                Upload::ClientGone => return Ended::Gone,
            },
        }
    }
}

enum Upload {
    Over,
    ClientGone,
}

async fn copy_up(body: &mut RecvBody, mut upload: SendBody, owed: &Owed) -> Upload {
    loop {
        match body.chunk().await {
            Ok(Some(chunk)) => {
                let bytes = chunk.len();
                let sent = upload.send_within(chunk, owed.patience().credit, || owed.is_excused());
                match sent.await {
                    Ok(()) => body.release(bytes),
                    Err(Unsent::Broken) => {
                        owed.everything_sent();
                        return Upload::Over;
                    }
                    Err(Unsent::NoCredit) => {
                        owed.stuck();
                        // Dropping the way up would reset the call without a word to the client.
                        std::future::pending::<()>().await;
                    }
                }
            }
            Ok(None) => {
                upload.finish();
                owed.everything_sent();
                return Upload::Over;
            }
            Err(_) => return Upload::ClientGone,
        }
    }
}

async fn copy_down(
    answer: Awaited,
    respond: &mut Responder,
    (known, owed): (bool, &Owed),
) -> Ended {
    let response = tokio::select! {
        response = answer.response() => response,
        () = respond.gone() => return Ended::Gone,
        () = owed.overdue() => {
            respond.status(&stalled());
            return Ended::Stalled;
        }
    };
    let (head, mut body) = match response {
        Ok(response) => response.into_parts(),
        Err(broken) => return fail(respond, &broken.to_string()),
    };
    if let Some(status) = Status::from_headers(&head.headers) {
        respond.end(&relayed(status, known), head.headers);
        return Ended::Answered;
    }
    if head.status != http::StatusCode::OK {
        return fail(
            respond,
            &format!("the OAP answered HTTP status {}", head.status),
        );
    }
    let Ok(mut download) = respond.start(head.headers) else {
        return Ended::Gone;
    };
    let (status, ended) = match copy_messages(&mut body, &mut download, owed).await {
        Ok(trailers) => return end(download, trailers, known),
        Err(Side::Client) => return Ended::Gone,
        Err(Side::Node(broken)) => (Status::from(broken), Ended::Failed),
        Err(Side::Stalled) => (stalled(), Ended::Stalled),
    };
    let mut trailers = HeaderMap::new();
    status.write_to(&mut trailers);
    download.finish_with(trailers);
    ended
}

/// A client's library makes UNKNOWN of an end without a status, which stops a Java agent.
fn end(mut download: SendBody, mut trailers: HeaderMap, known: bool) -> Ended {
    let status = Status::from_headers(&trailers);
    let ended = match status {
        None if known => Ended::Failed,
        _ => Ended::Answered,
    };
    let missing = || Status::new(Code::Internal, "the OAP ended the call without a status");
    if let Some(status) = status.or_else(|| known.then(missing)) {
        relayed(status, known).write_to(&mut trailers);
    }
    download.finish_with(trailers);
    ended
}

fn stalled() -> Status {
    Status::new(Code::DeadlineExceeded, "the OAP made no progress in time")
}

enum Side {
    Client,
    Node(Broken),
    Stalled,
}

async fn copy_messages(
    body: &mut RecvBody,
    download: &mut SendBody,
    owed: &Owed,
) -> Result<HeaderMap, Side> {
    loop {
        let chunk = tokio::select! {
            chunk = body.chunk() => chunk.map_err(Side::Node)?,
            () = download.gone() => return Err(Side::Client),
            () = owed.overdue() => return Err(Side::Stalled),
        };
        let Some(chunk) = chunk else { break };
        let bytes = chunk.len();
        let _waiting = owed.client_is_slow();
        download
            .send(chunk, false)
            .await
            .map_err(|_| Side::Client)?;
        body.release(bytes);
    }
    let trailers = tokio::select! {
        trailers = body.trailers() => trailers.map_err(Side::Node)?,
        () = download.gone() => return Err(Side::Client),
        () = owed.overdue() => return Err(Side::Stalled),
    };
    Ok(trailers.unwrap_or_default())
}

fn fail(respond: &mut Responder, why: &str) -> Ended {
    respond.status(&Status::new(
        Code::Internal,
        format!("call to the OAP failed: {why}"),
    ));
    Ended::Failed
}

/// What the client is told. On methods of the table, three codes would make a Java agent drop all
/// telemetry for half a minute (`protocols.md`, "the real Java and Go agents"); they are said as
/// INTERNAL, with the OAP's own code in the text.
fn relayed(status: Status, known: bool) -> Status {
    let stops_agents = matches!(
        status.code,
        Code::Unavailable | Code::ResourceExhausted | Code::Unknown
    );
    if known && stops_agents {
        return Status::new(Code::Internal, format!("the OAP answered {status}"));
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_that_stops_a_java_agent_is_relayed_on_a_known_method() {
        for code in [Code::Unavailable, Code::ResourceExhausted, Code::Unknown] {
            let status = relayed(Status::new(code, "why"), true);
            assert_eq!(status.code, Code::Internal);
            assert!(status.message.contains(code.name()) && status.message.contains("why"));
            assert_eq!(relayed(Status::new(code, "why"), false).code, code);
        }
        let denied = Status::new(Code::PermissionDenied, "no");
        assert_eq!(relayed(denied.clone(), true), denied);
    }
}
