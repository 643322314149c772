//! Certificates that change while the gateway runs, and certificates of clients.

use std::net::SocketAddr;
use std::sync::Arc;

use perigee::config::settings::ClientTls;
use perigee::telemetry::books::{ConnectionError, Reload, TlsSide};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::client::{Client, soon};
use crate::gateway::{Gateway, http_get};
use crate::messages::*;
use crate::node::{Manner, Node};
use crate::tls::*;

async fn reloaded(gateway: &Gateway, side: TlsSide, result: Reload, times: u64) {
    gateway
        .wait_for("the change seen", |gateway| {
            gateway.app.books.certificates.reloads(side, result) == times
        })
        .await;
}

/// A new connection, which has to be told this certificate.
async fn is_shown(gateway: &Gateway, authority: &Authority, expected: &Identity) -> Client {
    let stream = connect_as(gateway.app.address, authority.roots(), "localhost", None).await;
    let stream = stream.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap().to_vec();
    assert!(shown == [expected.certificate.clone()], "another one");
    Client::on(stream).await
}

async fn is_served(client: &Client) {
    assert_eq!(client.unary(KEEP_ALIVE, &ping("shop")).await.ok(), EMPTY);
}

#[tokio::test]
async fn a_changed_certificate_is_shown_to_new_connections_and_harms_no_open_one() {
    let authority = Authority::new();
    let gateway = gateway_with_tls(&authority).await;
    let stream = connect_as(gateway.app.address, authority.roots(), "localhost", None).await;
    let open = Client::on(stream.unwrap()).await;
    let mut call = open.open(SEGMENTS).await;
    call.send(framed(&segment("before", "shop"))).await.unwrap();
    let second = authority.identity("localhost");
    reloaded(&gateway, TlsSide::Server, Reload::Taken, 1).await;
    is_served(&is_shown(&gateway, &authority, &second).await).await;
    call.send(framed(&segment("after", "shop"))).await.unwrap();
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY);
    let metrics = http_get(gateway.app.admin_address.unwrap(), "/metrics").await;
    let taken = metrics.lines().find(|line| {
        line.contains("perigee_certificate_reloads_total{")
            && line.contains("side=\"server\"")
            && line.contains("result=\"taken\"")
    });
    assert!(taken.unwrap().ends_with(" 1"), "{taken:?}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_kept_out() {
    let authority = Authority::new();
    let gateway = gateway_with_tls(&authority).await;
    let path = authority.files_of("localhost").0;
    let first = std::fs::read(&path).unwrap();
    let stream = connect_as(gateway.app.address, authority.roots(), "localhost", None).await;
    let stream = stream.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap().to_vec();
    std::fs::write(&path, &first[..first.len() / 2]).unwrap();
    reloaded(&gateway, TlsSide::Server, Reload::Refused, 1).await;
    let again = connect_as(gateway.app.address, authority.roots(), "localhost", None).await;
    let again = again.unwrap();
    assert!(again.get_ref().1.peer_certificates() == Some(&shown[..]));
    is_served(&Client::on(again).await).await;
    let second = authority.identity("localhost");
    reloaded(&gateway, TlsSide::Server, Reload::Taken, 1).await;
    is_shown(&gateway, &authority, &second).await;
}

/// In TLS 1.3 a client is through with its handshake before the server has seen its certificate.
async fn is_turned_away(stream: std::io::Result<Stream>) {
    let Ok(mut stream) = stream else { return };
    soon(stream.read_u8()).await.unwrap_err();
}

#[tokio::test]
async fn a_client_without_the_right_certificate_fails_alone() {
    let ours = Authority::new();
    let clients = Authority::new();
    let gateway = gateway_that_asks(&ours, Some(clients.ca_file())).await;
    let connect = |identity| connect_as(gateway.app.address, ours.roots(), "localhost", identity);
    let agent = clients.identity("agent.example");
    let good = Client::on(connect(Some(agent)).await.unwrap()).await;
    let mut call = good.open(SEGMENTS).await;
    call.send(framed(&segment("a", "shop"))).await.unwrap();
    is_turned_away(connect(None).await).await;
    // Trusted as a server's, which says nothing about clients.
    is_turned_away(connect(Some(ours.identity("agent.example"))).await).await;
    gateway
        .wait_for("both counted", |gateway| {
            gateway.connection_errors(ConnectionError::Tls) == 2
        })
        .await;
    call.send(framed(&segment("b", "shop"))).await.unwrap();
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY);
    is_served(&good).await;
}

