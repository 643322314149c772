//! The admin server over real sockets.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use perigee_plugin_api::budget::Budget;

use super::*;
use crate::telemetry::books::Books;
use crate::telemetry::exporter::{BudgetLevel, Labels, Levels, QueueLevel};

struct Idle;

impl Levels for Idle {
    fn queues(&self) -> Vec<QueueLevel> {
        Vec::new()
    }

    fn budget(&self) -> BudgetLevel {
        BudgetLevel::default()
    }
}

struct Server {
    address: SocketAddr,
    state: Arc<AdminState>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
}

impl Server {
    async fn start() -> Self {
        let labels = Labels {
            cluster: "c".to_owned(),
            service: "s".to_owned(),
            instance: "i".to_owned(),
        };
        let books = Arc::new(Books::new([("tracepipe", "TracingType")]));
        let budget = Arc::new(Budget::new(1 << 20));
        let readiness = Arc::new(Readiness::new(Arc::clone(&books), 1, budget));
        let state = Arc::new(AdminState {
            exporter: Arc::new(Exporter::new(labels, books, Arc::new(Idle))),
            metrics_path: "/own/metrics".to_owned(),
            readiness,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, Arc::clone(&state), async {
            let _ = stopped.await;
        }));
        Self {
            address,
            state,
            stop,
            task,
        }
    }

    /// Head and body of the answer on a connection of its own.
    async fn ask(&self, method: &str, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    async fn ready(&self) -> (String, serde_json::Value) {
        let (head, body) = self.ask("GET", "/readyz").await;
        assert!(head.contains("content-type: application/json"));
        (head, serde_json::from_str(&body).unwrap())
    }

    async fn stop(self) -> usize {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }
}

#[tokio::test]
async fn metrics_are_served_on_the_configured_path() {
    let server = Server::start().await;
    server.state.exporter.books().pipe(0).received(5, 50);
    let (head, body) = server.ask("GET", "/own/metrics?x=1").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"));
    assert!(
        body.lines().any(
            |line| line.starts_with("perigee_received_messages_total{") && line.ends_with(" 5")
        )
    );
    assert!(
        server
            .ask("GET", "/metrics")
            .await
            .0
            .starts_with("http/1.1 404")
    );
    server.stop().await;
}

#[tokio::test]
async fn health_is_the_process_and_not_its_readiness() {
    let server = Server::start().await;
    server.state.readiness.draining();
    let (head, body) = server.ask("GET", "/healthz").await;
    assert!(head.starts_with("http/1.1 200"));
    assert_eq!(body, "ok\n");
    server.stop().await;
}

#[tokio::test]
async fn readiness_follows_our_state_and_shows_nodes_beside_it() {
    let server = Server::start().await;
    let (head, body) = server.ready().await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body["reason"], "starting");

    let books = server.state.exporter.books();
    books.node("127.0.0.1:1".parse().unwrap());
    let ready = books.node("127.0.0.1:2".parse().unwrap());
    ready.ready_connections.inc();
    server.state.readiness.started();
    let (head, body) = server.ready().await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(
        body,
        serde_json::json!({"ready": true, "reason": "ready", "nodes": [
            {"address": "127.0.0.1:1", "ready": false},
            {"address": "127.0.0.1:2", "ready": true},
        ]})
    );

    books.front.connection_opened();
    let (head, body) = server.ready().await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert_eq!(body["ready"], false);
    assert_eq!(body["reason"], "at the limit of connections");
    server.stop().await;
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let server = Server::start().await;
    let (head, body) = server.ask("HEAD", "/healthz").await;
    assert!(head.starts_with("http/1.1 200"));
    assert!(head.contains("content-length: 3"), "{head}");
    assert_eq!(body, "");
    server.stop().await;
}

#[tokio::test]
async fn other_methods_and_paths_are_told_what_there_is() {
    let server = Server::start().await;
    let (head, _) = server.ask("POST", "/readyz").await;
    assert!(head.starts_with("http/1.1 405"));
    assert!(head.contains("allow: get, head"));
    let (head, body) = server.ask("GET", "/").await;
    assert!(head.starts_with("http/1.1 404"));
    assert_eq!(body, "not here; try /own/metrics, /healthz, /readyz\n");
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_end() {
    let server = Server::start().await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    idle.write_all(request).await.unwrap();
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    assert_eq!(server.stop().await, 0, "closed, not cut");
}

#[tokio::test]
async fn the_layers_errors_are_answered() {
    let error: BoxError = tower::load_shed::error::Overloaded::new().into();
    assert_eq!(busy(&*error).status(), StatusCode::SERVICE_UNAVAILABLE);
}
