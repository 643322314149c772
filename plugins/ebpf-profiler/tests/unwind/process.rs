//! A process that waits in a system call, and its tables as a profiler would build them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use object::{Object, ObjectSegment, SegmentFlags};
use perigee_ebpf_profiler::unwind::arena::{Arenas, PlainWords, Words};
use perigee_ebpf_profiler::unwind::walk::{LOST, Memory, Registers, Tables};
use perigee_ebpf_profiler::unwind::{Mapping, PAGE, Rules, Table, Walk};

use crate::oracle::MOST_WORDS;

const PAUSE: &str = "34";

/// A child that has called `pause`; it is killed at the end.
pub(crate) struct Paused {
    child: Child,
    pub(crate) registers: Registers,
    memory: File,
}

impl Paused {
    /// Starts a program and waits until its main thread pauses.
    pub(crate) fn start(program: &Path, arguments: &[&str]) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("a child");
        let file = format!("/proc/{}/syscall", child.id());
        let deadline = Instant::now() + Duration::from_secs(20);
        let call = loop {
            let call = std::fs::read_to_string(&file).expect("the child's system call");
            if call.starts_with(&format!("{PAUSE} ")) {
                break call;
            }
            assert!(
                Instant::now() < deadline,
                "{} does not pause: {call}",
                program.display()
            );
            std::thread::yield_now();
        };
        let mut last = call
            .split_whitespace()
            .rev()
            .map(|word| hex(word.trim_start_matches("0x")));
        let (ip, sp) = (
            last.next().expect("an address"),
            last.next().expect("an address"),
        );
        let memory = File::open(format!("/proc/{}/mem", child.id())).expect("the child's memory");
        Self {
            child,
            registers: Registers {
                ip,
                sp,
                fp: LOST,
                link: 0,
            },
            memory,
        }
    }

    /// A copy of the stack, as a sample holds it.
    pub(crate) fn stack(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = self
            .memory
            .read_at(&mut bytes, self.registers.sp)
            .expect("the stack");
        bytes.truncate(read);
        bytes
    }

    /// What the process has mapped.
    pub(crate) fn maps(&self) -> Vec<Map> {
        let maps =
            std::fs::read_to_string(format!("/proc/{}/maps", self.child.id())).expect("maps");
        maps.lines().filter_map(Map::parse).collect()
    }
}

impl Memory for Paused {
    fn read(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.memory.read_exact_at(&mut bytes, address).ok()?;
        Some(u64::from_le_bytes(bytes))
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Executable memory that is mapped from a file.
pub(crate) struct Map {
    pub(crate) start: u64,
    pub(crate) end: u64,
    offset: u64,
    pub(crate) path: PathBuf,
}

impl Map {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = fields[0].split_once('-')?;
        let path = PathBuf::from(fields.get(5).filter(|path| path.starts_with('/'))?);
        fields[1].contains('x').then(|| Self {
            start: hex(start),
            end: hex(end),
            offset: hex(fields[2]),
            path,
        })
    }

    /// What has to be added to the file's addresses.
    pub(crate) fn bias(&self, file: &object::File<'_>) -> u64 {
        let executable =
            |flags| matches!(flags, SegmentFlags::Elf { p_flags, .. } if p_flags & 1 != 0);
        let segment = file.segments().find(|segment| {
            let (start, size) = segment.file_range();
            executable(segment.flags())
                && self.offset < start + size
                && start < self.offset + self.end - self.start
        });
        let segment = segment.expect("a segment");
        self.start
            .wrapping_sub(self.offset)
            .wrapping_sub(segment.address().wrapping_sub(segment.file_range().0))
    }
}

/// The tables of a process.
#[derive(Default)]
pub(crate) struct Built {
    pub(crate) mappings: Vec<Mapping>,
    words: PlainWords,
    rules: Rules,
}

impl Built {
    pub(crate) fn of(process: &Paused) -> Self {
        let mut built = Self::default();
        let mut arenas = Arenas::new(64 << 20);
        for map in process.maps() {
            let data = std::fs::read(&map.path).expect("a file");
            let bias = map.bias(&object::File::parse(&*data).expect("an ELF file"));
            let read = Table::read(&data, MOST_WORDS, &mut built.rules, || ()).expect("tables");
            for table in read.tables {
                let place = arenas.allocate(table.words.len() as u32).expect("a place");
                built.words.write(place.arena, place.word, &table.words);
                let base = table.first.wrapping_add(bias);
                built.mappings.push(Mapping {
                    start: map.start.max(base),
                    end: map.end.min(base + u64::from(table.pages) * PAGE),
                    base,
                    arena: place.arena,
                    word: place.word,
                    pages: table.pages,
                    walk: Walk::Table,
                    ..Mapping::default()
                });
            }
        }
        built.mappings.retain(|mapping| mapping.start < mapping.end);
        built.mappings.sort_by_key(|mapping| mapping.start);
        built
    }

    pub(crate) fn tables(&self) -> Tables<'_, PlainWords> {
        Tables {
            mappings: &self.mappings,
            words: &self.words,
            rules: self.rules.all(),
        }
    }
}

fn hex(digits: &str) -> u64 {
    u64::from_str_radix(digits, 16).expect("a hexadecimal number")
}