#[tokio::test]
async fn a_changed_root_of_clients_holds_for_new_connections() {
    let ours = Authority::new();
    let (old, new) = (Authority::new(), Authority::new());
    let gateway = gateway_that_asks(&ours, Some(old.ca_file())).await;
    let connect = |identity| connect_as(gateway.app.address, ours.roots(), "localhost", identity);
    let open = connect(Some(old.identity("agent.example"))).await;
    let open = Client::on(open.unwrap()).await;
    is_turned_away(connect(Some(new.identity("agent.example"))).await).await;
    std::fs::copy(new.ca_file(), old.ca_file()).unwrap();
    reloaded(&gateway, TlsSide::Server, Reload::Taken, 1).await;
    is_turned_away(connect(Some(old.identity("agent.example"))).await).await;
    let stream = connect(Some(new.identity("agent.example"))).await;
    is_served(&Client::on(stream.unwrap()).await).await;
    is_served(&open).await;
}

/// A way to a node that can be cut.
struct Way {
    port: u16,
    cut: Arc<Notify>,
}

impl Way {
    async fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::<Notify>::default();
        let told = Arc::clone(&cut);
        tokio::spawn(async move {
            while let Ok((mut gateway, _)) = listener.accept().await {
                let mut node = TcpStream::connect(node).await.unwrap();
                let told = Arc::clone(&told);
                tokio::spawn(async move {
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut gateway, &mut node) => {}
                        () = told.notified() => {}
                    }
                });
            }
        });
        Self { port, cut }
    }
}

/// Reports once, and says which certificate of ours the node has seen with it.
async fn seen_with_a_report(gateway: &Gateway, node: &Node) -> Vec<Vec<u8>> {
    let before = gateway.app.books.totals().delivered;
    is_served(&gateway.client().await).await;
    gateway
        .wait_for("the report delivered", |gateway| {
            gateway.app.books.totals().delivered > before
        })
        .await;
    node.seen().pop().unwrap().certificates
}

#[tokio::test]
async fn our_changed_certificate_is_shown_to_a_node_at_the_next_connect() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("127.0.0.1", true);
    let node = Node::start_with(Manner::Report, Some(acceptor)).await;
    let way = Way::to(node.address).await;
    let first = authority.identity("gateway.example");
    let tls = ClientTls {
        identity: Some(first.files.clone()),
        ..authority.trusted()
    };
    let gateway = gateway_to_port(way.port, "127.0.0.1", tls).await;
    gateway
        .wait_for("both workers connected", |gateway| {
            let nodes = gateway.app.books.nodes();
            nodes
                .iter()
                .any(|(_, node)| node.ready_connections.value() == 2)
        })
        .await;
    let seen = seen_with_a_report(&gateway, &node).await;
    assert!(seen == [first.certificate.to_vec()]);
    let second = authority.identity("gateway.example");
    reloaded(&gateway, TlsSide::Client, Reload::Taken, 1).await;
    let seen = seen_with_a_report(&gateway, &node).await;
    assert!(
        seen == [first.certificate.to_vec()],
        "the connection is still open"
    );
    way.cut.notify_waiters();
    gateway
        .wait_for("the loss noticed", |gateway| {
            let nodes = gateway.app.books.nodes();
            nodes.iter().any(|(_, node)| node.connects.value() > 2)
        })
        .await;
    let seen = seen_with_a_report(&gateway, &node).await;
    assert!(seen == [second.certificate.to_vec()]);
}

#[tokio::test]
async fn a_node_is_trusted_once_its_authority_is() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("127.0.0.1", false);
    let node = Node::start_with(Manner::Report, Some(acceptor)).await;
    let stranger = Authority::new();
    let gateway = gateway_to_port(node.address.port(), "127.0.0.1", stranger.trusted()).await;
    is_not_connected(&gateway).await;
    std::fs::copy(authority.ca_file(), stranger.ca_file()).unwrap();
    seen_with_a_report(&gateway, &node).await;
}
