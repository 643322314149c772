//! Tables of `.eh_frame` and `.debug_frame` against gimli's own look-ups.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Instant;

use gimli::{
    BaseAddresses, DebugFrame, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, UnwindContext,
    UnwindSection,
};
use object::{Object, ObjectSection, ObjectSymbol};
use perigee_ebpf_profiler::unwind::{Cfa, Rule, Rules, Table};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::build::{Programs, existing};
use crate::oracle::{Expected, MOST_WORDS, Read};

const SAMPLES: usize = 5000;

const SOURCE: &str = r#"
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) int leaf(int n) { return n * 31 + 7; }
__attribute__((noinline)) int aligned(int n) {
    _Alignas(64) char room[256];
    char *more = __builtin_alloca(n + 16);
    memset(room, n, sizeof room);
    __asm__ volatile("" : : "r"(room), "r"(more) : "memory");
    return leaf(room[n & 255]) + more[3];
}
__attribute__((noinline)) int variable(int n) {
    char *room = __builtin_alloca(n + 16);
    memset(room, n, n);
    __asm__ volatile("" : : "r"(room) : "memory");
    return aligned(room[n / 2]) + leaf(n);
}
int main(int argc, char **argv) { return variable(argc * 100) + (int)strtol(argv[0], 0, 10); }
"#;

/// What the tests look at: what this machine has of it.
fn files() -> Vec<PathBuf> {
    let mut files = existing(&[
        "/lib/x86_64-linux-gnu/libc.so.6",
        "/lib/x86_64-linux-gnu/libcrypto.so.3",
        "/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/usr/bin/python3.11",
        "/usr/bin/node",
    ]);
    files.push(std::env::current_exe().expect("a path"));
    files
}

/// Random addresses of a file's code, by a fixed seed.
pub(crate) fn addresses(file: &object::File<'_>, count: usize) -> Vec<u64> {
    let ranges: Vec<_> = file
        .sections()
        .filter(|section| section.kind() == object::SectionKind::Text && section.size() > 0)
        .map(|section| (section.address(), section.size()))
        .collect();
    let total: u64 = ranges.iter().map(|(_, size)| size).sum();
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut at = |_| {
        let mut offset = random.next_u64() % total;
        for (start, size) in &ranges {
            if offset < *size {
                return start + offset;
            }
            offset -= size;
        }
        unreachable!("an offset lies in a section")
    };
    (0..count).map(&mut at).collect()
}

/// Compares at addresses by the linker's own index; returns how many of them have a description.
fn compare_by_header(path: &Path, data: &[u8], read: &Read) -> usize {
    let file = object::File::parse(data).expect("an ELF file");
    let section = |name| {
        file.section_by_name(name)
            .map(|s| (s.address(), s.data().expect("bytes")))
    };
    let (start, eh_frame) = section(".eh_frame").expect("a section");
    let (header_start, header) = section(".eh_frame_hdr").expect("a section");
    let mut bases = BaseAddresses::default()
        .set_eh_frame(start)
        .set_eh_frame_hdr(header_start);
    if let Some((text, _)) = section(".text") {
        bases = bases.set_text(text);
    }
    let eh_frame = EhFrame::new(eh_frame, LittleEndian);
    let header = EhFrameHdr::new(header, LittleEndian)
        .parse(&bases, 8)
        .expect("a header");
    let table = header.table().expect("an index");
    let mut context = UnwindContext::new();
    let mut described = 0;
    for address in addresses(&file, SAMPLES) {
        let rule = read.rule(address);
        let fde = table.fde_for_address(&eh_frame, &bases, address, EhFrame::cie_from_offset);
        match fde {
            Ok(fde) => {
                let row = fde
                    .unwind_info_for_address(&eh_frame, &bases, &mut context, address)
                    .expect("a row");
                let expected = Expected {
                    section: &eh_frame,
                    row,
                    encoding: fde.cie().encoding(),
                    address,
                };
                assert_eq!(
                    expected.difference(&rule),
                    None,
                    "{} at {address:#x}",
                    path.display()
                );
                described += 1;
            }
            Err(_) => assert_eq!(rule, Rule::UNKNOWN, "{} at {address:#x}", path.display()),
        }
    }
    described
}

#[test]
fn tables_say_what_gimli_says_of_random_addresses() {
    for path in files() {
        let data = std::fs::read(&path).expect("a file");
        let before = Peak::reset();
        let started = Instant::now();
        let read = Read::of(&data);
        let took = started.elapsed();
        let described = compare_by_header(&path, &data, &read);
        println!(
            "{}: {} words in {} tables, {} rules, {took:?}, {} KiB more at the peak, {described} of {SAMPLES} described",
            path.display(),
            read.words(),
            read.tables.len(),
            read.rules.all().len(),
            before.grown_kib(),
        );
        assert!(described > SAMPLES / 3, "{}", path.display());
        assert_eq!(read.rules.overflowed(), 0);
    }
}

