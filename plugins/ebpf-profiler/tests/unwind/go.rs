//! Tables of Go's function table against the `.debug_frame` that Go writes too.

use std::path::Path;
use std::sync::LazyLock;

use gimli::{
    AArch64, BaseAddresses, CieOrFde, DebugFrame, EndianSlice, LittleEndian, Register,
    UnwindContext, UnwindSection, X86_64,
};
use object::{Object, ObjectSection, ObjectSymbol};
use perigee_ebpf_profiler::unwind::go::Names;
use perigee_ebpf_profiler::unwind::{Cfa, ReturnAddress, Rule};

use proptest::collection::vec;
use proptest::prelude::*;

use crate::build::Programs;
use crate::oracle::Read;

const SOURCE: &str = r#"
package main

import (
	"fmt"
	"os"
)

//go:noinline
func spin(n int) int {
	s := 0
	for i := 0; i < n; i++ {
		s = s*31 + i
	}
	return s
}

func main() {
	fmt.Println(spin(len(os.Args)))
}
"#;

/// Rows of `.debug_frame`: address and offset of the CFA from the stack pointer.
fn debug_frame_rows(data: &[u8], stack: Register) -> Vec<(u64, i64)> {
    let file = object::File::parse(data).expect("an ELF file");
    let section = file.section_by_name(".debug_frame").expect("a section");
    let bytes = section.uncompressed_data().expect("bytes");
    let mut frames = DebugFrame::from(EndianSlice::new(&bytes, LittleEndian));
    frames.set_address_size(8);
    let bases = BaseAddresses::default();
    let mut context = UnwindContext::new();
    let mut rows = Vec::new();
    let mut entries = frames.entries(&bases);
    while let Some(entry) = entries.next().expect("an entry") {
        let CieOrFde::Fde(partial) = entry else {
            continue;
        };
        let fde = partial
            .parse(DebugFrame::cie_from_offset)
            .expect("a description");
        let mut table = fde.rows(&frames, &bases, &mut context).expect("rows");
        while let Some(row) = table.next_row().expect("a row") {
            if let gimli::CfaRule::RegisterAndOffset { register, offset } = row.cfa()
                && *register == stack
                && row.start_address() < row.end_address()
            {
                rows.push((row.start_address(), *offset));
            }
        }
    }
    rows
}

/// Asserts that tables say of Go's code what `.debug_frame` does, for all rows of it.
fn compare(path: &Path, stack: Register) {
    let data = std::fs::read(path).expect("a file");
    let read = Read::of(&data);
    let (mut same, mut special) = (0, 0);
    for (address, offset) in debug_frame_rows(&data, stack) {
        let rule = read.rule(address);
        match rule.cfa {
            // What Go's own traceback would not walk either.
            Cfa::End | Cfa::Unsupported | Cfa::Frame => special += 1,
            _ => {
                assert_eq!(
                    (rule.cfa, i64::from(rule.cfa_offset)),
                    (Cfa::Stack, offset),
                    "{address:#x}"
                );
                same += 1;
            }
        }
    }
    println!(
        "{}: {same} rows as in .debug_frame, {special} special, {} words, {} rules",
        path.display(),
        read.words(),
        read.rules.all().len()
    );
    assert!(
        same > 5000 && special < same / 20,
        "{same} rows are the same, {special} special"
    );
}

#[test]
fn rows_of_go_are_those_of_its_debug_frame() {
    let programs = Programs::new();
    let Some(path) = programs.go("plain", SOURCE, &[], &[("CGO_ENABLED", "0")]) else {
        return;
    };
    compare(&path, X86_64::RSP);
}

#[test]
fn rows_of_go_for_arm64_are_those_of_its_debug_frame() {
    let programs = Programs::new();
    let env = [("CGO_ENABLED", "0"), ("GOARCH", "arm64")];
    let Some(path) = programs.go("arm64", SOURCE, &[], &env) else {
        return;
    };
    compare(&path, AArch64::SP);
    let data = std::fs::read(&path).expect("a file");
    let names = Names::parse(&data).expect("a Go file");
    let file = object::File::parse(&*data).expect("an ELF file");
    let symbol = file.symbol_by_name("main.spin").expect("a symbol");
    assert_eq!(names.function_name(symbol.address()), Some("main.spin"));
    let read = Read::of(&data);
    assert_eq!(
        read.rule(symbol.address()).return_address,
        ReturnAddress::Link
    );
    // The return address lies at the stack pointer, the frame pointer below it.
    let symbol = file.symbol_by_name("main.main").expect("a symbol");
    let rule = read.rule(symbol.address() + symbol.size() / 2);
    assert_eq!(
        (rule.cfa, rule.return_address),
        (Cfa::Stack, ReturnAddress::Saved)
    );
    assert_eq!(rule.cfa_offset + rule.return_address_offset, 0);
    assert_eq!(rule.cfa_offset + rule.frame_pointer_offset, -8);
}

