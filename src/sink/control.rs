//! The control API: plain HTTP and JSON, for tests that run the sink as a process.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::TcpStream;

use super::fault::Fault;
use super::shared::Shared;
use super::state::State;
use super::task::Task;

const MAX_BODY: usize = 1024 * 1024;
const DEFAULT_WAIT: Duration = Duration::from_secs(30);

/// Serves one connection.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let service = hyper::service::service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, request).await) }
    });
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "control connection ended");
    }
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match route(shared, request).await {
        Ok(body) => reply(StatusCode::OK, body),
        Err(refusal) => reply(refusal.status, json!({ "error": refusal.why }).to_string()),
    }
}

async fn route(shared: &Shared, request: Request<Incoming>) -> Result<String, Refusal> {
    let query = Query(request.uri().query().unwrap_or_default().to_owned());
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/state") => json_of(&shared.snapshot()),
        (&Method::GET, "/wait") => wait(shared, &query).await,
        (&Method::GET, "/ids") => json_of(&shared.ids(&query.needed("method")?)),
        (&Method::GET, "/stacks") => json_of(&shared.stacks()),
        (&Method::GET, "/headers") => json_of(&shared.headers(&query.needed("method")?)),
        (&Method::POST, "/fault") => {
            shared.faults.set(body::<Fault>(request).await?);
            Ok(done())
        }
        (&Method::POST, "/task") => {
            let task = body::<Task>(request).await?;
            let checked = task.check();
            checked
                .and_then(|()| task.check_processes(&shared.processes.all()))
                .map_err(|error| Refusal::bad(&error))?;
            shared.tasks.add(task);
            Ok(done())
        }
        (&Method::POST, "/reset") => {
            shared.reset();
            Ok(done())
        }
        _ => Err(Refusal {
            status: StatusCode::NOT_FOUND,
            why: format!(
                "no such thing: {} {path}; there are GET /state /wait /ids /stacks /headers and POST /fault /task /reset",
                request.method()
            ),
        }),
    }
}

/// Answers when so many messages have come; with 504 and the same body when they do not come.
async fn wait(shared: &Shared, query: &Query) -> Result<String, Refusal> {
    let messages: u64 = query.number("messages")?.unwrap_or(1);
    let time = query
        .number("seconds")?
        .map_or(DEFAULT_WAIT, Duration::from_secs);
    let method = query.get("method");
    let there = |state: &State| match &method {
        Some(method) => state.messages(method) >= messages,
        None => state.total_messages >= messages,
    };
    match tokio::time::timeout(time, shared.wait_until(there)).await {
        Ok(state) => json_of(&state),
        Err(_) => Err(Refusal {
            status: StatusCode::GATEWAY_TIMEOUT,
            why: format!("fewer than {messages} messages after {} s", time.as_secs()),
        }),
    }
}

struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    fn bad(why: &dyn ToString) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            why: why.to_string(),
        }
    }
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let bytes = Limited::new(request.into_body(), MAX_BODY)
        .collect()
        .await
        .map_err(|error| Refusal::bad(&error))?
        .to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| Refusal::bad(&error))
}

fn json_of(value: &impl Serialize) -> Result<String, Refusal> {
    serde_json::to_string(value).map_err(|error| Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        why: error.to_string(),
    })
}

fn done() -> String {
    json!({ "ok": true }).to_string()
}

fn reply(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static("application/json"),
    );
    response
}

/// A query string.
struct Query(String);

impl Query {
    fn get(&self, name: &str) -> Option<String> {
        self.0
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| unescape(value))
    }

    fn needed(&self, name: &str) -> Result<String, Refusal> {
        self.get(name)
            .ok_or_else(|| Refusal::bad(&format!("query parameter {name} is missing")))
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.get(name)
            .map(|text| text.parse())
            .transpose()
            .map_err(|error| Refusal::bad(&format!("query parameter {name}: {error}")))
    }
}

/// Undoes percent-encoding; what is not an escape stays.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&out).into_owned()
}
