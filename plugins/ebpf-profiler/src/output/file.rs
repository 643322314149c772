//! Where a profile goes: the old file stays until the new one is there as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{Error, Format};
use crate::profile::Profile;

/// A file to write a profile to, known to be writable when this was made.
#[derive(Debug)]
pub struct Destination {
    /// As it was asked for.
    path: PathBuf,
    /// What is replaced: a link stays one.
    target: PathBuf,
    format: Format,
}

impl Destination {
    /// Takes the format from the path and tries whether a file can be made there, at the end of all links,
    /// so that a capture does not run for nothing. Leaves nothing behind and does not touch a file that is
    /// there.
    ///
    /// # Errors
    /// The ending names no format, the directory takes no file, or something is there that is no file.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let format = Format::of(path)?;
        let path = path.to_path_buf();
        match probe(&path) {
            Ok(target) => Ok(Self {
                path,
                target,
                format,
            }),
            Err(source) => Err(Error::Refused { path, source }),
        }
    }

    /// Writes the profile beside the file and then puts it in the file's place.
    ///
    /// # Errors
    /// The file system refused; what was there before is there still.
    pub fn save(&self, profile: &Profile) -> Result<(), Error> {
        replace(&self.target, |out| super::write(profile, self.format, out)).map_err(|source| {
            Error::Refused {
                path: self.path.clone(),
                source,
            }
        })
    }
}

/// Where the file will be.
fn probe(path: &Path) -> io::Result<PathBuf> {
    let target = match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => new(path)?,
        target => target?,
    };
    refuse_what_is_no_file(&target)?;
    Beside::create(&target)?;
    Ok(target)
}

/// The place of a file that is not there yet, whatever the working directory will be.
fn new(path: &Path) -> io::Result<PathBuf> {
    let directory = path.parent().filter(|it| !it.as_os_str().is_empty());
    let directory = fs::canonicalize(directory.unwrap_or(Path::new(".")))?;
    Ok(directory.join(path.file_name().unwrap_or_default()))
}

/// A link without a target is replaced itself, and a reader of a pipe would wait for ever.
fn refuse_what_is_no_file(target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(there) if !there.is_file() && !there.is_symlink() => {
            Err(io::Error::other("what is there is no regular file"))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn replace(target: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    refuse_what_is_no_file(target)?;
    let beside = Beside::create(target)?;
    let mut out = BufWriter::with_capacity(1 << 16, &beside.file);
    fill(&mut out)?;
    out.flush()?;
    drop(out);
    beside.file.sync_all()?;
    beside.become_file(target)
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
    fn a_link_whose_target_cannot_be_replaced_is_refused_before_the_capture() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("link.folded");
        // Nobody can make a file beside it, not even root.
        std::os::unix::fs::symlink("/proc/self/comm", &path).unwrap();
        assert!(Destination::new(&path).is_err());
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe.folded");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        let error = Destination::new(&path).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        assert!(!kind.is_file());
        assert_eq!(names(directory.path()), ["pipe.folded"]);
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
