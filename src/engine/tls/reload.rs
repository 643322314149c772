//! The configuration that is in use, and when another takes its place.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::{PemFiles, Side, TlsErrors};

/// How often files that cannot be used are looked at before that is worth a word. A certificate and
/// its key are written one after the other, and do not match in between.
const PATIENCE: u32 = 3;

/// The configuration for new connections. Cheap to clone; clones change together.
pub struct Current<C>(Arc<ArcSwap<C>>);

impl<C> Clone for Current<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Current<C> {
    /// What a connection made now should use.
    pub fn load(&self) -> Arc<C> {
        self.0.load_full()
    }
}

/// Keeps a configuration up to date with its files. Does I/O: not for a worker's thread.
pub struct Watch<S: Side> {
    side: S,
    current: Current<S::Config>,
    files: PemFiles,
    /// How often the files have been seen as they are.
    seen: u32,
    /// Nothing is left to be done about them.
    judged: bool,
}

impl<S: Side> Watch<S> {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn load(side: S) -> Result<Self, TlsErrors> {
        let files = PemFiles::read(side.files());
        let config = side.configure(&files)?;
        Ok(Self {
            side,
            current: Current(Arc::new(ArcSwap::from_pointee(config))),
            files,
            seen: 1,
            judged: true,
        })
    }

    /// What is in use.
    pub fn current(&self) -> Current<S::Config> {
        self.current.clone()
    }

    /// Looks at the files. Says once for every change whether it has been taken; until that, and
    /// after an error, the old configuration stays in use.
    ///
    /// A change is taken when it has been seen twice: a file may be half written, or one of two
    /// files not yet replaced.
    pub fn poll(&mut self) -> Option<Result<(), TlsErrors>> {
        let files = PemFiles::read(self.side.files());
        if files != self.files {
            self.files = files;
            self.seen = 1;
            self.judged = false;
            return None;
        }
        if self.judged {
            return None;
        }
        self.seen += 1;
        let told = match self.side.configure(&self.files) {
            Ok(config) => {
                self.current.0.store(Arc::new(config));
                Ok(())
            }
            Err(_) if self.seen <= PATIENCE => return None,
            Err(errors) => Err(errors),
        };
        self.judged = true;
        Some(told)
    }
}

#[cfg(test)]
mod tests;
