//! TLS towards agents and towards nodes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use perigee::app::App;
use perigee::config::settings::{ClientTls, ServerAddr, ServerTls};
use perigee::telemetry::books::ConnectionError;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::client::{Client, soon};
use crate::gateway::{Gateway, settings};
use crate::messages::*;
use crate::node::{Manner, Node, Seen};

/// A certification authority with a directory for its files.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
}

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
    /// The same as PEM files.
    pub(crate) files: (PathBuf, PathBuf),
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, files }
    }

    pub(crate) fn ca_file(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        Arc::new(roots)
    }

    /// A certificate for a host name or an address, in the place of the last one of that name.
    pub(crate) fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (chain_file, key_file) = self.files_of(name);
        std::fs::write(&chain_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        Identity {
            certificate: certificate.der().clone(),
            key: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            files: (chain_file, key_file),
        }
    }

    /// Where the certificate and the key of that name are.
    pub(crate) fn files_of(&self, name: &str) -> (PathBuf, PathBuf) {
        let path = |end: &str| self.files.path().join(format!("{name}.{end}"));
        (path("pem"), path("key"))
    }

    /// What a node of this name accepts connections with.
    pub(crate) fn acceptor(&self, name: &str, asks_for_certificates: bool) -> TlsAcceptor {
        let Identity {
            certificate, key, ..
        } = self.identity(name);
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if asks_for_certificates {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(self.roots(), provider()).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }

    /// What our gateway trusts when it checks certificates.
    pub(crate) fn trusted(&self) -> ClientTls {
        ClientTls {
            ca: Some(self.ca_file()),
            identity: None,
            insecure_skip_verify: false,
        }
    }
}

/// A gateway that offers TLS as `localhost`.
pub(crate) async fn gateway_with_tls(authority: &Authority) -> Gateway {
    gateway_that_asks(authority, None).await
}

/// A gateway that offers TLS as `localhost` to clients with certificates by these roots.
pub(crate) async fn gateway_that_asks(
    authority: &Authority,
    client_ca: Option<PathBuf>,
) -> Gateway {
    let (chain, key) = authority.identity("localhost").files;
    let tls = ServerTls {
        chain,
        key,
        client_ca,
    };
    Gateway::start_with(1, |settings| settings.server.tls = Some(tls)).await
}

pub(crate) type Stream = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    name: &'static str,
) -> std::io::Result<Stream> {
    connect_as(address, roots, name, None).await
}

/// Connects with this certificate, if any.
pub(crate) async fn connect_as(
    address: SocketAddr,
    roots: Arc<RootCertStore>,
    name: &'static str,
    identity: Option<Identity>,
) -> std::io::Result<Stream> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(ours) => builder
            .with_client_auth_cert(vec![ours.certificate], ours.key)
            .unwrap(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name).unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

#[tokio::test]
async fn agents_may_come_over_tls() {
    let authority = Authority::new();
    let gateway = gateway_with_tls(&authority).await;
    let stream = connect(gateway.app.address, authority.roots(), "localhost").await;
    let stream = stream.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let client = Client::on(stream).await;
    let mut call = client.open(SEGMENTS).await;
    for id in ["a", "b"] {
        let message = padded_segment(id, "shop", 1 << 20);
        call.send(framed(&message)).await.unwrap();
    }
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY);
    let request = configuration_request("shop");
    assert!(client.unary(CONFIGURATIONS, &request).await.ok().len() > EMPTY.len());
    gateway.arrived(SEGMENTS, 2).await;
}

#[tokio::test]
async fn an_agent_that_does_not_trust_us_or_speaks_no_tls_costs_its_connection() {
    let authority = Authority::new();
    let gateway = gateway_with_tls(&authority).await;
    let good = connect(gateway.app.address, authority.roots(), "localhost").await;
    let good = Client::on(good.unwrap()).await;
    let stranger = Authority::new();
    let untrusted = connect(gateway.app.address, stranger.roots(), "localhost").await;
    untrusted.unwrap_err();
    let mut plain = crate::raw::Raw::silent(gateway.app.address).await;
    plain.say(crate::raw::PREFACE).await;
    // An alert, and the end.
    while plain.next().await.is_some() {}
    gateway
        .wait_for("both counted", |gateway| {
            gateway.connection_errors(ConnectionError::Tls) == 2
        })
        .await;
    assert_eq!(good.unary(KEEP_ALIVE, &ping("shop")).await.ok(), EMPTY);
}

