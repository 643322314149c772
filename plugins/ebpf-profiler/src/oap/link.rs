//! The connection to the gateway, or to an OAP: the calls that we make, each with a deadline.
//!
//! It connects when it is first used and again when it was lost. That calls fail is said once, and once
//! that they work again.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream;
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use perigee_proto::skywalking::v3 as sw;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::client::Grpc;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::{InterceptedService, InterceptorLayer};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;
use tower::ServiceBuilder;

/// What may pass without an acknowledgement before a connection counts as lost. HTTP/2 pings are no way to
/// find that out: an OAP ends connections that send them.
const USER_TIMEOUT: Duration = Duration::from_secs(20);
/// The header that agents send their token in.
const AUTHENTICATION: &str = "authentication";

/// Where we connect, and how.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Host and port. Default `127.0.0.1:11800`, where a gateway of this node listens.
    pub address: String,
    /// `None`, the default: no TLS.
    pub tls: Option<Tls>,
    /// The token that agents send, if one is asked for.
    pub authentication: Option<String>,
    /// For a connection, and for a call with one message. Default 10 s.
    pub deadline: Duration,
    /// For a stream of profiling data. Default 30 s.
    pub stream_deadline: Duration,
}

impl Default for Connection {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:11800".to_owned(),
            tls: None,
            authentication: None,
            deadline: Duration::from_secs(10),
            stream_deadline: Duration::from_secs(30),
        }
    }
}

/// TLS towards the gateway.
#[derive(Clone)]
pub struct Tls {
    /// Asked before each connection, so that changed files are taken without a restart. ALPN has to offer
    /// `h2`.
    pub config: Arc<dyn Fn() -> Arc<ClientConfig> + Send + Sync>,
    /// The name that the certificate is for, where it is not the address's host.
    pub server_name: Option<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Settings that no connection can be made by.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The address is none.
    #[error("address is {address:?}, must be HOST:PORT")]
    Address {
        /// As it was given.
        address: String,
    },
    /// The host is no name that a certificate can bear.
    #[error("address is {address:?}, whose host no certificate can name")]
    ServerName {
        /// As it was given.
        address: String,
    },
    /// The token has characters that no header may have.
    #[error("authentication has characters that a header cannot carry")]
    Token,
}

/// A call that we make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Report,
    KeepAlive,
    Query,
    Collect,
}

impl Method {
    fn path(self) -> PathAndQuery {
        PathAndQuery::from_static(match self {
            Self::Report => "/skywalking.v3.EBPFProcessService/reportProcesses",
            Self::KeepAlive => "/skywalking.v3.EBPFProcessService/keepAlive",
            Self::Query => "/skywalking.v3.EBPFProfilingService/queryTasks",
            Self::Collect => "/skywalking.v3.EBPFProfilingService/collectProfilingData",
        })
    }
}

/// Settings of a connection that one can be made by.
pub struct Route {
    endpoint: Endpoint,
    target: Target,
    sign: Sign,
    deadline: Duration,
    stream_deadline: Duration,
}

impl Route {
    /// Reads the settings.
    ///
    /// # Errors
    /// They are wrong.
    pub fn new(connection: &Connection) -> Result<Self, LinkError> {
        let target = Target::read(connection)?;
        let bad = || LinkError::Address {
            address: connection.address.clone(),
        };
        let scheme = if target.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let origin: Uri = format!("{scheme}://{}", connection.address)
            .parse()
            .map_err(|_| bad())?;
        // TLS is the connector's: tonic would refuse `https` here.
        let endpoint = Endpoint::from_shared(format!("http://{}", connection.address))
            .map_err(|_| bad())?
            .origin(origin)
            .connect_timeout(connection.deadline);
        Ok(Self {
            endpoint,
            target,
            sign: Sign::new(connection)?,
            deadline: connection.deadline,
            stream_deadline: connection.stream_deadline,
        })
    }

    /// A link that connects with its first call. Only within a runtime.
    pub fn link(self) -> Link {
        let address = Arc::clone(&self.target.address);
        let target = self.target;
        let connector = tower::service_fn(move |_: Uri| {
            let target = target.clone();
            async move { target.connect().await.map(TokioIo::new) }
        });
        let channel = self.endpoint.connect_with_connector_lazy(connector);
        let service = ServiceBuilder::new()
            .layer(InterceptorLayer::new(self.sign))
            .service(channel);
        Link {
            grpc: Grpc::new(service),
            address,
            deadline: self.deadline,
            stream_deadline: self.stream_deadline,
            failing: Arc::default(),
        }
    }
}

/// Makes calls. Cheap to clone.
#[derive(Clone)]
pub struct Link {
    grpc: Grpc<InterceptedService<Channel, Sign>>,
    address: Arc<str>,
    deadline: Duration,
    stream_deadline: Duration,
    /// By method, whether its last call failed.
    failing: Arc<[AtomicBool; 4]>,
}

impl Link {
    /// Says which processes there are; the answer has their ids.
    ///
    /// cancel-safe: the call is given up.
    ///
    /// # Errors
    /// The call failed.
    pub async fn report(
        &self,
        report: sw::EbpfProcessReportList,
    ) -> Result<sw::EbpfReportProcessDownstream, Status> {
        self.unary(Method::Report, report).await
    }

    /// Says that processes live.
    ///
    /// cancel-safe: the call is given up.
    ///
    /// # Errors
    /// The call failed.
    pub async fn keep_alive(&self, ping: sw::EbpfProcessPingPkgList) -> Result<(), Status> {
        let answer: Result<sw::Commands, _> = self.unary(Method::KeepAlive, ping).await;
        answer.map(|_| ())
    }

