//! A ring between the kernel and us: the kernel moves the head, we move the tail.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::record::{self, Record};
use super::{Clock, WATERMARK, Whom};

/// Where `data_head` and `data_tail` lie in `struct perf_event_mmap_page`.
const DATA_HEAD: usize = 1024;
const DATA_TAIL: usize = 1032;
/// Bytes of [`Header`].
const HEADER: usize = 8;

/// Memory that the kernel writes records to, for one CPU. It ends, and its event with it, when dropped.
#[derive(Debug)]
pub struct Ring {
    /// One page of bookkeeping, then `data` bytes, a power of two.
    memory: NonNull<u8>,
    page: usize,
    data: usize,
    event: OwnedFd,
    /// Whether samples hold a copy of the stack.
    stack: bool,
    /// The event will not write again, and would wake us for ever.
    ended: bool,
    /// The record at hand: in the ring it may go round the end.
    record: Vec<u8>,
}

// SAFETY: the memory is the ring's own, wherever the ring is; it is read through `&mut self` only.
unsafe impl Send for Ring {}

impl Ring {
    /// A ring with a clock of its own, of a power of two of pages.
    ///
    /// # Errors
    /// As [`Clock::open`]; `EPERM` if more memory than `kernel.perf_event_mlock_kb` is asked for
    /// without privilege: try fewer pages; `EINVAL` for another number of pages or no CPU.
    pub fn open(clock: &Clock, pages: usize) -> io::Result<Self> {
        let mut attr = clock.attr();
        attr.flags |= WATERMARK;
        attr.wakeup_watermark = watermark(pages);
        let thread = match clock.whom {
            Whom::Everyone => None,
            Whom::Thread(tid) | Whom::ThreadAndItsThreads(tid) => Some(tid),
        };
        Self::map(
            super::perf_event_open(&attr, thread, clock.cpu)?,
            pages,
            clock.stack > 0,
        )
    }

    /// A ring for the clocks that are made to [`write_to`](Self::write_to) it.
    ///
    /// # Errors
    /// As [`Ring::open`].
    pub fn shared(cpu: u32, pages: usize, stack: bool) -> io::Result<Self> {
        Self::map(super::open_silent(cpu, watermark(pages))?, pages, stack)
    }

    fn map(event: OwnedFd, pages: usize, stack: bool) -> io::Result<Self> {
        let page = super::page_size();
        let data = pages.checked_mul(page).filter(|_| pages.is_power_of_two());
        let data = data.ok_or(io::ErrorKind::InvalidInput)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let (fd, shared) = (event.as_raw_fd(), libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let memory =
            unsafe { libc::mmap(std::ptr::null_mut(), page + data, protection, shared, fd, 0) };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::Unsupported)?;
        Ok(Ring {
            memory,
            page,
            data,
            event,
            stack,
            ended: false,
            record: Vec::new(),
        })
    }

    /// Sends a clock's records here. Both must be of the same CPU, and the clock must copy stacks if
    /// and only if the ring was made for that.
    ///
    /// # Errors
    /// `EINVAL`: the CPUs differ.
    pub fn write_to(&self, clock: BorrowedFd<'_>) -> io::Result<()> {
        super::redirect(clock, self.event.as_fd())
    }