/// The memory that is resident at most, from a point on.
struct Peak(u64);

impl Peak {
    fn reset() -> Self {
        let _ = std::fs::write("/proc/self/clear_refs", "5");
        Self(Self::now())
    }

    fn now() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("a status");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("a peak");
        line.trim()
            .trim_end_matches(" kB")
            .parse()
            .expect("a number")
    }

    fn grown_kib(&self) -> u64 {
        Self::now().saturating_sub(self.0)
    }
}

#[test]
fn a_table_in_pieces_says_the_same_as_a_whole_one() {
    let data = std::fs::read(std::env::current_exe().expect("a path")).expect("a file");
    let (whole, pieces) = (Read::of(&data), Read::in_pieces(&data, 4096));
    assert!(
        pieces.tables.len() > 3 * whole.tables.len(),
        "{} pieces",
        pieces.tables.len()
    );
    assert!(pieces.tables.iter().all(|table| table.words.len() <= 4096));
    let file = object::File::parse(&*data).expect("an ELF file");
    for address in addresses(&file, SAMPLES) {
        assert_eq!(pieces.rule(address), whole.rule(address), "{address:#x}");
    }
}

#[test]
fn every_way_to_find_the_cfa_occurs_in_compiled_code() {
    let programs = Programs::new();
    let Some(path) = programs.c("kinds", SOURCE, &["-Wl,-z,lazy"]) else {
        return;
    };
    let data = std::fs::read(&path).expect("a file");
    let read = Read::of(&data);
    let file = object::File::parse(&*data).expect("an ELF file");
    let text = file.section_by_name(".text").expect("a section");
    let mut kinds: Vec<Cfa> = Vec::new();
    for address in text.address()..text.address() + text.size() {
        let kind = read.rule(address).cfa;
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    for kind in [Cfa::Stack, Cfa::Frame, Cfa::FrameIndirect, Cfa::End] {
        assert!(kinds.contains(&kind), "{kind:?} is not among {kinds:?}");
    }
    let plt = file.section_by_name(".plt").expect("a section").address() + 16;
    assert_eq!(
        (read.rule(plt).cfa, read.rule(plt).cfa_offset),
        (Cfa::Plt, 11)
    );
}

#[test]
fn debug_frame_describes_what_eh_frame_leaves_out() {
    let programs = Programs::new();
    for (name, packing) in [("plain", "-gz=none"), ("packed", "-gz=zlib")] {
        let flags = [
            "-g",
            packing,
            "-fno-asynchronous-unwind-tables",
            "-fno-unwind-tables",
        ];
        let Some(path) = programs.c(name, SOURCE, &flags) else {
            return;
        };
        let data = std::fs::read(&path).expect("a file");
        let read = Read::of(&data);
        let file = object::File::parse(&*data).expect("an ELF file");
        let section = file.section_by_name(".debug_frame").expect("a section");
        let bytes = section.uncompressed_data().expect("bytes");
        let mut frames = DebugFrame::from(EndianSlice::new(&bytes, LittleEndian));
        frames.set_address_size(8);
        let bases = BaseAddresses::default();
        let mut context = UnwindContext::new();
        let mut described = 0;
        for address in addresses(&file, SAMPLES) {
            let Ok(fde) = frames.fde_for_address(&bases, address, DebugFrame::cie_from_offset)
            else {
                continue;
            };
            let row = fde
                .unwind_info_for_address(&frames, &bases, &mut context, address)
                .expect("a row");
            let expected = Expected {
                section: &frames,
                row,
                encoding: fde.cie().encoding(),
                address,
            };
            assert_eq!(
                expected.difference(&read.rule(address)),
                None,
                "{name} at {address:#x}"
            );
            described += 1;
        }
        assert!(described > 100, "{described} addresses are described");
    }
}

#[test]
fn a_return_from_a_signal_handler_is_described() {
    let Some(path) = existing(&["/lib/x86_64-linux-gnu/libc.so.6"]).pop() else {
        return println!("skipped: no glibc here");
    };
    let read = Read::of(&std::fs::read(path).expect("a file"));
    let signal = read
        .rules
        .all()
        .iter()
        .find(|rule| rule.cfa == Cfa::Signal)
        .expect("a rule");
    // `struct ucontext` of x86-64: rsp, rbp and rip among its registers.
    let offsets = [
        signal.cfa_offset,
        signal.frame_pointer_offset,
        signal.return_address_offset,
    ];
    assert_eq!(offsets, [160, 120, 168]);
}

/// Where in a file the description of a function says where the function begins. What the description
/// has in common with others is named in the word before, the function's length in the one after.
fn description(data: &[u8], function: &str) -> usize {
    let file = object::File::parse(data).expect("an ELF file");
    let section = file.section_by_name(".eh_frame").expect("a section");
    let (start, size) = section.file_range().expect("bytes");
    let wanted = symbol(data, function);
    let begins = |at: &u64| {
        let word = data[(start + at) as usize..]
            .first_chunk()
            .expect("four bytes");
        let relative = i64::from(i32::from_le_bytes(*word));
        (section.address() + at).wrapping_add_signed(relative) == wanted
    };
    (start
        + (0..size - 4)
            .step_by(4)
            .find(begins)
            .expect("a description")) as usize
}

fn symbol(data: &[u8], name: &str) -> u64 {
    let file = object::File::parse(data).expect("an ELF file");
    file.symbol_by_name(name)
        .map(|symbol| symbol.address())
        .expect("a symbol")
}

#[test]
fn a_broken_description_costs_its_own_range_only() {
    let programs = Programs::new();
    let Some(path) = programs.c("broken", SOURCE, &[]) else {
        return;
    };
    let mut data = std::fs::read(&path).expect("a file");
    // The first of three, so that those after it are at stake.
    let (leaf, variable) = (symbol(&data, "leaf"), symbol(&data, "variable"));
    let at = description(&data, "leaf");
    assert_eq!(Read::of(&data).rule(leaf), Rule::stack(8));
    data[at - 4..at].fill(0x7f);
    let broken = Read::of(&data);
    assert_eq!(
        (broken.rule(leaf), broken.rule(variable)),
        (Rule::UNKNOWN, Rule::stack(8))
    );
}

#[test]
fn a_description_of_more_code_than_the_file_has_is_left_out() {
    let programs = Programs::new();
    let Some(path) = programs.c("long", SOURCE, &[]) else {
        return;
    };
    let mut data = std::fs::read(&path).expect("a file");
    let (leaf, at) = (symbol(&data, "leaf"), description(&data, "leaf"));
    data[at + 4..at + 8].copy_from_slice(&0x7000_0000_u32.to_le_bytes());
    let read = Read::of(&data);
    assert_eq!(
        (read.rule(leaf), read.rule(symbol(&data, "variable"))),
        (Rule::UNKNOWN, Rule::stack(8))
    );
    // Even if the file claims to have that code.
    let sizes = 64 + 56 * executable_segment(&data) + 32;
    data[sizes..sizes + 16].copy_from_slice(&[0, 0, 0, 0x7f, 0, 0, 0, 0].repeat(2));
    assert!(Read::of(&data).words() < 4096);
}

/// The number of the program header of the code.
fn executable_segment(data: &[u8]) -> usize {
    let header = |number: usize| &data[64 + 56 * number..][..8];
    (0..20)
        .find(|&number| header(number) == [1, 0, 0, 0, 5, 0, 0, 0])
        .expect("a segment")
}

#[test]
fn the_vdso_of_a_process_is_described() {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let Some(range) = maps
        .lines()
        .find(|line| line.ends_with("[vdso]"))
        .and_then(|line| line.split_once(' '))
    else {
        return println!("skipped: no vDSO here");
    };
    let (start, end) = range.0.split_once('-').expect("a range");
    let [start, end] =
        [start, end].map(|digits| u64::from_str_radix(digits, 16).expect("an address"));
    let mut data = vec![0; (end - start) as usize];
    std::fs::File::open("/proc/self/mem")
        .expect("memory")
        .read_exact_at(&mut data, start)
        .expect("the vDSO");
    let file = object::File::parse(&*data).expect("an ELF file");
    let mut symbols = file.dynamic_symbols();
    let clock = symbols
        .find(|symbol| symbol.name() == Ok("__vdso_clock_gettime"))
        .expect("a symbol");
    assert_eq!(Read::of(&data).rule(clock.address()), Rule::stack(8));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// For all damage: a file is read to an end, without a panic.
    #[test]
    fn a_damaged_file_is_read_to_an_end(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
    ) {
        static WHOLE: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
            let programs = Programs::new();
            let path = programs.c("damaged", SOURCE, &["-s"])?;
            Some(std::fs::read(path).expect("a file"))
        });
        let Some(mut data) = WHOLE.clone() else { return Ok(()) };
        for (at, byte) in damage {
            let length = data.len();
            data[at.index(length)] = byte;
        }
        let mut rules = Rules::default();
        if let Ok(read) = Table::read(&data, MOST_WORDS, &mut rules, || ()) {
            prop_assert!(read.tables.iter().map(|table| table.words.len()).sum::<usize>() < 4 * data.len());
        }
    }
}
