//! A gateway with its nodes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use perigee::app::App;
use perigee::config::settings::{Pipe, ServerAddr, Settings};
use perigee::config::{Config, EMBEDDED, Host, Source};
use perigee::sink::state::State;
use perigee::sink::{Sink, SinkHandle, SinkOptions};
use perigee::telemetry::books::{ConnectionError, PipeSnapshot, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, soon};

pub(crate) const TRACING: &str = "grpc-native-tracing-receiver";

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A gateway, and sinks for nodes.
pub(crate) struct Gateway {
    pub(crate) app: App,
    pub(crate) sinks: Vec<SinkHandle>,
}

/// A sink that keeps ids and has a control address.
pub(crate) fn sink() -> SinkHandle {
    sink_with(None)
}

pub(crate) fn sink_with(token: Option<&str>) -> SinkHandle {
    let options = SinkOptions {
        control: Some(ANY_PORT),
        keep_ids: 1_000_000,
        token: token.map(str::to_owned),
        ..SinkOptions::default()
    };
    Sink::start(options).unwrap()
}

/// The stock file with these nodes, every address a free port of this machine.
pub(crate) fn settings(nodes: &[SocketAddr]) -> Settings {
    let host = Host {
        memory_limit: None,
        cores: 2,
    };
    let config = Config::parse(EMBEDDED, Source::Embedded, &|_| None, &host).unwrap();
    let mut settings = config.settings;
    settings.server.address = ANY_PORT;
    // Clients and nodes are in this process too.
    settings.server.max_cpu_percent = 100;
    settings.telemetry.prometheus.as_mut().unwrap().address = ANY_PORT;
    settings.client.servers = nodes.iter().map(server).collect();
    for pipe in &mut settings.pipes {
        pipe.sender.flush_time = Duration::from_millis(50);
    }
    settings
}

fn server(address: &SocketAddr) -> ServerAddr {
    ServerAddr {
        host: address.ip().to_string(),
        port: address.port(),
        weight: 1,
    }
}

/// The pipe of a receiver.
pub(crate) fn pipe<'a>(settings: &'a mut Settings, receiver: &str) -> &'a mut Pipe {
    let mut pipes = settings.pipes.iter_mut();
    pipes
        .find(|pipe| pipe.protocol.receiver == receiver)
        .unwrap()
}

impl Gateway {
    pub(crate) async fn start(sinks: usize) -> Self {
        Self::start_with(sinks, |_| {}).await
    }

    pub(crate) async fn start_with(sinks: usize, edit: impl FnOnce(&mut Settings)) -> Self {
        Self::over((0..sinks).map(|_| sink()).collect(), edit).await
    }

    pub(crate) async fn over(sinks: Vec<SinkHandle>, edit: impl FnOnce(&mut Settings)) -> Self {
        let nodes: Vec<_> = sinks.iter().map(SinkHandle::listen).collect();
        let mut settings = settings(&nodes);
        edit(&mut settings);
        let app = App::start(settings).await.unwrap();
        Self { app, sinks }
    }

    pub(crate) async fn client(&self) -> Client {
        Client::of(self.app.address).await
    }

    pub(crate) fn sink(&self) -> &SinkHandle {
        &self.sinks[0]
    }

    /// Waits until so many messages have arrived at the first sink on this path.
    pub(crate) async fn arrived(&self, path: &str, count: u64) -> State {
        soon(
            self.sink()
                .wait_until(|state| state.messages(path) == count),
        )
        .await
    }

    /// Waits until everything that was received has been delivered or dropped.
    pub(crate) async fn settled(&self) {
        self.wait_for("nothing outstanding", |gateway| {
            gateway.app.books.totals().outstanding() == 0
        })
        .await;
    }

    pub(crate) fn refusals(&self, why: Refusal) -> u64 {
        self.app.books.front.refusals(why)
    }

    pub(crate) fn connection_errors(&self, why: ConnectionError) -> u64 {
        self.app.books.front.connection_errors(why)
    }

    /// Headers of the last call that reached the first sink on this path.
    pub(crate) async fn headers_at_sink(&self, path: &str) -> BTreeMap<String, String> {
        let control = self.sink().control().unwrap();
        let body = http_get(control, &format!("/headers?method={path}")).await;
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until a counter says so. Counters have no bell: what has been counted cannot be
    /// awaited.
    pub(crate) async fn wait_for(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..3000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not within 30 s: {what}");
    }

    /// Drains and stops; everything that was received has to be delivered or dropped for a reason.
    pub(crate) async fn stop(self) -> PipeSnapshot {
        let report = soon(self.app.stop(Duration::from_secs(10))).await;
        assert!(report.undelivered.is_empty(), "{report}");
        report.totals
    }
}

/// The body of a plain HTTP answer.
pub(crate) async fn http_get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    body.to_owned()
}
