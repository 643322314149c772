//! TLS on both sides, from PEM files.
//!
//! [`Watch`] loads the files of one side and loads them again when they change. Who makes
//! connections holds a [`Current`] and asks it for each new one; what is open stays as it is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ConfigBuilder, ConfigSide, RootCertStore, ServerConfig};
use rustls::{WantsVerifier, WantsVersions};

use crate::config::settings::capture::{Capture, GatewayTls};
use crate::config::settings::{ClientTls, ServerTls, Settings};

mod accept_any;
mod files;
mod reload;

pub use files::PemFiles;
pub use reload::{Current, Watch};

use accept_any::AcceptAny;
use files::Named;

const ALPN: &[u8] = b"h2";

/// What is wrong with one file.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {}: {fault}", path.display())]
pub struct TlsError {
    /// The option that names the file.
    pub key: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// It is half a file.
    #[error("ends inside a section")]
    Cut,
    /// It is not PEM.
    #[error("has a line that looks like the begin of a section and is none")]
    BadBegin,
    /// It is not PEM in another way.
    #[error("{0}")]
    Pem(rustls::pki_types::pem::Error),
    /// It does not have what is needed.
    #[error("holds no {0}")]
    Empty(&'static str),
    /// A certificate or a key that TLS cannot use.
    #[error("{0}")]
    Unusable(rustls::Error),
    /// A key that belongs to another certificate.
    #[error("is not the key of the certificate in {}", chain.display())]
    Mismatch {
        /// The certificate's file.
        chain: PathBuf,
    },
    /// Roots by which no client can be verified.
    #[error("{0}")]
    Verifier(VerifierBuilderError),
}

/// Everything that is wrong with the files of one side.
#[derive(Debug)]
pub struct TlsErrors(Vec<TlsError>);

/// Everything that is wrong with the files that the settings name.
pub fn check(settings: &Settings) -> Vec<TlsError> {
    let server = settings.server.tls.as_ref().and_then(errors);
    let client = settings.client.tls.as_ref().and_then(errors);
    let capture = Some(&settings.capture).filter(|capture| capture.enabled);
    [server, client, capture.and_then(gateway_errors)]
        .into_iter()
        .flatten()
        .flat_map(|TlsErrors(errors)| errors)
        .collect()
}

/// Everything that is wrong with the files that `perigee capture` reads.
pub fn check_capture(capture: &Capture) -> Vec<TlsError> {
    gateway_errors(capture).map_or_else(Vec::new, |TlsErrors(errors)| errors)
}

fn gateway_errors(capture: &Capture) -> Option<TlsErrors> {
    capture.gateway.tls.as_ref().and_then(errors)
}

fn errors<S: Side>(side: &S) -> Option<TlsErrors> {
    side.configure(&PemFiles::read(side.files())).err()
}

impl TlsErrors {
    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &TlsError> {
        self.0.iter()
    }
}

impl From<TlsError> for TlsErrors {
    fn from(error: TlsError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for TlsErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, error) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(out, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TlsErrors {}

/// The TLS settings of one side, which name files.
pub trait Side: Send {
    /// What rustls makes connections with.
    type Config: Send + Sync;

    /// The files that are read.
    fn files(&self) -> Vec<&Path>;

    /// Makes a configuration of what stands in the files.
    ///
    /// # Errors
    /// The files cannot be used.
    fn configure(&self, files: &PemFiles) -> Result<Self::Config, TlsErrors>;
}

impl Side for ServerTls {
    type Config = ServerConfig;

    fn files(&self) -> Vec<&Path> {
        let roots = self.client_ca.as_deref();
        [&*self.chain, &*self.key]
            .into_iter()
            .chain(roots)
            .collect()
    }

    fn configure(&self, files: &PemFiles) -> Result<ServerConfig, TlsErrors> {
        let identity = files.identity(
            Named("sharing.servers[0].tls_cert_file", &self.chain),
            Named("sharing.servers[0].tls_key_file", &self.key),
        );
        let verifier = match &self.client_ca {
            Some(path) => {
                client_verifier(files, Named("sharing.servers[0].tls_client_ca_file", path))
            }
            None => Ok(WebPkiClientVerifier::no_client_auth()),
        };
        let (identity, verifier) = both(identity, verifier)?;
        let mut config = builder(ServerConfig::builder_with_provider(provider()))
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

impl Side for ClientTls {
    type Config = ClientConfig;

    fn files(&self) -> Vec<&Path> {
        let roots = self.ca.as_deref().filter(|_| !self.insecure_skip_verify);
        let identity = self.identity.iter();
        let identity = identity.flat_map(|(chain, key)| [&**chain, &**key]);
        roots.into_iter().chain(identity).collect()
    }

    fn configure(&self, files: &PemFiles) -> Result<ClientConfig, TlsErrors> {
        let keys = ClientKeys {
            roots: "sharing.clients[0].ca_pem_path",
            chain: "sharing.clients[0].client_pem_path",
            key: "sharing.clients[0].client_key_path",
        };
        self.config(&keys, files)
    }
}

impl Side for GatewayTls {
    type Config = ClientConfig;

    fn files(&self) -> Vec<&Path> {
        self.files.files()
    }

    fn configure(&self, files: &PemFiles) -> Result<ClientConfig, TlsErrors> {
        let keys = ClientKeys {
            roots: "capture.gateway.ca_pem_path",
            chain: "capture.gateway.client_pem_path",
            key: "capture.gateway.client_key_path",
        };
        self.files.config(&keys, files)
    }
}

/// Options that name a client's files.
struct ClientKeys {
    roots: &'static str,
    chain: &'static str,
    key: &'static str,
}

impl ClientTls {
    fn config(&self, keys: &ClientKeys, files: &PemFiles) -> Result<ClientConfig, TlsErrors> {
        let roots = match &self.ca {
            _ if self.insecure_skip_verify => Ok(None),
            Some(path) => files.roots(Named(keys.roots, path)).map(Some),
            None => Ok(Some(system_roots())),
        };
        let identity = match &self.identity {
            Some((chain, key)) => files
                .identity(Named(keys.chain, chain), Named(keys.key, key))
                .map(Some),
            None => Ok(None),
        };
        let (roots, identity) = both(roots, identity)?;
        let builder = builder(ClientConfig::builder_with_provider(provider()));
        let builder = match roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAny(provider()))),
        };
        let mut config = match identity {
            Some(identity) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

#[expect(
    clippy::expect_used,
    reason = "the provider is always ring's, which has suites for both versions"
)]
fn builder<S: ConfigSide>(
    builder: ConfigBuilder<S, WantsVersions>,
) -> ConfigBuilder<S, WantsVerifier> {
    builder
        .with_safe_default_protocol_versions()
        .expect("suites for TLS 1.2 and 1.3")
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn client_verifier(
    files: &PemFiles,
    file: Named<'_>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsErrors> {
    let roots = Arc::new(files.roots(file)?);
    WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| file.error(Fault::Verifier(error)).into())
}

/// Two results, or the errors of both.
fn both<A, B>(
    left: Result<A, TlsErrors>,
    right: Result<B, TlsErrors>,
) -> Result<(A, B), TlsErrors> {
    match (left, right) {
        (Ok(left), Ok(right)) => Ok((left, right)),
        (Err(TlsErrors(mut left)), Err(TlsErrors(right))) => {
            left.extend(right);
            Err(TlsErrors(left))
        }
        (Err(errors), _) | (_, Err(errors)) => Err(errors),
    }
}
