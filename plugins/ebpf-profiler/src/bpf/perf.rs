//! Perf events of the kernel's software CPU clock: a sample each time a CPU has run for a period.
//!
//! A BPF program hangs on [`open_cpu_clock`]; without BPF, samples come through a [`Ring`]. Numbers and
//! layouts are those of `include/uapi/linux/perf_event.h`.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

mod record;
mod ring;

pub use record::{Change, How, Record, Registers, Sample};
pub use ring::{Ring, wait};

const PERF_TYPE_SOFTWARE: u32 = 1;
const PERF_COUNT_SW_CPU_CLOCK: u64 = 0;
const PERF_COUNT_SW_DUMMY: u64 = 9;

const PERF_SAMPLE_TID: u64 = 1 << 1;
const PERF_SAMPLE_TIME: u64 = 1 << 2;
const PERF_SAMPLE_CALLCHAIN: u64 = 1 << 5;
const PERF_SAMPLE_REGS_USER: u64 = 1 << 12;
const PERF_SAMPLE_STACK_USER: u64 = 1 << 13;

const DISABLED: u64 = 1;
const INHERIT: u64 = 1 << 1;
const EXCLUDE_KERNEL: u64 = 1 << 5;
const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
const EXCLUDE_IDLE: u64 = 1 << 7;
const COMM: u64 = 1 << 9;
const TASK: u64 = 1 << 13;
const WATERMARK: u64 = 1 << 14;
const SAMPLE_ID_ALL: u64 = 1 << 18;
const EXCLUDE_CALLCHAIN_KERNEL: u64 = 1 << 21;
const EXCLUDE_CALLCHAIN_USER: u64 = 1 << 22;
const COMM_EXEC: u64 = 1 << 24;
const USE_CLOCKID: u64 = 1 << 25;
/// Threads that a thread starts are followed, processes that it forks are not. Linux 5.13.
const INHERIT_THREAD: u64 = 1 << 35;

const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
/// `_IO('$', ...)` and `_IOW('$', 4, u64)`.
const PERF_EVENT_IOC_PERIOD: libc::Ioctl = 0x4008_2404;
const PERF_EVENT_IOC_SET_OUTPUT: libc::Ioctl = 0x2405;
const PERF_EVENT_IOC_SET_BPF: libc::Ioctl = 0x4004_2408;

/// `struct perf_event_attr` as of `PERF_ATTR_SIZE_VER5` (Linux 4.1): what newer kernels added is zero.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_watermark: u32,
    bp_type: u32,
    config1: u64,
    config2: u64,
    branch_sample_type: u64,
    sample_regs_user: u64,
    sample_stack_user: u32,
    clockid: i32,
    sample_regs_intr: u64,
    aux_watermark: u32,
    sample_max_stack: u16,
    reserved: u16,
}
const _: () = assert!(size_of::<Attr>() == 112);

/// Whose CPU time makes the clock run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Everybody's but the idle task's.
    Everyone,
    /// A thread's.
    Thread(u32),
    /// A thread's and that of the threads it will start. Needs Linux 5.13; `EINVAL` before.
    ThreadAndItsThreads(u32),
}

/// What is sampled and what a sample holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Whose time.
    pub whom: Whom,
    /// On which CPU; `None`: wherever the thread runs. One of `whom` and `cpu` must narrow it down.
    pub cpu: Option<u32>,
    /// Time between two samples. The kernel takes 10 us for what is shorter.
    pub period: Duration,
    /// Whether the kernel is sampled and walked too.
    pub kernel: bool,
    /// Bytes of the user stack to copy, a multiple of 8; with 0 a sample has the user stack that the
    /// kernel finds by frame pointers. Who walks copies has to know what becomes of processes: with copies
    /// come [`Record::Change`]s.
    pub stack: u32,
}

impl Clock {
    fn attr(&self) -> Attr {
        let mut flags = EXCLUDE_HYPERVISOR | EXCLUDE_IDLE | USE_CLOCKID | SAMPLE_ID_ALL;
        if !self.kernel {
            flags |= EXCLUDE_KERNEL | EXCLUDE_CALLCHAIN_KERNEL;
        }
        if matches!(self.whom, Whom::ThreadAndItsThreads(_)) {
            flags |= INHERIT | INHERIT_THREAD;
        }
        let mut attr = Attr {
            config: PERF_COUNT_SW_CPU_CLOCK,
            sample_period: u64::try_from(self.period.as_nanos()).unwrap_or(u64::MAX >> 1),
            sample_type: PERF_SAMPLE_TID | PERF_SAMPLE_TIME | PERF_SAMPLE_CALLCHAIN,
            flags,
            ..software()
        };
        if self.stack > 0 {
            attr.sample_type |= PERF_SAMPLE_REGS_USER | PERF_SAMPLE_STACK_USER;
            attr.sample_regs_user = record::REGISTERS;
            attr.sample_stack_user = self.stack;
            // Without records of mappings, a thousand for each start of a large program: a look at /proc when
            // there is a sample costs less.
            attr.flags |= EXCLUDE_CALLCHAIN_USER | COMM | COMM_EXEC | TASK;
        }
        attr
    }

