//! Tables of Go's function table against the `.debug_frame` that Go writes too.

use std::path::Path;

use gimli::{
    BaseAddresses, CieOrFde, DebugFrame, EndianSlice, LittleEndian, UnwindContext, UnwindSection,
};
use object::{Object, ObjectSection, ObjectSymbol};
use perigee_ebpf_profiler::unwind::go::Names;
use perigee_ebpf_profiler::unwind::{Cfa, ReturnAddress, Rule};

use crate::build::Programs;
use crate::oracle::{Numbers, Read};

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
fn debug_frame_rows(data: &[u8], numbers: &Numbers) -> Vec<(u64, i64)> {
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
                && register.0 == numbers.stack
                && row.start_address() < row.end_address()
            {
                rows.push((row.start_address(), *offset));
            }
        }
    }
    rows
}

/// Asserts that tables say of Go's code what `.debug_frame` does, for all rows of it.
fn compare(path: &Path, numbers: &Numbers) {
    let data = std::fs::read(path).expect("a file");
    let read = Read::of(&data);
    let (mut same, mut special) = (0, 0);
    for (address, offset) in debug_frame_rows(&data, numbers) {
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
    compare(&path, &crate::oracle::X86_64);
}

#[test]
fn rows_of_go_for_arm64_are_those_of_its_debug_frame() {
    let programs = Programs::new();
    let env = [("CGO_ENABLED", "0"), ("GOARCH", "arm64")];
    let Some(path) = programs.go("arm64", SOURCE, &[], &env) else {
        return;
    };
    compare(
        &path,
        &Numbers {
            stack: 31,
            frame: 29,
            return_address: 30,
        },
    );
    let data = std::fs::read(&path).expect("a file");
    let names = Names::parse(&data).expect("a Go file");
    let file = object::File::parse(&*data).expect("an ELF file");
    let symbol = file.symbol_by_name("main.spin").expect("a symbol");
    assert_eq!(names.function_name(symbol.address()), Some("main.spin"));
    assert_eq!(
        Read::of(&data).rule(symbol.address()).return_address,
        ReturnAddress::Link
    );
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
    assert!(found > 1500, "{found} functions have the same name");
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
    compare(&pie, &crate::oracle::X86_64);
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
    let names = Names::parse(&data).expect("a Go file");
    assert_eq!(names.function_name(at("main.main") + 5), Some("main.main"));
    assert_eq!(names.function_name(at("twice")), None);
}
