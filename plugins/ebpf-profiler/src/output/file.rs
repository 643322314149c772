//! Where a profile goes: the old file stays until the new one is there as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Error, Format};
use crate::profile::Profile;

/// A file to write a profile to, known to be writable when this was made.
#[derive(Debug)]
pub struct Destination {
    path: PathBuf,
    format: Format,
}

impl Destination {
    /// Takes the format from the path and tries whether a file can be made there, so that a capture does
    /// not run for nothing. Leaves nothing behind and does not touch a file that is there.
    ///
    /// # Errors
    /// The ending names no format, or the directory takes no file.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let format = Format::of(path)?;
        let path = path.to_path_buf();
        match probe(&path) {
            Ok(()) => Ok(Self { path, format }),
            Err(source) => Err(Error::Refused { path, source }),
        }
    }

    /// Writes the profile beside the file and then puts it in the file's place.
    ///
    /// # Errors
    /// The file system refused; what was there before is there still.
    pub fn save(&self, profile: &Profile) -> Result<(), Error> {
        replace(&self.path, |out| super::write(profile, self.format, out)).map_err(|source| {
            Error::Refused {
                path: self.path.clone(),
                source,
            }
        })
    }
}

fn probe(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Beside::create(path).map(drop)
}

fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // A link stays one: its target is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let beside = Beside::create(&target)?;
    let mut out = BufWriter::with_capacity(1 << 16, &beside.file);
    fill(&mut out)?;
    out.flush()?;
    drop(out);
    beside.file.sync_all()?;
    beside.become_file(&target)
}

/// A new file in the directory of another; gone when dropped.
struct Beside {
    path: PathBuf,
    file: File,
}

impl Beside {
    fn create(target: &Path) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let mut attempt = 0;
        loop {
            let own = format!(".{name}.{}-{attempt}", std::process::id());
            let path = target.with_file_name(own);
            // Never through a link that somebody laid there: we may be root and the directory /tmp.
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { path, file }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn become_file(self, target: &Path) -> io::Result<()> {
        // Dropping removes what is at our path: after the rename, nothing.
        fs::rename(&self.path, target)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_profile_replaces_the_file_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.folded");
        fs::write(&path, "old").unwrap();
        let destination = Destination::new(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(directory.path()), ["p.folded"]);
        destination.save(&samples::shop()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("shop;_start;main;"), "{text}");
        assert_eq!(names(directory.path()), ["p.folded"]);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.folded");
        fs::write(&path, "old").unwrap();
        let failed = replace(&path, |out| {
            out.write_all(&[b'x'; 1 << 17])?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(directory.path()), ["p.folded"]);
    }

    #[test]
    fn a_link_stays_a_link_to_the_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real");
        let path = directory.path().join("link.folded");
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &path).unwrap();
        let destination = Destination::new(&path).unwrap();
        destination.save(&samples::shop()).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
        assert_ne!(fs::read_to_string(&real).unwrap(), "old");
    }

    #[test]
    fn a_place_that_takes_no_file_is_refused_before_the_capture() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/p.svg");
        let error = Destination::new(&missing).unwrap_err();
        let expected = format!("{}: cannot be written", missing.display());
        assert_eq!(error.to_string(), expected);
        let taken = directory.path().join("d.svg");
        fs::create_dir(&taken).unwrap();
        let error = Destination::new(&taken).unwrap_err();
        assert!(matches!(error, Error::Refused { source, .. }
            if source.kind() == io::ErrorKind::IsADirectory));
    }

    #[test]
    fn a_file_that_lies_in_the_way_is_not_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "keep").unwrap();
        let own = format!(".p.folded.{}-0", std::process::id());
        std::os::unix::fs::symlink(&victim, directory.path().join(own)).unwrap();
        let path = directory.path().join("p.folded");
        let destination = Destination::new(&path).unwrap();
        destination.save(&samples::shop()).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "keep");
        assert_ne!(fs::read_to_string(&path).unwrap(), "keep");
    }
}