    /// Opens it; it counts at once and ends when the descriptor is closed.
    ///
    /// # Errors
    /// `EACCES` or `EPERM` where a privilege is missing, `ESRCH` if the thread has gone, `EMFILE`.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let thread = match self.whom {
            Whom::Everyone => None,
            Whom::Thread(tid) | Whom::ThreadAndItsThreads(tid) => Some(tid),
        };
        perf_event_open(&self.attr(), thread, self.cpu)
    }
}

/// What all our events have in common.
fn software() -> Attr {
    let size = size_of::<Attr>() as u32;
    Attr {
        kind: PERF_TYPE_SOFTWARE,
        size,
        clockid: libc::CLOCK_MONOTONIC,
        ..Attr::default()
    }
}

/// A clock of everything that runs on a CPU, kernel included: what a BPF program is attached to.
///
/// # Errors
/// As [`Clock::open`].
pub fn open_cpu_clock(cpu: u32, period: Duration) -> io::Result<OwnedFd> {
    let clock = Clock {
        whom: Whom::Everyone,
        cpu: Some(cpu),
        period,
        kernel: true,
        stack: 0,
    };
    clock.open()
}

/// An event that never happens, to own a ring that others write to. It belongs to our first thread,
/// since a ring whose event has lost its thread reports a hang-up for ever.
fn open_silent(cpu: u32, watermark: u32) -> io::Result<OwnedFd> {
    let attr = Attr {
        config: PERF_COUNT_SW_DUMMY,
        flags: DISABLED | EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR | USE_CLOCKID | WATERMARK,
        wakeup_watermark: watermark,
        ..software()
    };
    perf_event_open(&attr, Some(std::process::id()), Some(cpu))
}

fn perf_event_open(attr: &Attr, thread: Option<u32>, cpu: Option<u32>) -> io::Result<OwnedFd> {
    let number = |it: Option<u32>| it.map_or(Ok(-1), i32::try_from).map_err(io::Error::other);
    let (thread, cpu) = (number(thread)?, number(cpu)?);
    let (no_group, flags) = (-1_i32, PERF_FLAG_FD_CLOEXEC);
    // SAFETY: the kernel reads `attr.size` bytes, which is the size of `Attr`; nothing is written.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const *attr,
            thread,
            cpu,
            no_group,
            flags,
        )
    };
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

pub(crate) fn page_size() -> usize {
    // SAFETY: asks for a constant.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}

/// Changes the period of a running clock.
///
/// # Errors
/// The descriptor is not a clock's.
pub fn set_period(clock: BorrowedFd<'_>, period: Duration) -> io::Result<()> {
    let nanos = u64::try_from(period.as_nanos()).map_err(io::Error::other)?;
    // SAFETY: this request reads one `u64` at its argument and keeps nothing.
    let answer = unsafe { libc::ioctl(clock.as_raw_fd(), PERF_EVENT_IOC_PERIOD, &raw const nanos) };
    succeeded(answer)
}

/// Runs a BPF program at each sample of a clock, until the clock is closed.
///
/// # Errors
/// `EINVAL` if the program is not of the perf event type, `EEXIST` if the clock has one.
pub fn attach(clock: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: this request takes a descriptor by value and holds its own reference to the program.
    let answer = unsafe {
        libc::ioctl(
            clock.as_raw_fd(),
            PERF_EVENT_IOC_SET_BPF,
            program.as_raw_fd(),
        )
    };
    succeeded(answer)
}

fn redirect(clock: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: this request takes a descriptor by value; the kernel counts references to the ring.
    let answer =
        unsafe { libc::ioctl(clock.as_raw_fd(), PERF_EVENT_IOC_SET_OUTPUT, to.as_raw_fd()) };
    succeeded(answer)
}

fn succeeded(answer: i32) -> io::Result<()> {
    if answer < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The CPUs that run now. Ask at each start: CPUs come and go.
///
/// # Errors
/// `/sys` is not mounted, or says something else than a list.
pub fn online_cpus() -> io::Result<Vec<u32>> {
    const PATH: &str = "/sys/devices/system/cpu/online";
    let list = std::fs::read_to_string(PATH)?;
    parse_list(list.trim()).ok_or_else(|| io::Error::other(format!("{PATH}: not a list: {list:?}")))
}

/// `0-3,8`, as the kernel writes sets of CPUs.
fn parse_list(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        // The kernel's own limit, so that a strange file cannot size our memory.
        if last >= 8192 {
            return None;
        }
        cpus.extend(first..=last);
    }
    (!cpus.is_empty()).then_some(cpus)
}

#[cfg(test)]
mod tests;
