//! How the capture process reaches the gateway: as any client does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};

use crate::config::settings::ServerAddr;
use crate::config::settings::capture::Gateway;
use crate::engine::tls::{Current, TlsErrors, Watch};

/// Longest time until a connection stands, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// Why there is nothing to reach the gateway by.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// Its address makes no URL.
    #[error("capture.gateway.address: {address} is no address: {source}")]
    Address {
        /// The address.
        address: String,
        /// Why.
        source: tonic::transport::Error,
    },
    /// The name that no certificate can be for.
    #[error("capture.gateway.server_name: {name:?}: {source}")]
    Name {
        /// The name.
        name: String,
        /// Why.
        source: InvalidDnsNameError,
    },
    /// The token that no header can carry.
    #[error("capture.gateway.authentication: not a header value (visible ASCII)")]
    Token,
    /// Certificates or keys.
    #[error("{0}")]
    Tls(#[from] TlsErrors),
}

/// What calls to the gateway need.
#[expect(dead_code, reason = "module::work does not call yet")]
#[derive(Clone, Debug)]
pub(super) struct Connection {
    /// Connects when first used, and again whenever it has to.
    pub(super) channel: Channel,
    /// To be sent as `authentication` with every call.
    pub(super) token: Option<AsciiMetadataValue>,
}

impl Connection {
    /// Prepares everything but does not connect yet.
    pub(super) fn new(gateway: &Gateway) -> Result<Self, ConnectionError> {
        let to = gateway.address.to_string();
        let endpoint = Endpoint::from_shared(format!("http://{to}")).map_err(|source| {
            ConnectionError::Address {
                address: to,
                source,
            }
        })?;
        let tls = match &gateway.tls {
            Some(tls) => {
                let name = tls.server_name.clone();
                let name = ServerName::try_from(name.clone())
                    .map_err(|source| ConnectionError::Name { name, source })?;
                Some((Watch::load(tls.clone())?.current(), name))
            }
            None => None,
        };
        let token = gateway.authentication.as_deref().map(str::parse);
        let to = Arc::new(gateway.address.clone());
        let connector = tower::service_fn(move |_| {
            let (to, tls) = (Arc::clone(&to), tls.clone());
            async move { connect(&to, tls).await.map(TokioIo::new) }
        });
        Ok(Self {
            channel: endpoint
                .connect_timeout(CONNECT)
                .connect_with_connector_lazy(connector),
            token: token.transpose().map_err(|_| ConnectionError::Token)?,
        })
    }
}

/// A byte stream, encrypted or not.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(
    to: &ServerAddr,
    tls: Option<(Current<rustls::ClientConfig>, ServerName<'static>)>,
) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
    stream.set_nodelay(true)?;
    match tls {
        None => Ok(Box::new(stream)),
        Some((config, name)) => {
            let connector = TlsConnector::from(config.load());
            Ok(Box::new(connector.connect(name, stream).await?))
        }
    }
}