/// A silent peer must not hold up the others during its handshake.
#[tokio::test]
async fn a_handshake_that_does_not_go_on_keeps_nobody_waiting() {
    let authority = Authority::new();
    let gateway = gateway_with_tls(&authority).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(gateway.app.address).await.unwrap());
    }
    let stream = connect(gateway.app.address, authority.roots(), "localhost").await;
    let client = Client::on(stream.unwrap()).await;
    assert_eq!(client.unary(KEEP_ALIVE, &ping("shop")).await.ok(), EMPTY);
}

/// A gateway in front of a node that is found under this name.
async fn gateway_to(node: &Node, host: &str, tls: ClientTls) -> Gateway {
    gateway_to_port(node.address.port(), host, tls).await
}

pub(crate) async fn gateway_to_port(port: u16, host: &str, tls: ClientTls) -> Gateway {
    let mut settings = settings(&[]);
    settings.client.servers = vec![ServerAddr {
        host: host.to_owned(),
        port,
        weight: 1,
    }];
    settings.client.tls = Some(tls);
    Gateway {
        app: App::start(settings).await.unwrap(),
        sinks: Vec::new(),
    }
}

/// What reaches the node of one queued report and one poll.
async fn delivered(gateway: &Gateway, node: &Node) -> Vec<Seen> {
    let client = gateway.client().await;
    assert_eq!(client.unary(KEEP_ALIVE, &ping("shop")).await.ok(), EMPTY);
    gateway
        .wait_for("the report delivered", |gateway| {
            gateway.app.books.totals().delivered == 1
        })
        .await;
    client.unary(CONFIGURATIONS, b"").await.ok();
    let seen = node.seen();
    assert_eq!(seen.len(), 2);
    seen
}

#[tokio::test]
async fn a_nodes_certificate_has_to_be_for_the_nodes_own_name() {
    let authority = Authority::new();
    for name in ["localhost", "127.0.0.1"] {
        let node = Node::start_with(Manner::Report, Some(authority.acceptor(name, false))).await;
        let gateway = gateway_to(&node, name, authority.trusted()).await;
        for seen in delivered(&gateway, &node).await {
            assert_eq!(seen.scheme.as_deref(), Some("https"));
            assert_eq!(seen.authority, format!("{name}:{}", node.address.port()));
        }
    }
}

/// Waits until connections have failed and none has been made.
pub(crate) async fn is_not_connected(gateway: &Gateway) {
    let refused = |gateway: &Gateway| {
        let nodes = gateway.app.books.nodes();
        nodes
            .iter()
            .any(|(_, node)| node.failed_connects.value() > 2)
    };
    gateway.wait_for("connects failed", refused).await;
    for (_, node) in gateway.app.books.nodes() {
        assert_eq!(node.ready_connections.value(), 0);
    }
}

#[tokio::test]
async fn a_node_with_a_certificate_of_another_name_is_not_used() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("other.example", false);
    let node = Node::start_with(Manner::Report, Some(acceptor)).await;
    let gateway = gateway_to(&node, "127.0.0.1", authority.trusted()).await;
    let client = gateway.client().await;
    assert_eq!(client.unary(KEEP_ALIVE, &ping("shop")).await.ok(), EMPTY);
    is_not_connected(&gateway).await;
    assert!(node.seen().is_empty());
}

#[tokio::test]
async fn a_node_of_an_unknown_authority_is_not_used() {
    let acceptor = Authority::new().acceptor("127.0.0.1", false);
    let node = Node::start_with(Manner::Report, Some(acceptor)).await;
    let gateway = gateway_to(&node, "127.0.0.1", Authority::new().trusted()).await;
    is_not_connected(&gateway).await;
    assert!(node.seen().is_empty());
}

#[tokio::test]
async fn any_certificate_will_do_where_none_is_checked() {
    let acceptor = Authority::new().acceptor("other.example", false);
    let node = Node::start_with(Manner::Report, Some(acceptor)).await;
    let unchecked = ClientTls {
        ca: None,
        identity: None,
        insecure_skip_verify: true,
    };
    let gateway = gateway_to(&node, "127.0.0.1", unchecked).await;
    delivered(&gateway, &node).await;
}

#[tokio::test]
async fn a_node_that_asks_for_our_certificate_gets_it() {
    let authority = Authority::new();
    let acceptor = authority.acceptor("127.0.0.1", true);
    let node = Node::start_with(Manner::Report, Some(acceptor)).await;
    let without = gateway_to(&node, "127.0.0.1", authority.trusted()).await;
    is_not_connected(&without).await;
    let ours = authority.identity("gateway.example");
    let tls = ClientTls {
        identity: Some(ours.files),
        ..authority.trusted()
    };
    let gateway = gateway_to(&node, "127.0.0.1", tls).await;
    for seen in delivered(&gateway, &node).await {
        assert_eq!(seen.certificates, [ours.certificate.to_vec()]);
    }
}
