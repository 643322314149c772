//! What the capture process reaches the gateway by: as any client does.

use std::sync::Arc;
use std::time::Duration;

use perigee_ebpf_profiler::oap::link;
use rustls::ClientConfig;
use tracing::{error, info};

use crate::config::settings::capture::{Gateway, GatewayTls};
use crate::engine::tls::{Current, TlsErrors, Watch};

/// Between two looks at certificates, as the gateway's.
const PERIOD: Duration = Duration::from_secs(1);

/// Where to, and with what.
#[derive(Clone)]
pub(super) struct Connection {
    /// `host:port`.
    pub(super) address: String,
    /// `None`: plain text.
    pub(super) tls: Option<Tls>,
    /// Sent as `authentication` with every call.
    pub(super) token: Option<String>,
}

/// TLS towards the gateway.
#[derive(Clone)]
pub(super) struct Tls {
    /// To be asked for each new connection.
    pub(super) config: Current<ClientConfig>,
    /// Name that the certificate is for.
    pub(super) server_name: String,
}

impl Connection {
    /// Reads the files, and goes on looking at them as long as the runtime lives.
    pub(super) fn new(gateway: &Gateway) -> Result<Self, TlsErrors> {
        let tls = gateway.tls.as_ref().map(|tls| {
            let watch = Watch::load(tls.clone())?;
            let config = watch.current();
            tokio::spawn(follow(watch));
            Ok::<_, TlsErrors>(Tls {
                config,
                server_name: tls.server_name.clone(),
            })
        });
        Ok(Self {
            address: gateway.address.to_string(),
            tls: tls.transpose()?,
            token: gateway.authentication.clone(),
        })
    }
}

impl Connection {
    /// As the agent takes it.
    pub(super) fn to_settings(&self) -> link::Connection {
        link::Connection {
            address: self.address.clone(),
            tls: self.tls.clone().map(|tls| link::Tls {
                config: Arc::new(move || tls.config.load()),
                server_name: Some(tls.server_name),
            }),
            authentication: self.token.clone(),
            ..link::Connection::default()
        }
    }
}

/// On threads for what may block: a file may be on a disk that does not answer.
async fn follow(mut watch: Watch<GatewayTls>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let polled = tokio::task::spawn_blocking(move || {
            let change = watch.poll();
            (watch, change)
        });
        let Ok((same, change)) = polled.await else {
            return;
        };
        watch = same;
        match change {
            None => {}
            Some(Ok(())) => info!("certificates reloaded, new connections use them"),
            Some(Err(errors)) => {
                error!("changed certificates not taken, the old ones stay in use: {errors}");
            }
        }
    }
}