    /// Asks for tasks.
    ///
    /// cancel-safe: the call is given up.
    ///
    /// # Errors
    /// The call failed.
    pub async fn query(
        &self,
        query: sw::EbpfProfilingTaskQuery,
    ) -> Result<Vec<sw::Command>, Status> {
        let answer: Result<sw::Commands, _> = self.unary(Method::Query, query).await;
        answer.map(|commands| commands.commands)
    }

    /// Sends profiling data in a stream of its own.
    ///
    /// # Errors
    /// The call failed; nobody can say how much of it has arrived.
    pub async fn collect(&self, data: Vec<sw::EbpfProfilingData>) -> Result<(), Status> {
        let mut grpc = self.grpc.clone();
        let mut request = Request::new(stream::iter(data));
        request.set_timeout(self.stream_deadline);
        let call = async {
            ready(&mut grpc).await?;
            let codec = ProstCodec::<sw::EbpfProfilingData, sw::Commands>::default();
            let path = Method::Collect.path();
            grpc.client_streaming(request, path, codec).await
        };
        let answer = within(self.stream_deadline, call).await;
        self.note(Method::Collect, answer).map(|_| ())
    }

    async fn unary<Q, A>(&self, method: Method, message: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.grpc.clone();
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        let call = async {
            ready(&mut grpc).await?;
            let codec = ProstCodec::<Q, A>::default();
            grpc.unary(request, method.path(), codec).await
        };
        let answer = within(self.deadline, call).await;
        self.note(method, answer).map(tonic::Response::into_inner)
    }

    /// Says it when things change.
    fn note<T>(&self, method: Method, answer: Result<T, Status>) -> Result<T, Status> {
        let failed = self.failing[method as usize].swap(answer.is_err(), Ordering::Relaxed);
        let path = method.path();
        match &answer {
            Err(status) if !failed => {
                tracing::warn!(address = %self.address, %path, %status, "OAP does not take a call; trying on");
            }
            Ok(_) if failed => {
                tracing::info!(address = %self.address, %path, "OAP takes the call again");
            }
            _ => {}
        }
        answer
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = out.debug_struct("Link");
        out.field("address", &self.address).finish_non_exhaustive()
    }
}

async fn ready(grpc: &mut Grpc<InterceptedService<Channel, Sign>>) -> Result<(), Status> {
    let ready = grpc.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let late = || Status::deadline_exceeded(format!("no answer within {deadline:?}"));
    tokio::time::timeout(deadline, call)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// Adds the token.
#[derive(Clone)]
struct Sign(Option<MetadataValue<Ascii>>);

impl Sign {
    fn new(connection: &Connection) -> Result<Self, LinkError> {
        let token = connection.authentication.as_deref();
        let value = token.map(|token| {
            let mut value: MetadataValue<Ascii> = token.parse().map_err(|_| LinkError::Token)?;
            value.set_sensitive(true);
            Ok(value)
        });
        value.transpose().map(Self)
    }
}

impl tonic::service::Interceptor for Sign {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            let token = token.clone();
            request.metadata_mut().insert(AUTHENTICATION, token);
        }
        Ok(request)
    }
}

/// What a connection is made to.
#[derive(Clone)]
struct Target {
    address: Arc<str>,
    tls: Option<(Tls, ServerName<'static>)>,
}

impl Target {
    fn read(connection: &Connection) -> Result<Self, LinkError> {
        let address = connection.address.as_str();
        let host = address
            .rsplit_once(':')
            .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            .map(|(host, _)| host.trim_start_matches('[').trim_end_matches(']'))
            .ok_or_else(|| LinkError::Address {
                address: address.to_owned(),
            })?;
        let named = connection.tls.clone().map(|tls| {
            let named = tls.server_name.clone().unwrap_or_else(|| host.to_owned());
            let name = ServerName::try_from(named);
            let name = name.map_err(|_| LinkError::ServerName {
                address: address.to_owned(),
            });
            name.map(|name| (tls, name))
        });
        Ok(Self {
            address: Arc::from(address),
            tls: named.transpose()?,
        })
    }

    async fn connect(&self) -> io::Result<Box<dyn Io>> {
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        let Some((tls, name)) = &self.tls else {
            return Ok(Box::new(stream));
        };
        let connector = TlsConnector::from((tls.config)());
        let stream = connector.connect(name.clone(), stream).await?;
        Ok(Box::new(stream))
    }
}

/// A socket, with TLS or without.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(connection: &Connection) -> String {
        match Route::new(connection) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_error_names_the_setting() {
        for (address, tls, told) in [
            (
                "nowhere",
                false,
                "address is \"nowhere\", must be HOST:PORT",
            ),
            (":11800", false, "address is \":11800\", must be HOST:PORT"),
            (
                "host:99999",
                false,
                "address is \"host:99999\", must be HOST:PORT",
            ),
            (
                "ho st:1",
                false,
                "address is \"ho st:1\", must be HOST:PORT",
            ),
            (
                "ho_%st:1",
                true,
                "address is \"ho_%st:1\", whose host no certificate can name",
            ),
        ] {
            let config = || -> Arc<ClientConfig> { unreachable!("nothing is connected") };
            let connection = Connection {
                address: address.to_owned(),
                tls: tls.then(|| Tls {
                    server_name: None,
                    config: Arc::new(config),
                }),
                ..Connection::default()
            };
            assert_eq!(refusal(&connection), told);
        }
        let connection = Connection {
            authentication: Some("two\nlines".to_owned()),
            ..Connection::default()
        };
        let error = refusal(&connection);
        assert_eq!(
            error,
            "authentication has characters that a header cannot carry"
        );
    }
}