    /// The event that the ring belongs to.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.page + self.data
    }

    /// When the next record was written, by the monotonic clock; nothing in an empty ring.
    pub fn next_time(&mut self) -> Option<u64> {
        let (tail, Header { kind, length, .. }) = self.next_header()?;
        let body = length.saturating_sub(HEADER);
        let at = record::time_at(kind, body).filter(|at| at + 8 <= body);
        let time = at.and_then(|at| {
            self.fetch(tail + (HEADER + at) as u64, 8);
            self.record.first_chunk().copied()
        });
        // What has none shall not be waited for.
        Some(time.map_or(0, u64::from_ne_bytes))
    }

    /// Reads the next record.
    pub fn next_record(&mut self) -> Option<Record<'_>> {
        let (
            tail,
            Header {
                kind,
                flags,
                length,
            },
        ) = self.next_header()?;
        if length < HEADER {
            // Not a record. What follows cannot be found either.
            let head = self.counter(DATA_HEAD).load(Ordering::Acquire);
            self.counter(DATA_TAIL).store(head, Ordering::Release);
            return Some(Record::Other(kind));
        }
        self.fetch(tail + HEADER as u64, length - HEADER);
        // At once: walking a stack takes long enough for the next sample to need the room.
        self.counter(DATA_TAIL)
            .store(tail + length as u64, Ordering::Release);
        Some(record::parse(kind, flags, &self.record, self.stack))
    }

    /// Where the next record lies, and its header; with a length of 0 if that cannot be.
    fn next_header(&mut self) -> Option<(u64, Header)> {
        let head = self.counter(DATA_HEAD).load(Ordering::Acquire);
        let tail = self.counter(DATA_TAIL).load(Ordering::Relaxed);
        if tail >= head {
            return None;
        }
        self.fetch(tail, HEADER);
        let mut header = header(&self.record);
        if header.length < HEADER || header.length as u64 > head - tail {
            header.length = 0;
        }
        Some((tail, header))
    }

    fn fetch(&mut self, position: u64, length: usize) {
        let mut record = std::mem::take(&mut self.record);
        self.copy(position, length, &mut record);
        self.record = record;
    }

    fn counter(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: the offset lies in the first page of our mapping.
        let counter = unsafe { self.memory.add(offset) };
        // SAFETY: aligned to 8 in a page, mapped as long as `self`; all access to it is atomic.
        unsafe { counter.cast::<AtomicU64>().as_ref() }
    }

    /// Copies bytes from a position that counts from the ring's beginning and never goes back.
    fn copy(&self, position: u64, length: usize, into: &mut Vec<u8>) {
        let start = (position & (self.data as u64 - 1)) as usize;
        let first = length.min(self.data - start);
        into.clear();
        into.reserve(length);
        for (offset, count) in [(start, first), (0, length - first)] {
            // SAFETY: offset + count <= data, all of which is mapped after the first page.
            let from = unsafe { self.memory.add(self.page + offset) };
            // SAFETY: between tail and head the kernel does not write, and nobody else does.
            let bytes = unsafe { std::slice::from_raw_parts(from.as_ptr(), count) };
            into.extend_from_slice(bytes);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: this is the mapping of `map`, and no borrow of it outlives `self`.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.bytes()) };
    }
}

/// Half of a ring: a wake-up a sample would cost more than the sample.
fn watermark(pages: usize) -> u32 {
    u32::try_from(pages.saturating_mul(super::page_size()) / 2).unwrap_or(u32::MAX)
}

/// `struct perf_event_header`.
struct Header {
    kind: u32,
    flags: u16,
    length: usize,
}

fn header(bytes: &[u8]) -> Header {
    let [a, b, c, d, e, f, g, h] = bytes.first_chunk().copied().unwrap_or([0; HEADER]);
    Header {
        kind: u32::from_ne_bytes([a, b, c, d]),
        flags: u16::from_ne_bytes([e, f]),
        length: usize::from(u16::from_ne_bytes([g, h])),
    }
}

/// Waits until a ring is half full, at most so long. A signal ends it too.
///
/// # Errors
/// The kernel has no memory for it.
pub fn wait(rings: &mut [Ring], timeout: Duration) -> io::Result<()> {
    let of = |ring: &Ring| libc::pollfd {
        // Negative ones are passed over.
        fd: if ring.ended {
            -1
        } else {
            ring.event.as_raw_fd()
        },
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polled: Vec<_> = rings.iter().map(of).collect();
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: the pointer and the count are of one slice that outlives the call.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, millis) };
    if ready < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::Interrupted {
            Ok(())
        } else {
            Err(error)
        };
    }
    for (ring, polled) in rings.iter_mut().zip(&polled) {
        ring.ended |= polled.revents & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) != 0;
    }
    Ok(())
}
