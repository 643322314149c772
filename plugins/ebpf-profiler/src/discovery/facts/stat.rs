//! `/proc/PID/stat`: see proc_pid_stat(5), which counts its fields from 1.

/// Bit of the flags: a thread of the kernel.
const KERNEL_THREAD: u32 = 0x0020_0000;
/// Bit of the flags: on its way out.
const EXITING: u32 = 0x0000_0004;

/// What we use of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) comm: String,
    /// In clock ticks since boot.
    pub(crate) started: u64,
    /// Where code, stack and arguments lie: another program has them elsewhere. Zeros where we may not
    /// know.
    pub(crate) image: String,
    state: u8,
    flags: u32,
    threads: u32,
}

impl Stat {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        // A name may hold parentheses, spaces and line ends; nothing after it does.
        let (before, rest) = text.rsplit_once(')')?;
        let (_, comm) = before.split_once('(')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).copied();
        let image = (26..=28).chain(45..=51).filter_map(field);
        Some(Self {
            comm: comm.to_owned(),
            started: field(22)?.parse().ok()?,
            image: image.collect::<Vec<_>>().join(" "),
            state: field(3)?.bytes().next()?,
            flags: field(9)?.parse().ok()?,
            threads: field(20)?.parse().ok()?,
        })
    }

    pub(crate) fn is_kernel_thread(&self) -> bool {
        self.flags & KERNEL_THREAD != 0
    }

    /// Whether it only waits for its parent to notice. A first thread that ended before the others does
    /// not end the process.
    pub(crate) fn is_dead(&self) -> bool {
        self.is_ending() && self.threads <= 1
    }

    /// Whether its first thread has ended or is about to.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') || self.flags & EXITING != 0
    }
}
