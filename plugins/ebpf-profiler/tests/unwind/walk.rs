//! Walks of processes that wait at the end of a chain of calls which is known.

use std::path::Path;

use object::{Object, ObjectSymbol, SymbolKind};
use perigee_ebpf_profiler::unwind::go::Names;
use perigee_ebpf_profiler::unwind::walk::{End, Memory, Stack, walk};

use crate::build::Programs;
use crate::process::{Built, Paused};

/// A chain through a function without a frame pointer, one that uses the register for something else, one
/// that needs it, one that aligns its stack, and a recursion; with an argument, in a signal handler.
const CHAIN: &str = r#"
#include <signal.h>
#include <string.h>
#include <unistd.h>
#define KEEP __attribute__((noipa))
KEEP int innermost(int n) { for (;;) pause(); return n; }
KEEP int clobbers(int n) { __asm__ volatile("" ::: "rbp", "rbx", "r12"); return innermost(n + 1) + 1; }
KEEP int variable(int n) {
    char *room = __builtin_alloca(n + 16);
    memset(room, n, n);
    __asm__ volatile("" : : "r"(room) : "memory");
    return clobbers(room[n / 2]) + room[1];
}
KEEP int aligned(int n) {
    _Alignas(64) char room[256];
    char *more = __builtin_alloca(n + 16);
    memset(room, n, sizeof room);
    __asm__ volatile("" : : "r"(room), "r"(more) : "memory");
    return variable(room[n & 63]) + more[2] + room[3];
}
KEEP int recursive(int n, int depth) {
    return (depth ? recursive(n + 1, depth - 1) : aligned(n)) + 1;
}
KEEP void handler(int signal) { clobbers(signal); }
KEEP int interrupted(int n) { raise(SIGUSR1); return n + 1; }
int main(int argc, char **argv) {
    signal(SIGUSR1, handler);
    return argc > 1 ? interrupted(argc) + 1 : recursive(argc, 3) + 1;
}
"#;

/// Names of a walk's addresses in one file; nothing for other files.
fn names(process: &Paused, program: &Path, addresses: &[u64]) -> Vec<Option<String>> {
    let data = std::fs::read(program).expect("a file");
    let file = object::File::parse(&*data).expect("an ELF file");
    let go = Names::parse(&data);
    let maps = process.maps();
    let name = |(at, address): (usize, &u64)| {
        let pc = address - u64::from(at > 0);
        let map = maps
            .iter()
            .find(|map| map.path == program && (map.start..map.end).contains(&pc))?;
        let own = pc.wrapping_sub(map.bias(&file));
        if let Some(name) = go.as_ref().and_then(|go| go.function_name(own)) {
            return Some(name.to_owned());
        }
        let inside = |symbol: &object::Symbol<'_, '_>| {
            symbol.kind() == SymbolKind::Text
                && (symbol.address()..symbol.address() + symbol.size()).contains(&own)
        };
        Some(file.symbols().find(inside)?.name().ok()?.to_owned())
    };
    addresses.iter().enumerate().map(name).collect()
}

/// Walks a process; its names, and how it ended.
fn walked(process: &Paused, program: &Path, memory: &impl Memory) -> (Vec<String>, End) {
    let built = Built::of(process);
    let mut addresses = Vec::new();
    let end = walk(
        process.registers,
        memory,
        None,
        &built.tables(),
        &mut addresses,
    );
    (
        names(process, program, &addresses)
            .into_iter()
            .flatten()
            .collect(),
        end,
    )
}

#[test]
fn a_chain_without_frame_pointers_is_walked_to_its_end() {
    let programs = Programs::new();
    let Some(program) = programs.c("chain", CHAIN, &["-fno-optimize-sibling-calls"]) else {
        return;
    };
    let process = Paused::start(&program, &[]);
    let bytes = process.stack(16 << 10);
    let stack = Stack {
        start: process.registers.sp,
        bytes: &bytes,
    };
    let (names, end) = walked(&process, &program, &stack);
    let recursive = ["recursive"; 4];
    let expected: Vec<&str> = ["innermost", "clobbers", "variable", "aligned"]
        .into_iter()
        .chain(recursive)
        .chain(["main", "_start"])
        .collect();
    assert_eq!(
        (names, end),
        (
            expected.into_iter().map(str::to_owned).collect(),
            End::Complete
        )
    );
    let short = Stack {
        bytes: &bytes[..64],
        ..stack
    };
    assert_eq!(walked(&process, &program, &short).1, End::Truncated);
}

#[test]
fn a_signal_handler_is_walked_into_what_it_interrupted() {
    let programs = Programs::new();
    let Some(program) = programs.c("chain", CHAIN, &["-fno-optimize-sibling-calls"]) else {
        return;
    };
    let process = Paused::start(&program, &["signal"]);
    let (names, end) = walked(&process, &program, &process);
    let expected = [
        "innermost",
        "clobbers",
        "handler",
        "interrupted",
        "main",
        "_start",
    ];
    assert_eq!(
        (names, end),
        (expected.map(str::to_owned).to_vec(), End::Complete)
    );
}

const GO: &str = r#"
package main

import (
	"os"
	"runtime"
	"syscall"
)

func init() { runtime.LockOSThread() }

//go:noinline
func inner(n int) int {
	var room [200]int
	for i := range room {
		room[i] = i * n
	}
	for {
		syscall.RawSyscall(syscall.SYS_PAUSE, 0, 0, 0)
	}
	return room[n]
}

//go:noinline
func outer(n int) int { return inner(n+1) + 1 }

func main() { os.Exit(outer(len(os.Args))) }
"#;

#[test]
fn a_go_program_without_symbols_is_walked_and_named() {
    let programs = Programs::new();
    let env = [("CGO_ENABLED", "0")];
    let Some(program) = programs.go("chain", GO, &["-ldflags=-s -w"], &env) else {
        return;
    };
    let process = Paused::start(&program, &[]);
    let (names, end) = walked(&process, &program, &process);
    let expected = [
        "main.inner",
        "main.outer",
        "main.main",
        "runtime.main",
        "runtime.goexit",
    ];
    let tail = names.len().saturating_sub(expected.len());
    assert_eq!(
        (&names[tail..], end),
        (&expected.map(str::to_owned)[..], End::Complete)
    );
    assert!(names[0].ends_with(".Syscall6"), "{names:?}");
}

const CGO: &str = r#"
package main

// #include <unistd.h>
// __attribute__((noipa)) int waits(int n) { for (;;) pause(); return n; }
// __attribute__((noipa)) int calls(int n) { __asm__ volatile("" ::: "rbp"); return waits(n + 1) + 1; }
import "C"
import "runtime"

func init() { runtime.LockOSThread() }

//go:noinline
func outer(n int) int { return int(C.calls(C.int(n))) + 1 }

func main() { println(outer(3)) }
"#;

#[test]
fn c_called_by_go_is_walked_onto_the_goroutines_stack() {
    let programs = Programs::new();
    let Some(program) = programs.go("cgo", CGO, &[], &[("CGO_ENABLED", "1")]) else {
        return;
    };
    let process = Paused::start(&program, &[]);
    let (names, end) = walked(&process, &program, &process);
    let wanted = [
        "waits",
        "runtime.asmcgocall",
        "main.outer",
        "main.main",
        "runtime.goexit",
    ];
    let mut found = names.iter();
    assert!(
        wanted.iter().all(|name| found.any(|found| found == name)),
        "{names:?}"
    );
    assert_eq!(end, End::Complete, "{names:?}");
}
