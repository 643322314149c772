//! Tables of `.eh_frame` and `.debug_frame` against gimli's own look-ups.

use std::path::{Path, PathBuf};
use std::time::Instant;

use gimli::{
    BaseAddresses, DebugFrame, EhFrame, EhFrameHdr, EndianSlice, LittleEndian, NativeEndian,
    UnwindContext, UnwindSection,
};
use object::{Object, ObjectSection};
use perigee_ebpf_profiler::unwind::{Cfa, Rule};
use proptest::test_runner::{RngAlgorithm, TestRng};

use crate::build::{Programs, existing};
use crate::oracle::{Read, X86_64, difference};

const SAMPLES: usize = 5000;

const SOURCE: &str = r#"
#include <stdlib.h>
#include <string.h>
__attribute__((noinline)) int leaf(int n) { return n * 31 + 7; }
__attribute__((noinline)) int aligned(int n) {
    _Alignas(64) char room[256];
    memset(room, n, sizeof room);
    __asm__ volatile("" : : "r"(room) : "memory");
    return leaf(room[n & 255]);
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
    use proptest::prelude::Rng;
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
                let wrong = difference(&rule, row, &X86_64);
                assert_eq!(wrong, None, "{} at {address:#x}", path.display());
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
    for kind in [Cfa::Stack, Cfa::Frame, Cfa::End] {
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
        let mut frames = DebugFrame::from(EndianSlice::new(&bytes, NativeEndian));
        frames.set_address_size(8);
        let bases = BaseAddresses::default();
        let mut context = UnwindContext::new();
        let mut described = 0;
        for address in addresses(&file, SAMPLES) {
            if let Ok(row) = frames.unwind_info_for_address(
                &bases,
                &mut context,
                address,
                DebugFrame::cie_from_offset,
            ) {
                assert_eq!(
                    difference(&read.rule(address), row, &X86_64),
                    None,
                    "{name} at {address:#x}"
                );
                described += 1;
            }
        }
        assert!(described > 100, "{described} addresses are described");
    }
}