/// Names and rules of a file by the symbols of another.
fn same_by_symbols(symbols: &Path, stripped: &Path, shift_allowed: bool) {
    let (whole, bare) = (
        std::fs::read(symbols).expect("a file"),
        std::fs::read(stripped).expect("a file"),
    );
    let names = Names::parse(&bare).expect("a Go file");
    let (of_whole, of_bare) = (Read::of(&whole), Read::of(&bare));
    let file = object::File::parse(&*whole).expect("an ELF file");
    let mut found = 0;
    for symbol in file
        .symbols()
        .filter(|symbol| symbol.kind() == object::SymbolKind::Text && symbol.size() > 0)
    {
        let Ok(name) = symbol.name() else { continue };
        // Symbols of ABI wrappers and of C say more or other than the table; `go:` marks places.
        if !name.starts_with("go:") && names.function_name(symbol.address()) == Some(name) {
            found += 1;
            let middle = symbol.address() + symbol.size() / 2;
            assert_eq!(names.function_name(middle), Some(name));
            assert!(
                shift_allowed || of_whole.rule(middle) == of_bare.rule(middle),
                "{name}"
            );
            assert_ne!(of_bare.rule(middle), Rule::UNKNOWN, "{name}");
        }
    }
    assert!(found > 1000, "{found} functions have the same name");
    assert_eq!(names.function_name(1), None);
}

#[test]
fn a_stripped_go_file_has_the_same_rows_and_all_names() {
    let programs = Programs::new();
    let env = [("CGO_ENABLED", "0")];
    let Some(plain) = programs.go("plain", SOURCE, &[], &env) else {
        return;
    };
    let Some(stripped) = programs.go("stripped", SOURCE, &["-ldflags=-s -w"], &env) else {
        return;
    };
    same_by_symbols(&plain, &stripped, false);
}

#[test]
fn a_position_independent_go_file_linked_by_c_has_rows_and_names() {
    let programs = Programs::new();
    let flags = ["-buildmode=pie", "-ldflags=-linkmode=external"];
    let Some(pie) = programs.go("pie", SOURCE, &flags, &[("CGO_ENABLED", "1")]) else {
        return;
    };
    same_by_symbols(&pie, &pie, false);
    compare(&pie, X86_64::RSP);
}

#[test]
fn where_go_begins_is_found_in_relocations_too() {
    let programs = Programs::new();
    let flags = ["-buildmode=pie", "-ldflags=-linkmode=external"];
    let Some(pie) = programs.go("pie", SOURCE, &flags, &[("CGO_ENABLED", "1")]) else {
        return;
    };
    let mut data = std::fs::read(&pie).expect("a file");
    // Some linkers leave what will be relocated at zero.
    let (module, main) = {
        let file = object::File::parse(&*data).expect("an ELF file");
        let module = file.section_by_name(".go.module").expect("a section");
        let main = file.symbol_by_name("main.main").expect("a symbol");
        (module.file_range().expect("bytes"), main.address())
    };
    data[module.0 as usize..][..module.1 as usize].fill(0);
    assert_eq!(
        Names::parse(&data).and_then(|names| names.function_name(main)),
        Some("main.main")
    );
}

#[test]
fn c_in_a_go_file_is_described_by_its_eh_frame() {
    let programs = Programs::new();
    let source = r#"
package main

// __attribute__((noinline)) int twice(int n) { __asm__ volatile("" ::: "memory", "rbx"); return n * 2; }
import "C"

func main() { println(C.twice(21)) }
"#;
    let Some(path) = programs.go("cgo", source, &[], &[("CGO_ENABLED", "1")]) else {
        return;
    };
    let data = std::fs::read(&path).expect("a file");
    let read = Read::of(&data);
    let file = object::File::parse(&*data).expect("an ELF file");
    let at = |name| {
        file.symbol_by_name(name)
            .map(|symbol| symbol.address())
            .expect("a symbol")
    };
    assert_eq!(read.rule(at("twice")), Rule::stack(8));
    assert_eq!(read.rule(at("twice") + 1), Rule::stack(16));
    assert_eq!(read.rule(at("main.main")), Rule::stack(8));
    assert_eq!(read.rule(at("runtime.goexit.abi0")), Rule::END);
    assert!(
        at("_start") < at("runtime.goexit.abi0"),
        "C lies on both sides of Go"
    );
    assert_eq!(read.rule(at("_start")), Rule::END);
    let names = Names::parse(&data).expect("a Go file");
    assert_eq!(names.function_name(at("main.main") + 5), Some("main.main"));
    assert_eq!(names.function_name(at("twice")), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    /// For all damage to the function table: the file is read to an end, without a panic.
    #[test]
    fn a_damaged_function_table_is_read_to_an_end(
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..2000),
        header in any::<bool>(),
    ) {
        static WHOLE: LazyLock<Option<Vec<u8>>> = LazyLock::new(|| {
            let programs = Programs::new();
            let path = programs.go("damaged", SOURCE, &["-ldflags=-s -w"], &[("CGO_ENABLED", "0")])?;
            Some(std::fs::read(path).expect("a file"))
        });
        let Some(mut data) = WHOLE.clone() else { return Ok(()) };
        let section = object::File::parse(&*data).expect("an ELF file").section_by_name(".gopclntab")
            .and_then(|section| section.file_range()).expect("a section");
        for (at, byte) in damage {
            let length = if header { 72 } else { section.1 as usize };
            data[section.0 as usize + at.index(length)] = byte;
        }
        let read = Read::of(&data);
        prop_assert!(read.words() < data.len());
        if let Some(names) = Names::parse(&data) {
            for address in (0x40_1000..0x50_0000).step_by(0x1001) {
                let _ = names.function_name(address);
            }
        }
    }
}
