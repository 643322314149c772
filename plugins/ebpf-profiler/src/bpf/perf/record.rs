//! What is written into a ring: parsing, without trust.

const PERF_RECORD_LOST: u32 = 2;
const PERF_RECORD_COMM: u32 = 3;
const PERF_RECORD_EXIT: u32 = 4;
const PERF_RECORD_THROTTLE: u32 = 5;
const PERF_RECORD_FORK: u32 = 7;
const PERF_RECORD_SAMPLE: u32 = 9;

/// A name that comes with another program, and not by the thread's own wish.
const PERF_RECORD_MISC_COMM_EXEC: u16 = 1 << 13;

/// From here on, an entry of a call chain is no address but says whose addresses follow.
const PERF_CONTEXT_MAX: u64 = -4095_i64 as u64;
const PERF_CONTEXT_KERNEL: u64 = -128_i64 as u64;
const PERF_CONTEXT_USER: u64 = -512_i64 as u64;

const PERF_SAMPLE_REGS_ABI_64: u64 = 2;

/// Registers to record, as bits of `enum perf_event_x86_regs`: BP, SP, IP.
#[cfg(target_arch = "x86_64")]
pub(super) const REGISTERS: u64 = 1 << 6 | 1 << 7 | 1 << 8;
/// Registers to record, as bits of `enum perf_event_arm_regs`: X29, LR, SP, PC.
#[cfg(target_arch = "aarch64")]
pub(super) const REGISTERS: u64 = 1 << 29 | 1 << 30 | 1 << 31 | 1 << 32;

/// A record of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A sample.
    Sample(Sample<'a>),
    /// Something became of a process.
    Change(Change),
    /// Something became of a mere thread, or of its name.
    Thread,
    /// So many records found no room.
    Lost(u64),
    /// The kernel holds the clock back: samples came too fast for it.
    Throttled,
    /// Something that we did not ask for, or that is not as it should be.
    Other(u32),
}

/// What became of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Process in our PID namespace.
    pub pid: u32,
    /// By the monotonic clock, in nanoseconds.
    pub time: u64,
    /// What it was.
    pub how: How,
}

/// What may become of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It began as a copy of this one.
    Forked(u32),
    /// It began another program.
    Exec,
    /// Its first thread ended, in most cases the last one to do so.
    Exited,
}

/// A sample of [`super::Clock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample<'a> {
    /// Process in our PID namespace; `u32::MAX` if it was just ending.
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
    /// By the monotonic clock, in nanoseconds.
    pub time: u64,
    chain: &'a [u8],
    /// Of the program, also where the sample hit the kernel; none for kernel threads, for programs of
    /// 32 bits, and if no stack is copied.
    pub registers: Option<Registers>,
    /// A copy of the stack from [`Registers::sp`] on.
    pub stack: &'a [u8],
}

/// Where a program was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer.
    pub fp: u64,
    /// Link register; 0 on x86-64, which has none.
    pub link: u64,
}

impl<'a> Sample<'a> {
    /// The kernel's frames, innermost first.
    pub fn kernel(&self) -> impl Iterator<Item = u64> + 'a {
        addresses(self.chain, PERF_CONTEXT_KERNEL)
    }

    /// The program's frames as the kernel found them, innermost first; none if the stack is copied.
    pub fn user(&self) -> impl Iterator<Item = u64> + 'a {
        addresses(self.chain, PERF_CONTEXT_USER)
    }
}

fn addresses(chain: &[u8], wanted: u64) -> impl Iterator<Item = u64> + '_ {
    let mut context = 0;
    let entries = chain
        .chunks_exact(8)
        .filter_map(|it| it.first_chunk().copied());
    entries.map(u64::from_ne_bytes).filter(move |&entry| {
        if entry >= PERF_CONTEXT_MAX {
            context = entry;
            return false;
        }
        context == wanted
    })
}

