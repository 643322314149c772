//! Refusals of the kernel by the names that people search for.

use std::fmt::{self, Display, Formatter};
use std::io;

/// A system call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {errno}")]
pub struct Failure {
    /// As one would write it, for example `bpf(PROG_LOAD)`.
    pub call: &'static str,
    /// What the kernel answered.
    pub errno: Errno,
}

impl Failure {
    /// The failure of a call; [`Errno::NONE`] if the error is not the kernel's.
    pub fn of(call: &'static str, error: &io::Error) -> Self {
        Failure {
            call,
            errno: Errno::of(error),
        }
    }
}

/// An error number. Displayed by name, `errno 123` where it has none here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// No number of the kernel's.
    pub const NONE: Errno = Errno(0);

    /// The number in an error.
    pub fn of(error: &io::Error) -> Self {
        error.raw_os_error().map_or(Errno::NONE, Errno)
    }

    /// Whether a privilege is missing, rather than the thing itself.
    pub fn is_refusal(self) -> bool {
        matches!(self.0, libc::EPERM | libc::EACCES)
    }
}

impl Display for Errno {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

/// Those that bpf(2), perf_event_open(2), mmap(2) and files of /proc and /sys give.
const NAMES: [(i32, &str); 22] = [
    (libc::EPERM, "EPERM"),
    (libc::ENOENT, "ENOENT"),
    (libc::ESRCH, "ESRCH"),
    (libc::EINTR, "EINTR"),
    (libc::EIO, "EIO"),
    (libc::ENXIO, "ENXIO"),
    (libc::E2BIG, "E2BIG"),
    (libc::EBADF, "EBADF"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::ENOMEM, "ENOMEM"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::ENODEV, "ENODEV"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENFILE, "ENFILE"),
    (libc::EMFILE, "EMFILE"),
    (libc::ENOSPC, "ENOSPC"),
    (libc::ENOSYS, "ENOSYS"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EOVERFLOW, "EOVERFLOW"),
];
