//! Files whose paths were chosen by others: opened without waiting, without side effects on devices, and
//! without leaving the tree that they belong to.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Opens a regular file by a path that the kernel gives (`/proc/PID/map_files/...`).
///
/// # Errors
/// There is none, or it is something else: opening a pipe would wait, a device might act.
pub fn regular(path: &Path) -> io::Result<File> {
    let found = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path)?;
    reopen(&found)
}

/// Opens a regular file below the root directory of a process, whose links lead nowhere else.
///
/// # Errors
/// There is none, the last part of the path is a link, or it is no regular file.
pub fn below(root: &Path, path: &Path) -> io::Result<File> {
    let root = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(root)?;
    let found = rustix::fs::openat2(
        &root,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    reopen(&File::from(found))
}

/// A path to what is open here, whether or not it still has a name.
pub fn path_of(file: &impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

/// From a handle that only names a file to one that reads it: nobody can exchange it in between.
fn reopen(found: &File) -> io::Result<File> {
    if !found.metadata()?.is_file() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(error);
    }
    File::open(path_of(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_pipe_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let kind = io::ErrorKind::InvalidInput;
        assert_eq!(regular(&pipe).unwrap_err().kind(), kind);
        let error = below(dir.path(), Path::new("/pipe")).unwrap_err();
        assert_eq!(error.kind(), kind);
    }

    #[test]
    fn links_do_not_lead_out_of_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("real")).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(outside.join("secret"), "outside").unwrap();
        fs::write(root.join("real/file"), "inside").unwrap();
        symlink(&outside, root.join("out")).unwrap();
        symlink("../outside", root.join("up")).unwrap();
        symlink("/real", root.join("in")).unwrap();
        symlink("/real/file", root.join("last")).unwrap();

        for path in ["/out/secret", "/up/secret", "/../outside/secret"] {
            let error = below(&root, Path::new(path)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}");
        }
        assert!(below(&root, Path::new("/in/file")).is_ok());
        assert!(below(&root, Path::new("/last")).is_err(), "a link itself");
    }
}
