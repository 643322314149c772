//! How the agent connects.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use perigee::config::settings::{ClientTls, ServerTls};
use perigee::engine::tls::Watch;
use perigee::sink::{Sink, SinkOptions};
use perigee_ebpf_profiler::oap::Settings;
use perigee_ebpf_profiler::oap::link::{Connection, Tls};
use perigee_ebpf_profiler::profile::Kind;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;

use crate::bench::*;
use crate::kernel::Kernel;

#[tokio::test]
async fn an_oap_that_comes_later_is_found_and_one_that_comes_back_too() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let options = || SinkOptions {
        listen: address,
        ..SinkOptions::default()
    };
    let kernel = Kernel::new();
    let settings = Settings {
        heartbeat: std::time::Duration::from_millis(100),
        ..settings(address)
    };
    let agent = Running::start(settings, &kernel, &[entity(7, "web")]);
    let refused = soon(tokio::net::TcpStream::connect(address)).await;
    assert!(refused.is_err(), "nobody listens yet");
    let sink = Sink::start(options()).unwrap();
    called(&sink, QUERY, 2).await;
    sink.shutdown().unwrap();
    let sink = Sink::start(options()).unwrap();
    hand_out(&sink, "t", 60, &json!({}));
    soon(sink.wait_for_stacks(|stacks| of(stacks, "t", "web").is_some())).await;
    agent.stop().await;
    all_arrived(&sink, || vec![kernel.yielded(Kind::OnCpu, 7)]).await;
}

#[tokio::test]
async fn the_token_goes_with_every_call() {
    let sink = Sink::start(SinkOptions {
        token: Some("s3cret".to_owned()),
        ..SinkOptions::default()
    })
    .unwrap();
    let settings = Settings {
        connection: Connection {
            authentication: Some("s3cret".to_owned()),
            ..settings(sink.listen()).connection
        },
        ..settings(sink.listen())
    };
    let agent = Running::start(settings, &Kernel::new(), &[entity(7, "web")]);
    hand_out(&sink, "t", 60, &json!({}));
    let state = called(&sink, COLLECT, 1).await;
    assert!(state.errors.is_empty(), "{:?}", state.errors);
    agent.stop().await;
}

/// The gateway's own files and settings serve: what agents are given, the capture takes.
#[tokio::test]
async fn tls_with_a_certificate_of_its_own_and_a_token_reaches_the_gateway() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = tempfile::tempdir().unwrap();
    let (chain, key) = (files.path().join("chain.pem"), files.path().join("key.pem"));
    std::fs::write(&chain, cert.pem()).unwrap();
    std::fs::write(&key, signing_key.serialize_pem()).unwrap();
    let sink = sink();
    let gateway = gateway(&sink, |settings| {
        settings.server.tls = Some(ServerTls {
            chain: chain.clone(),
            key: key.clone(),
            client_ca: Some(chain.clone()),
        });
    })
    .await;
    let watch = Watch::load(ClientTls {
        ca: Some(chain.clone()),
        identity: Some((chain.clone(), key.clone())),
        insecure_skip_verify: false,
    });
    let current = watch.unwrap().current();
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.address.port()));
    let settings = Settings {
        connection: Connection {
            address: format!("localhost:{}", address.port()),
            tls: Some(Tls {
                config: Arc::new(move || current.load()),
                server_name: None,
            }),
            ..Connection::default()
        },
        ..settings(address)
    };
    let agent = Running::start(settings, &Kernel::new(), &[entity(7, "web")]);
    hand_out(&sink, "t", 60, &json!({}));
    called(&sink, COLLECT, 1).await;
    agent.stop().await;
}
