//! Certificates and keys of both sides, which are read again when their files change.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use rustls::{ClientConfig, ServerConfig};
use tracing::{error, info};

use super::StartError;
use crate::config::settings::{ClientTls, ServerTls, Settings};
use crate::engine::tls::{Current, Side, TlsErrors, Watch};
use crate::telemetry::books::{Books, Reload, TlsSide};

/// Between two looks at the files. Kubernetes needs a minute to bring a changed secret, others
/// write where we look: a second is soon, and reading some kilobytes costs nothing.
const PERIOD: Duration = Duration::from_secs(1);

/// What the settings name, loaded.
#[derive(Default)]
pub(super) struct Certificates {
    server: Option<Watch<ServerTls>>,
    client: Option<Watch<ClientTls>>,
}

/// Looks at the files until dropped.
pub(super) struct Watcher {
    _ends_with_us: Sender<()>,
}

impl Certificates {
    pub(super) fn load(settings: &Settings) -> Result<Self, StartError> {
        let server = settings.server.tls.clone().map(Watch::load).transpose();
        let client = settings.client.tls.clone().map(Watch::load).transpose();
        Ok(Self {
            server: server?,
            client: client?,
        })
    }

    /// Towards agents; `None`: plain text.
    pub(super) fn server(&self) -> Option<Current<ServerConfig>> {
        self.server.as_ref().map(Watch::current)
    }

    /// Towards the OAP; `None`: plain text.
    pub(super) fn client(&self) -> Option<Current<ClientConfig>> {
        self.client.as_ref().map(Watch::current)
    }

    /// Starts looking, on a thread of its own: a file may be on a disk that does not answer.
    /// `None`: there is nothing to look at.
    pub(super) fn watch(self, books: &Arc<Books>) -> io::Result<Option<Watcher>> {
        if self.server.is_none() && self.client.is_none() {
            return Ok(None);
        }
        let (ends_with_us, dropped) = crossbeam_channel::bounded(0);
        let books = Arc::clone(books);
        std::thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(move || self.look(&books, &dropped))?;
        Ok(Some(Watcher {
            _ends_with_us: ends_with_us,
        }))
    }

    fn look(mut self, books: &Books, dropped: &Receiver<()>) {
        while dropped.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
            tell(TlsSide::Server, poll(&mut self.server), books);
            tell(TlsSide::Client, poll(&mut self.client), books);
        }
    }
}

fn poll<S: Side>(watch: &mut Option<Watch<S>>) -> Option<Result<(), TlsErrors>> {
    watch.as_mut()?.poll()
}

fn tell(side: TlsSide, change: Option<Result<(), TlsErrors>>, books: &Books) {
    let result = match change {
        None => return,
        Some(Ok(())) => {
            info!(
                side = side.label(),
                "certificates reloaded, new connections use them"
            );
            Reload::Taken
        }
        Some(Err(errors)) => {
            for error in errors.iter() {
                error!(
                    side = side.label(),
                    "changed certificates not taken, the old ones stay in use: {error}"
                );
            }
            Reload::Refused
        }
    };
    books.certificates.reloaded(side, result);
}