/// When a record was written, where it tells: samples behind their process and thread, the others at the end.
pub(super) fn time_at(kind: u32, length: usize) -> Option<usize> {
    match kind {
        PERF_RECORD_SAMPLE => Some(8),
        _ => length.checked_sub(8),
    }
}

/// Reads the body of a record; `stack` says whether the clock copies stacks.
pub(super) fn parse(kind: u32, flags: u16, body: &[u8], stack: bool) -> Record<'_> {
    let mut fields = Fields(body);
    let record = match kind {
        PERF_RECORD_SAMPLE => sample(&mut fields, stack).map(Record::Sample),
        PERF_RECORD_LOST => fields
            .word()
            .and_then(|_id| fields.word())
            .map(Record::Lost),
        PERF_RECORD_COMM => name(&mut fields, flags),
        PERF_RECORD_FORK | PERF_RECORD_EXIT => task(&mut fields, kind),
        PERF_RECORD_THROTTLE => Some(Record::Throttled),
        _ => None,
    };
    record.unwrap_or(Record::Other(kind))
}

fn name<'a>(fields: &mut Fields<'a>, flags: u16) -> Option<Record<'a>> {
    let (pid, _thread) = (fields.half()?, fields.half()?);
    if flags & PERF_RECORD_MISC_COMM_EXEC == 0 {
        return Some(Record::Thread);
    }
    // Behind the name, which is padded, come process, thread and time.
    let time = fields.0.last_chunk().copied().map(u64::from_ne_bytes)?;
    let how = How::Exec;
    Some(Record::Change(Change { pid, time, how }))
}

fn task<'a>(fields: &mut Fields<'a>, kind: u32) -> Option<Record<'a>> {
    let (pid, parent) = (fields.half()?, fields.half()?);
    let (thread, _other) = (fields.half()?, fields.half()?);
    let time = fields.word()?;
    let how = if kind == PERF_RECORD_EXIT {
        (thread == pid).then_some(How::Exited)
    } else {
        (pid != parent).then_some(How::Forked(parent))
    };
    Some(how.map_or(Record::Thread, |how| {
        Record::Change(Change { pid, time, how })
    }))
}

fn sample<'a>(fields: &mut Fields<'a>, stack: bool) -> Option<Sample<'a>> {
    let (pid, tid) = (fields.half()?, fields.half()?);
    let time = fields.word()?;
    let entries = fields.word()?;
    let chain = fields.bytes(entries.checked_mul(8)?)?;
    let mut sample = Sample {
        pid,
        tid,
        time,
        chain,
        registers: None,
        stack: &[],
    };
    if !stack {
        return Some(sample);
    }
    let abi = fields.word()?;
    if abi != 0 {
        // The bits of `REGISTERS` from the lowest on.
        let registers = if cfg!(target_arch = "aarch64") {
            let (fp, link, sp) = (fields.word()?, fields.word()?, fields.word()?);
            Registers {
                ip: fields.word()?,
                sp,
                fp,
                link,
            }
        } else {
            let (fp, sp) = (fields.word()?, fields.word()?);
            Registers {
                ip: fields.word()?,
                sp,
                fp,
                link: 0,
            }
        };
        sample.registers = (abi == PERF_SAMPLE_REGS_ABI_64).then_some(registers);
    }
    let room = fields.word()?;
    if room > 0 {
        let copied = fields.bytes(room)?;
        // Of the room, what was there to copy.
        let length = usize::try_from(fields.word()?).ok()?;
        sample.stack = copied.get(..length)?;
    }
    Some(sample)
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, length: u64) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(head)
    }

    fn word(&mut self) -> Option<u64> {
        self.bytes(8)?
            .first_chunk()
            .copied()
            .map(u64::from_ne_bytes)
    }

    fn half(&mut self) -> Option<u32> {
        self.bytes(4)?
            .first_chunk()
            .copied()
            .map(u32::from_ne_bytes)
    }
}
