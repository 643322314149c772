//! The admin server: metrics and health, over HTTP/1.
//!
//! - `GET /metrics` (the path is a setting): the Prometheus page.
//! - `GET /healthz`: 200 as long as the process runs.
//! - `GET /readyz`: 200 while we take messages, 503 otherwise, with a JSON text.
//!
//! `HEAD` works as well. It answers few callers, one at a time being the rule, and must not let a
//! stuck one hold anything of the data path: calls and connections are few and timed.

mod readiness;

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceBuilder, ServiceExt};
use tracing::{debug, warn};

pub use readiness::{Limit, Readiness, State};

use crate::telemetry::exporter::Exporter;
use crate::telemetry::log::RateLimited;

/// Calls that are answered at the same time; more are told to come again.
const CALLS: usize = 8;
/// Connections; above it nobody is accepted until one closes.
const CONNECTIONS: usize = 64;
/// Longest time for an answer, and for a request's head to arrive.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait at the end for calls that are being answered.
const LAST_CALLS: Duration = Duration::from_secs(1);
/// How often histograms are sorted when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// What a server shows.
pub trait Shown: Send + Sync + 'static {
    /// Path of the metrics, e.g. `/metrics`.
    fn metrics_path(&self) -> &str;

    /// The metrics. Takes in the order of a millisecond.
    fn metrics(&self) -> String;

    /// Whether we take messages, and that with its reason as JSON; `None`: nobody sends us any.
    fn readiness(&self) -> Option<(bool, String)>;

    /// Called every few seconds.
    fn upkeep(&self);
}

/// What the gateway shows.
#[derive(Debug)]
pub struct AdminState {
    /// Renders the metrics.
    pub exporter: Arc<Exporter>,
    /// Path of the metrics, e.g. `/metrics`.
    pub metrics_path: String,
    /// Whether we take messages.
    pub readiness: Arc<Readiness>,
}

type Answer = Response<Full<Bytes>>;
type Service = BoxCloneSyncService<Request<Incoming>, Answer, BoxError>;

/// Serves until `shutdown` is done, then answers what has been asked. Returns how many connections
/// had to be cut. Dropping the future cuts all of them.
pub async fn serve<S: Shown>(
    listener: TcpListener,
    state: Arc<S>,
    shutdown: impl Future<Output = ()>,
) -> usize {
    static REFUSED: RateLimited = RateLimited::new(Duration::from_secs(10));
    let service = service(Arc::clone(&state));
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut upkeep = tokio::time::interval(UPKEEP);
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            biased; // shutdown first: a busy listener must not delay it
            () = &mut shutdown => break,
            _ = upkeep.tick() => state.upkeep(),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, service.clone(), stopped.clone()));
                }
                Err(error) => {
                    if let Some(suppressed) = REFUSED.permit(std::time::Instant::now()) {
                        warn!(%error, suppressed, "admin server cannot accept");
                    }
                    // Out of descriptors, most likely: accepting again at once would spin.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    drop(stop);
    let rest = async { while connections.join_next().await.is_some() {} };
    // A timeout shows in what is left.
    let _ = tokio::time::timeout(LAST_CALLS, rest).await;
    connections.len()
}

/// One connection, until its peer closes it or the server stops.
async fn connection(stream: TcpStream, service: Service, mut stopped: watch::Receiver<()>) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(TIMEOUT);
    let service = service_fn(move |request| {
        let call = service.clone().oneshot(request);
        async { Ok::<_, Infallible>(call.await.unwrap_or_else(|error| busy(&*error))) }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = &mut connection => result,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        debug!(%error, "admin connection failed");
    }
}

/// The routes behind their bounds, shared by all connections.
fn service<S: Shown>(state: Arc<S>) -> Service {
    let routes = tower::service_fn(move |request: Request<Incoming>| {
        let state = Arc::clone(&state);
        async move { Ok::<_, BoxError>(answer(&state, request.method(), request.uri().path()).await) }
    });
    let bounded = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(CALLS)
        .timeout(TIMEOUT)
        .service(routes);
    BoxCloneSyncService::new(bounded)
}

async fn answer<S: Shown>(state: &Arc<S>, method: &Method, path: &str) -> Answer {
    let known = path == state.metrics_path() || matches!(path, "/healthz" | "/readyz");
    if known && !matches!(*method, Method::GET | Method::HEAD) {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(header::ALLOW, allowed);
        return answer;
    }
    match path {
        path if path == state.metrics_path() => metrics(state).await,
        "/healthz" => text(StatusCode::OK, "ok\n"),
        _ => match state.readiness() {
            Some((is_ready, reason)) if path == "/readyz" => readyz(is_ready, reason),
            readiness => {
                let more = readiness.map_or("", |_| ", /readyz");
                let list = format!("not here; try {}, /healthz{more}\n", state.metrics_path());
                text(StatusCode::NOT_FOUND, list)
            }
        },
    }
}

/// On a thread of its own: the page takes longer than a worker may be held.
async fn metrics<S: Shown>(state: &Arc<S>) -> Answer {
    let state = Arc::clone(state);
    match tokio::task::spawn_blocking(move || state.metrics()).await {
        Ok(page) => content(
            StatusCode::OK,
            "text/plain; version=0.0.4; charset=utf-8",
            page,
        ),
        Err(error) => {
            warn!(%error, "metrics cannot be rendered");
            text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "metrics cannot be rendered\n",
            )
        }
    }
}

impl Shown for AdminState {
    fn metrics_path(&self) -> &str {
        &self.metrics_path
    }

    fn metrics(&self) -> String {
        self.exporter.render()
    }

    /// Whether we are ready, and, for information only, whether the nodes are.
    fn readiness(&self) -> Option<(bool, String)> {
        let now = self.readiness.state();
        let nodes = self.exporter.books().nodes();
        let nodes: Vec<_> = nodes
            .iter()
            .map(|(address, node)| serde_json::json!({"address": address.to_string(), "ready": node.is_ready()}))
            .collect();
        let body = serde_json::json!({
            "ready": now.is_ready(),
            "reason": now.reason(),
            "nodes": nodes,
        });
        Some((now.is_ready(), body.to_string()))
    }

    fn upkeep(&self) {
        self.exporter.upkeep();
    }
}

fn readyz(is_ready: bool, reason: String) -> Answer {
    let status = match is_ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    content(status, "application/json", reason + "\n")
}

/// The layers' own errors: too many calls, or one that took too long.
fn busy(error: &(dyn std::error::Error + Send + Sync)) -> Answer {
    text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    content(status, "text/plain; charset=utf-8", body)
}

fn content(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

#[cfg(test)]
mod tests;
