//! Calls that an OAP answers itself: both directions are copied live, nothing is repeated.
//!
//! The two directions are independent: an OAP may answer before, between and after the client's
//! messages, or not at all until the half-close (T6). Half-close, reset and deadline travel on.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use crate::balance::{Request, Route};
use crate::engine::{
    Awaited, Broken, Code, Live, OpenError, Opened, RecvBody, Responder, SendBody, Status, metadata,
};
use crate::upstream::{Picked, Slots, Upstream};

/// Longest wait for a ready node, if the caller would wait longer.
const NO_NODE: Duration = Duration::from_secs(5);

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
    /// The node or its connection failed.
    Failed,
}

impl Ended {
    /// Whether the client went without the OAP's answer through no doing of its own.
    pub fn is_failure(self) -> bool {
        match self {
            Self::Answered | Self::Gone => false,
            Self::NoNode | Self::Deadline | Self::Failed => true,
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
    /// Unbounded: a live call is not a batch.
    pub slots: Rc<Slots>,
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
        let request = Request {
            pipe: self.pipe,
            route: Route::Any,
            count: 1,
            avoid: None,
        };
        let (picked, _slot) = tokio::select! {
            picked = self.upstream.pick_when_ready(&request, &self.slots) => picked,
            () = live.respond.gone() => return Ended::Gone,
            () = tokio::time::sleep(NO_NODE) => return Ended::NoNode,
        };
        // No message of a batch: a call that stays open for hours must not make its node lag.
        let _calling = picked.node.sending(0);
        let Live {
            body,
            respond,
            deadline,
        } = live;
        match self.open(&picked, *deadline).await {
            Ok(opened) => copy_both(opened, body, respond, self.known).await,
            Err(_) => fail(respond, "the connection to the OAP is going away"),
        }
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

async fn copy_both(
    opened: Opened,
    body: &mut RecvBody,
    respond: &mut Responder,
    known: bool,
) -> Ended {
    let Opened {
        body: upload,
        answer,
    } = opened;
    let mut up = std::pin::pin!(copy_up(body, upload));
    let mut down = std::pin::pin!(copy_down(answer, respond, known));
    let mut uploading = true;
    // Returning drops both directions, which resets whatever has not ended by itself.
    loop {
        tokio::select! {
            ended = &mut down => return ended,
            sent = &mut up, if uploading => match sent {
                // A node that stops reading says why on the way down.
                Upload::HalfClosed | Upload::NodeStopped => uploading = false,
                Upload::ClientGone => return Ended::Gone,
            },
        }
    }
}

enum Upload {
    HalfClosed,
    NodeStopped,
    ClientGone,
}

async fn copy_up(body: &mut RecvBody, mut upload: SendBody) -> Upload {
    loop {
        match body.chunk().await {
            Ok(Some(chunk)) => {
                let bytes = chunk.len();
                if upload.send(chunk, false).await.is_err() {
                    return Upload::NodeStopped;
                }
                body.release(bytes);
            }
            Ok(None) => {
                upload.finish();
                return Upload::HalfClosed;
            }
            Err(_) => return Upload::ClientGone,
        }
    }
}

async fn copy_down(answer: Awaited, respond: &mut Responder, known: bool) -> Ended {
    let response = tokio::select! {
        response = answer.response() => response,
        () = respond.gone() => return Ended::Gone,
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
    match copy_messages(&mut body, &mut download).await {
        Ok(mut trailers) => {
            if let Some(status) = Status::from_headers(&trailers) {
                relayed(status, known).write_to(&mut trailers);
            }
            download.finish_with(trailers);
            Ended::Answered
        }
        Err(Side::Client) => Ended::Gone,
        Err(Side::Node(broken)) => {
            let mut trailers = HeaderMap::new();
            Status::from(broken).write_to(&mut trailers);
            download.finish_with(trailers);
            Ended::Failed
        }
    }
}

enum Side {
    Client,
    Node(Broken),
}

async fn copy_messages(body: &mut RecvBody, download: &mut SendBody) -> Result<HeaderMap, Side> {
    loop {
        let chunk = tokio::select! {
            chunk = body.chunk() => chunk.map_err(Side::Node)?,
            () = download.gone() => return Err(Side::Client),
        };
        let Some(chunk) = chunk else { break };
        let bytes = chunk.len();
        download
            .send(chunk, false)
            .await
            .map_err(|_| Side::Client)?;
        body.release(bytes);
    }
    Ok(body
        .trailers()
        .await
        .map_err(Side::Node)?
        .unwrap_or_default())
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
