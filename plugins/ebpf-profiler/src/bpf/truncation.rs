//! Outliving files that are cut short while we have them mapped.
//!
//! Reading a page beyond a file's new end raises SIGBUS, which ends a process. Whoever runs here may have his
//! code mapped from a file of his own, so none of them shall be able to end us that way: the page becomes one
//! of zeros, which readers of ELF files take for what it is, nothing they know.
//!
//! # Decisions
//! - A handler for the whole process, not copies of what we read: blazesym maps files by itself, and the tables
//!   of a big program would count as our memory.
//! - The page can only be read. Whatever else meets a SIGBUS ends as before, by one signal or the next.

use std::ffi::c_void;
use std::io;
use std::ptr::null_mut;
use std::sync::OnceLock;

/// What the handler needs.
struct Before {
    /// What was to be done before us.
    action: libc::sigaction,
    page: usize,
}

static BEFORE: OnceLock<Before> = OnceLock::new();

/// From now on reading what a file no longer has yields zeros, in this whole process.
pub fn outlive_truncated_files() {
    BEFORE.get_or_init(|| {
        let action = replace_action().unwrap_or_else(|error| {
            tracing::warn!(%error, "capture: a file that is cut short while it is read will end us");
            default_action()
        });
        let page = rustix::param::page_size();
        Before { action, page }
    });
}

fn replace_action() -> io::Result<libc::sigaction> {
    let (mut own, mut former) = (default_action(), default_action());
    own.sa_sigaction = on_bus_error as *const () as usize;
    own.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: both are whole, and the handler does nothing that a handler may not do.
    match unsafe { libc::sigaction(libc::SIGBUS, &raw const own, &raw mut former) } {
        0 => Ok(former),
        _ => Err(io::Error::last_os_error()),
    }
}

fn default_action() -> libc::sigaction {
    // SAFETY: zeros are a valid value of each field: SIG_DFL, no flags, no signal masked.
    unsafe { std::mem::zeroed() }
}

/// When this returns the access is tried again.
extern "C" fn on_bus_error(signal: i32, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a whole `siginfo_t`, of a fault if the code says so.
    let beyond_end = unsafe { ((*info).si_code == libc::BUS_ADRERR).then(|| (*info).si_addr()) };
    let before = BEFORE.get();
    if let (Some(at), Some(before)) = (beyond_end, before)
        && put_zeros(at, before.page)
    {
        return;
    }
    let action = before.map_or_else(default_action, |before| before.action);
    // SAFETY: what the kernel gave us, or the default. A fault comes again by itself; what somebody has sent does not.
    unsafe {
        libc::sigaction(signal, &raw const action, null_mut());
        if (*info).si_code <= 0 {
            libc::raise(signal);
        }
    }
}

/// Puts zeros in place of the page at an address.
fn put_zeros(at: *mut c_void, size: usize) -> bool {
    let page = at.map_addr(|at| at & !(size - 1));
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
    // Whatever was interrupted may be about to look at it.
    // SAFETY: `errno` is the thread's own.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the page cannot be read by anyone, so nobody has a value there. By system call, because `mmap`
    // is not among the functions that a handler may call.
    let put = unsafe { libc::syscall(libc::SYS_mmap, page, size, libc::PROT_READ, flags, -1, 0) };
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    put == page.addr() as libc::c_long
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;

    use crate::bpf::file::MappedFile;

    fn page() -> usize {
        rustix::param::page_size()
    }

    fn file_of_ones(pages: usize) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![1; pages * page()], 0).unwrap();
        file
    }

    #[test]
    fn a_file_that_is_cut_short_reads_as_zeros() {
        let file = file_of_ones(3);
        let mapped = MappedFile::open(&file).unwrap();
        file.set_len(page() as u64 + 5).unwrap();
        assert_eq!((mapped[page() + 4], mapped[page() + 5]), (1, 0));
        assert!(mapped[2 * page()..].iter().all(|byte| *byte == 0));
        // The mapping is a whole one still.
        drop(mapped);
        let whole = MappedFile::open(&file_of_ones(1)).unwrap();
        assert!(whole.iter().all(|byte| *byte == 1));
    }

    #[test]
    fn the_calls_around_a_fault_keep_their_error() {
        let file = file_of_ones(2);
        let mapped = MappedFile::open(&file).unwrap();
        file.set_len(0).unwrap();
        std::fs::read("/nonexistent").unwrap_err();
        assert_eq!(mapped[page()], 0);
        assert_eq!(
            std::io::Error::last_os_error().kind(),
            std::io::ErrorKind::NotFound
        );
    }
}
