//! The life of one call: read, book, answer.
//!
//! A call is driven by polling [`Call::next`] for its answers; when the client goes away, it is
//! dropped wherever it stands, and its drop closes the books on it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

use super::answer;
use super::decode::{Filing, Method, Reader, Role};
use super::shared::{CallOutcome, Shared};
use super::upload::Upload;

/// Longest message an OAP takes.
pub(super) const MAX_MESSAGE: usize = 50 * 1024 * 1024;

/// Answers of a call.
pub(super) type Answers = BoxStream<'static, Result<Bytes, Status>>;

/// Takes a call. Headers go out with the first answer, as grpc-java does it.
pub(super) async fn take(
    shared: Arc<Shared>,
    path: String,
    authority: Option<String>,
    request: Request<Streaming<Bytes>>,
) -> Result<Response<Answers>, Status> {
    shared.call_begins(&path, request.metadata(), authority.as_deref());
    let mut books = OpenCall {
        shared: Arc::clone(&shared),
        path,
        outcome: CallOutcome::Cut,
        reader: None,
        upload: None,
    };
    let method = match admit(&shared, &books.path, &request) {
        Ok(method) => method,
        Err(status) => {
            books.outcome = CallOutcome::Failed(status.code());
            return Err(status);
        }
    };
    if let Role::Upload(kind) = method.role {
        books.upload = Some(Upload::new(kind, &method.path));
    }
    books.reader = Some(method.open());
    let mut call = Call {
        method,
        messages: request.into_inner(),
        count: 0,
        last: None,
        answered: false,
        books,
    };
    match call.next().await {
        None => Ok(Response::new(stream::empty().boxed())),
        Some(Err(status)) => Err(status),
        Some(Ok(first)) => {
            let rest = stream::unfold(call, |mut call| async move {
                let answer = call.next().await?;
                Some((answer, call))
            });
            let first = stream::once(async { Ok(first) });
            Ok(Response::new(first.chain(rest).boxed()))
        }
    }
}

fn admit(
    shared: &Shared,
    path: &str,
    request: &Request<Streaming<Bytes>>,
) -> Result<Arc<Method>, Status> {
    let Some(method) = shared.methods.get(path) else {
        let name = path.trim_start_matches('/');
        return Err(Status::unimplemented(format!("Method not found: {name}")));
    };
    let Some(token) = &shared.token else {
        return Ok(Arc::clone(method));
    };
    let given = request.metadata().get("authentication");
    if method.role == Role::HealthCheck || given.is_some_and(|given| given == token.as_str()) {
        return Ok(Arc::clone(method));
    }
    Err(Status::permission_denied(""))
}

struct Call {
    method: Arc<Method>,
    messages: Streaming<Bytes>,
    count: u64,
    /// What the answer to a unary call is made from.
    last: Option<Bytes>,
    answered: bool,
    books: OpenCall,
}

impl Call {
    /// The next answer; `None` when the call is over.
    async fn next(&mut self) -> Option<Result<Bytes, Status>> {
        match &self.books.outcome {
            CallOutcome::Cut => {}
            CallOutcome::Done | CallOutcome::Failed(_) => return None,
        }
        match self.step().await {
            Ok(Some(answer)) => Some(Ok(answer)),
            Ok(None) => {
                self.books.outcome = CallOutcome::Done;
                None
            }
            Err(Ended::Cut(status)) => Some(Err(status)),
            Err(Ended::Failed(status)) => {
                self.books.outcome = CallOutcome::Failed(status.code());
                Some(Err(status))
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Bytes>, Ended> {
        if self.answered {
            return Ok(None);
        }
        let path = Arc::clone(&self.method.path);
        let shared = Arc::clone(&self.books.shared);
        shared.faults.stalled(&path).await;
        shared.faults.refusal(&path)?;
        while let Some(bytes) = self.messages.message().await.map_err(Ended::reading)? {
            // The fault may have come while we waited for the message.
            shared.faults.stalled(&path).await;
            shared.faults.refusal(&path)?;
            let answer = self.accept(&shared, bytes)?;
            shared.faults.accepted(&path)?;
            if answer.is_some() {
                shared.faults.delay(&path).await;
                shared.faults.stalled(&path).await;
                return Ok(answer);
            }
            shared.faults.stalled(&path).await;
        }
        shared.faults.delay(&path).await;
        shared.faults.stalled(&path).await;
        if self.books.upload.is_some() {
            return Ok(None);
        }
        self.answered = true;
        self.books.read_out()?;
        if !self.method.takes_stream && self.count == 0 {
            return Err(Status::internal("Half-closed without a request").into());
        }
        Ok(Some(answer::answer(
            &shared,
            &self.method,
            self.last.as_ref(),
        )?))
    }

    /// Books a message; an upload may have an answer to it.
    fn accept(&mut self, shared: &Shared, bytes: Bytes) -> Result<Option<Bytes>, Status> {
        self.count += 1;
        if !self.method.takes_stream && self.count > 1 {
            return Err(Status::internal("Too many requests"));
        }
        let mut filing = Filing::new(shared.wants_ids());
        if let Some(reader) = &mut self.books.reader {
            reader.read(&bytes, &mut filing)?;
        }
        let answer = match &mut self.books.upload {
            Some(upload) => upload.take(&bytes)?,
            None => None,
        };
        if self.method.role != Role::HealthCheck {
            shared.accept(&self.method.path, bytes.len(), filing)?;
        }
        if !self.method.takes_stream {
            self.last = Some(bytes);
        }
        Ok(answer)
    }
}

/// How a call ends early.
enum Ended {
    /// By the client: nobody will see the status.
    Cut(Status),
    /// With an error of ours.
    Failed(Status),
}

impl Ended {
    /// Sorts what reading a message can fail with.
    fn reading(status: Status) -> Self {
        if std::error::Error::source(&status).is_some() {
            return Self::Cut(status);
        }
        Self::Failed(match status.code() {
            Code::OutOfRange | Code::ResourceExhausted => Status::resource_exhausted(format!(
                "gRPC message exceeds maximum size {MAX_MESSAGE}"
            )),
            _ => status,
        })
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}

/// Closes the books on a call when it is dropped.
struct OpenCall {
    shared: Arc<Shared>,
    path: String,
    outcome: CallOutcome,
    /// What it knows ends with the call.
    reader: Option<Box<dyn Reader>>,
    upload: Option<Upload>,
}

impl OpenCall {
    /// Files what had to wait for the call's end.
    fn read_out(&mut self) -> Result<(), Status> {
        let Some(mut reader) = self.reader.take() else {
            return Ok(());
        };
        let mut filing = Filing::new(self.shared.wants_ids());
        reader.end(&mut filing);
        self.shared.settle(&self.path, filing)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if let Err(error) = self.read_out() {
            tracing::warn!(path = self.path, %error, "sink cannot record what a call ended with");
        }
        let whole = self.outcome == CallOutcome::Done;
        let upload = self.upload.take().map(|upload| upload.end(whole));
        self.shared.call_ends(&self.path, self.outcome, upload);
    }
}
