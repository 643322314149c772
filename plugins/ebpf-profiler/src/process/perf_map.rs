//! `/tmp/perf-PID.map`: names of generated code, written by the process that generates it.
//!
//! Node (`--perf-basic-prof`), CPython from 3.12 on (`-X perf`), .NET and Java agents write a line for
//! each function, `START SIZE NAME`, and never take one back: where addresses are used again, the later
//! line holds. Only what was appended since the last look is read, and of each line only the place of
//! its name is kept: the file stays open, and names are read from it when asked for.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use super::foreign;
use super::proc::Owner;

/// Functions that are kept of one process, some 40 bytes each; beyond, the older half is dropped.
const MOST_FUNCTIONS: usize = 100_000;
/// Bytes that one look reads at most.
const MOST_READ: u64 = 16 << 20;
/// Bytes of names that are kept ready.
const MOST_NAMES: usize = 512 << 10;
/// Longer names are cut, and a line of more bytes than [`PIECE`] is none.
const LONGEST_NAME: usize = 512;
const PIECE: usize = 64 << 10;

/// The names that a process gave to its generated code.
#[derive(Debug)]
pub struct PerfMap {
    file: File,
    /// Bytes that were read and understood.
    read: u64,
    /// The rest of a line that is too long is still to come.
    skipping: bool,
    functions: BTreeMap<u64, Function>,
    trampolines: usize,
    names: HashMap<u32, Arc<str>>,
    names_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Function {
    size: u32,
    /// Where the name begins in the file.
    name: u32,
    name_size: u16,
    /// CPython's, which has a frame of its own kind.
    trampoline: bool,
}

impl PerfMap {
    /// Opens the map of a process below the root directory that it sees.
    ///
    /// # Errors
    /// There is none, or it is not the process's: another user's, a link, or no regular file.
    pub fn open(root: &Path, owner: Owner) -> io::Result<Self> {
        let file = foreign::below(root, Path::new(&format!("tmp/perf-{}.map", owner.pid)))?;
        let user = file.metadata()?.uid();
        if ![0, owner.effective, owner.files].contains(&user) {
            let message = format!("the perf map of {} is of user {user}", owner.pid);
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
        }
        Ok(Self {
            file,
            read: 0,
            skipping: false,
            functions: BTreeMap::new(),
            trampolines: 0,
            names: HashMap::new(),
            names_bytes: 0,
        })
    }

    /// Reads what was appended; from the start if the file was cut.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn update(&mut self) -> io::Result<()> {
        let size = self.file.metadata()?.size();
        if size < self.read {
            self.begin_anew();
        }
        // Names are found by 32 bits.
        let until = size.min(self.read + MOST_READ).min(u32::MAX.into());
        if self.read == until {
            return Ok(());
        }
        let mut piece = vec![0; PIECE];
        while self.read < until {
            let read = self.file.read_at(&mut piece, self.read)?;
            let consumed = self.consume(piece.get(..read).unwrap_or_default());
            if consumed == 0 {
                break;
            }
            self.read += consumed as u64;
        }
        Ok(())
    }

    /// Whether its name was taken from it: then a new one may stand there.
    pub fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|it| it.nlink() == 0)
    }

    /// The function that an address is in, as of the last [`PerfMap::update`].
    pub fn name(&mut self, address: u64) -> Option<Arc<str>> {
        let (start, function) = self.functions.range(..=address).next_back()?;
        if address - start >= u64::from(function.size) {
            return None;
        }
        if let Some(name) = self.names.get(&function.name) {
            return Some(Arc::clone(name));
        }
        let mut name = vec![0; usize::from(function.name_size)];
        self.file
            .read_exact_at(&mut name, function.name.into())
            .ok()?;
        let name: Arc<str> = Arc::from(printable(&String::from_utf8_lossy(&name)));
        if self.names_bytes >= MOST_NAMES {
            self.names.clear();
            self.names_bytes = 0;
        }
        self.names_bytes += name.len() + 64;
        self.names.insert(function.name, Arc::clone(&name));
        Some(name)
    }

    /// Whether CPython's trampolines are in this range. They have neither frame pointer nor table: one
    /// rule of its own walks all of the range.
    pub fn has_python_trampolines(&self, range: Range<u64>) -> bool {
        self.trampolines > 0 && self.functions.range(range).any(|(_, it)| it.trampoline)
    }

    /// How many functions are known.
    pub fn len(&self) -> usize {
        self.functions.len()
    }

    /// Whether no function is known.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty()
    }

    fn begin_anew(&mut self) {
        self.read = 0;
        self.skipping = false;
        self.functions.clear();
        self.trampolines = 0;
        self.names.clear();
        self.names_bytes = 0;
    }

    /// Takes the whole lines of what comes next in the file; how many bytes they were.
    fn consume(&mut self, piece: &[u8]) -> usize {
        let mut at = 0;
        while let Some(length) = piece[at..].iter().position(|byte| *byte == b'\n') {
            let line = &piece[at..at + length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let position = self.read + at as u64;
            if !std::mem::take(&mut self.skipping) {
                self.take(line, position);
            }
            at += length + 1;
        }
        if at == 0 && piece.len() == PIECE {
            self.skipping = true;
            return PIECE;
        }
        at
    }

    fn take(&mut self, line: &[u8], position: u64) {
        let Some((start, size, name)) = parse(line) else {
            return;
        };
        // The name is the line's end.
        let Ok(at) = u32::try_from(position + (line.len() - name.len()) as u64) else {
            return;
        };
        let name_size = name.len().min(LONGEST_NAME);
        self.forget(start..start + u64::from(size));
        let trampoline = name.starts_with(b"py::");
        self.trampolines += usize::from(trampoline);
        let function = Function {
            size,
            name: at,
            name_size: u16::try_from(name_size).unwrap_or_default(),
            trampoline,
        };
        self.functions.insert(start, function);
        if self.functions.len() > MOST_FUNCTIONS {
            self.drop_older_half();
        }
    }

    /// These addresses are used again.
    fn forget(&mut self, range: Range<u64>) {
        loop {
            let last = self.functions.range(..range.end).next_back();
            let Some((&start, function)) = last else {
                return;
            };
            if start + u64::from(function.size) <= range.start {
                return;
            }
            self.trampolines -= usize::from(function.trampoline);
            self.functions.remove(&start);
        }
    }

    fn drop_older_half(&mut self) {
        let mut ages: Vec<u32> = self.functions.values().map(|it| it.name).collect();
        let half = ages.len() / 2;
        let (_, &mut middle, _) = ages.select_nth_unstable(half);
        self.functions.retain(|_, it| it.name >= middle);
        self.trampolines = self.functions.values().filter(|it| it.trampoline).count();
    }
}

/// `START SIZE NAME` with hexadecimal numbers.
fn parse(line: &[u8]) -> Option<(u64, u32, &[u8])> {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let mut number = || {
        let word = str::from_utf8(words.next()?).ok()?;
        u64::from_str_radix(word.strip_prefix("0x").unwrap_or(word), 16).ok()
    };
    let (start, size) = (number()?, u32::try_from(number()?).ok()?);
    let name = words.next().filter(|name| !name.is_empty())?;
    let fits = size > 0 && start.checked_add(size.into()).is_some();
    fits.then_some((start, size, name))
}

/// Names go into files of lines and onto terminals.
fn printable(name: &str) -> String {
    let replace = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    name.chars().map(replace).collect()
}

#[cfg(test)]
mod tests;
