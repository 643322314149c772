//! Where a profile goes: the old file stays until the new one is there as a whole, and then has the old
//! one's owner and mode.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
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
    Beside::create(&target, None)?;
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
    let beside = Beside::create(target, kept(target).as_ref())?;
    let mut out = BufWriter::with_capacity(1 << 16, &beside.file);
    fill(&mut out)?;
    out.flush()?;
    drop(out);
    beside.file.sync_all()?;
    beside.become_file(target)
}

/// What is replaced, if the new file shall be like it. In a directory that others may write to, such
/// as `/tmp`, a stranger's file may have been laid there to get ours.
fn kept(target: &Path) -> Option<Metadata> {
    let old = fs::symlink_metadata(target).ok()?;
    let directory = fs::metadata(target.parent()?).ok()?;
    let for_everybody = directory.mode() & 0o022 != 0;
    let own = rustix::process::geteuid().as_raw();
    let is_known = [own, directory.uid()].contains(&old.uid());
    (old.is_file() && (is_known || !for_everybody)).then_some(old)
}

/// Gives a file the owner and the mode of another, as far as we may.
fn liken(file: &File, old: &Metadata) {
    let (owner, group) = (Some(old.uid()), Some(old.gid()));
    let has_group = fchown(file, owner, group).is_ok() || fchown(file, None, group).is_ok();
    let mode = Permissions::from_mode(mode(old.mode(), has_group));
    // A file system may have modes of its own.
    drop(file.set_permissions(mode));
}

/// Another group than the old one's may do what everybody may.
fn mode(old: u32, has_group: bool) -> u32 {
    let everybody = old & 0o007;
    let group = if has_group {
        old & 0o070
    } else {
        everybody << 3
    };
    old & 0o700 | group | everybody
}

/// A new file in the directory of another; gone when dropped.
struct Beside {
    path: PathBuf,
    file: File,
}

impl Beside {
    /// Like the old file before anything is in it.
    fn create(target: &Path, old: Option<&Metadata>) -> io::Result<Self> {
        let mode = if old.is_some() { 0o600 } else { 0o666 };
        let beside = Self::create_with(target, mode)?;
        if let Some(old) = old {
            liken(&beside.file, old);
        }
        Ok(beside)
    }

    fn create_with(target: &Path, mode: u32) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let mut attempt = 0;
        loop {
            let own = format!(".{name}.{}-{attempt}", std::process::id());
            let path = target.with_file_name(own);
            // Never through a link that somebody laid there: we may be root and the directory /tmp.
            match options.open(&path) {
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

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_new_file_has_the_mode_of_any_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, plain) = (
            directory.path().join("p.folded"),
            directory.path().join("x"),
        );
        fs::write(&plain, "").unwrap();
        let destination = Destination::new(&path).unwrap();
        destination.save(&samples::shop()).unwrap();
        assert_eq!(mode_of(&path), mode_of(&plain));
    }

    #[test]
    fn a_file_keeps_its_mode_and_nobody_else_reads_the_new_one_before() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.folded");
        fs::write(&path, "old").unwrap();
        for kept in [0o600, 0o640, 0o666] {
            fs::set_permissions(&path, Permissions::from_mode(kept)).unwrap();
            let mut seen = Vec::new();
            replace(&path, |out| {
                out.write_all(b"new")?;
                let names = names(directory.path()).into_iter();
                seen = names
                    .map(|it| mode_of(&directory.path().join(it)))
                    .collect();
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, [kept, kept]);
            assert_eq!(mode_of(&path), kept);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn a_group_that_is_another_may_do_what_everybody_may() {
        assert_eq!(mode(0o100_664, true), 0o664);
        assert_eq!(mode(0o100_664, false), 0o644);
        assert_eq!(mode(0o100_660, false), 0o600);
        assert_eq!(mode(0o106_755, true), 0o755, "no set-user-id");
    }

    const STRANGER: (u32, u32) = (12_345, 12_346);

    /// Owner and group after a file of a stranger's was replaced in a directory of ours with this mode.
    fn owner_after(directory: u32) -> Option<(u32, u32)> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: only root can give files away");
            return None;
        }
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), Permissions::from_mode(directory)).unwrap();
        let path = place.path().join("p.folded");
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::chown(&path, Some(STRANGER.0), Some(STRANGER.1)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let destination = Destination::new(&path).unwrap();
        destination.save(&samples::shop()).unwrap();
        let file = fs::metadata(&path).unwrap();
        Some((file.uid(), file.gid()))
    }

    /// Who has a flame graph from `sudo perigee profile` twice has the second as he had the first.
    #[test]
    fn a_file_keeps_its_owner_where_we_may() {
        if let Some(owner) = owner_after(0o755) {
            assert_eq!(owner, STRANGER);
        }
    }

    #[test]
    fn who_lays_a_file_where_everybody_may_does_not_get_ours() {
        if let Some(owner) = owner_after(0o1777) {
            assert_eq!(owner.0, rustix::process::geteuid().as_raw());
        }
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
