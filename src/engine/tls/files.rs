//! PEM files as they stood at one moment, and what rustls makes of them.

use std::path::{Path, PathBuf};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::{Fault, TlsError, TlsErrors, both, provider};

/// What stood in files, or why they could not be read.
///
/// The content and not the time of change: a configuration is made of exactly what was compared,
/// whatever becomes of the files meanwhile, and neither a replaced symbolic link nor two writes
/// within one tick of the file system's clock go unnoticed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PemFiles(Vec<(PathBuf, Result<Vec<u8>, String>)>);

/// A file with the option that names it.
#[derive(Clone, Copy)]
pub(super) struct Named<'a>(pub(super) &'static str, pub(super) &'a Path);

impl Named<'_> {
    pub(super) fn error(self, fault: Fault) -> TlsError {
        TlsError {
            key: self.0,
            path: self.1.to_owned(),
            fault,
        }
    }

    fn pem_error(self, error: pem::Error, what: &'static str) -> TlsError {
        self.error(match error {
            pem::Error::NoItemsFound => Fault::Empty(what),
            // These would show bytes as numbers.
            pem::Error::MissingSectionEnd { .. } => Fault::Cut,
            pem::Error::IllegalSectionStart { .. } => Fault::BadBegin,
            error => Fault::Pem(error),
        })
    }
}

impl PemFiles {
    /// Reads files.
    pub fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let read = |path: &Path| {
            let content = std::fs::read(path).map_err(|error| error.to_string());
            (path.to_owned(), content)
        };
        Self(paths.into_iter().map(read).collect())
    }

    fn content(&self, file: Named<'_>) -> Result<&[u8], TlsError> {
        let found = self.0.iter().find(|(path, _)| path == file.1);
        match found.map(|(_, content)| content) {
            Some(Ok(content)) => Ok(content),
            Some(Err(error)) => Err(file.error(Fault::Unreadable(error.clone()))),
            None => Err(file.error(Fault::Unreadable("was not read".to_owned()))),
        }
    }

    /// A chain and the key of its first certificate.
    pub(super) fn identity(
        &self,
        chain: Named<'_>,
        key: Named<'_>,
    ) -> Result<CertifiedKey, TlsErrors> {
        let certificates = self.certificates(chain).map_err(TlsErrors::from);
        let private = self.private_key(key).map_err(TlsErrors::from);
        let (certificates, private) = both(certificates, private)?;
        let CryptoProvider { key_provider, .. } = *provider();
        let signer = key_provider
            .load_private_key(private)
            .map_err(|error| key.error(Fault::Unusable(error)))?;
        let identity = CertifiedKey::new(certificates, signer);
        match identity.keys_match() {
            // Some keys do not say to which certificate they belong.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(identity),
            Err(Error::InconsistentKeys(_)) => {
                let chain = chain.1.to_owned();
                Err(key.error(Fault::Mismatch { chain }).into())
            }
            Err(error) => Err(chain.error(Fault::Unusable(error)).into()),
        }
    }

    /// Certificates that are trusted.
    pub(super) fn roots(&self, file: Named<'_>) -> Result<RootCertStore, TlsErrors> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(file)? {
            roots
                .add(certificate)
                .map_err(|error| file.error(Fault::Unusable(error)))?;
        }
        Ok(roots)
    }

    fn certificates(&self, file: Named<'_>) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        const WHAT: &str = "certificate";
        let parsed = CertificateDer::pem_slice_iter(self.content(file)?);
        let certificates: Vec<_> = parsed
            .collect::<Result<_, _>>()
            .map_err(|error| file.pem_error(error, WHAT))?;
        if certificates.is_empty() {
            return Err(file.error(Fault::Empty(WHAT)));
        }
        Ok(certificates)
    }

    fn private_key(&self, file: Named<'_>) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.content(file)?)
            .map_err(|error| file.pem_error(error, "unencrypted private key"))
    }
}
