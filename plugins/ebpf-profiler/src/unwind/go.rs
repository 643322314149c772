//! Rows and names from the function table that Go's linker writes (`.gopclntab`).
//!
//! Go writes no `.eh_frame`, and its leaf functions have no frame. The table is in every binary, stripped
//! or not: the runtime itself walks stacks with it. For each function it has a sequence of (stack depth,
//! code bytes), the `pcsp` table.
//!
//! # Decisions
//!
//! 2026-11-21: functions that switch stacks (`SPWRITE`: `systemstack`, `asmcgocall`, `cgocallback`, the
//! vDSO's callers) keep their frame pointer meanwhile, so they are walked by it where the code shows that
//! they set it, which they do from Go 1.21 on. Go's own traceback gives up there or uses the goroutine's
//! saved state, which we cannot read.

mod image;
mod pclntab;

use std::ops::Range;

use self::pclntab::{Function, Pclntab};
use super::elf::{Image, Machine};
use super::{Cfa, FramePointer, ReturnAddress, Row, Rule};

/// Switches from a goroutine that waits to the scheduler, whose stack begins there.
const FIRST_OF_SCHEDULER: &str = "runtime.mcall";

/// Names of the functions of a Go file, stripped or not.
#[derive(Debug)]
pub struct Names<'data>(Pclntab<'data>);

impl<'data> Names<'data> {
    /// None if the file is not of Go 1.16 or later.
    pub fn parse(file: &'data [u8]) -> Option<Self> {
        image::find(&Image::parse(file).ok()?).map(Self)
    }

    /// The function at an address of the file, with its package: `main.(*Server).serve`.
    pub fn function_name(&self, address: u64) -> Option<&'data str> {
        self.0.name(&self.0.function(self.0.index_at(address)?)?)
    }
}

/// The functions of a Go file.
pub struct Functions<'data> {
    table: Pclntab<'data>,
    machine: Machine,
}

impl<'data> Functions<'data> {
    /// None if the file is not of Go 1.16 or later.
    pub fn find(image: &Image<'data>) -> Option<Self> {
        Some(Self {
            table: image::find(image)?,
            machine: image.machine,
        })
    }

    /// All of Go's code, which lies in one piece.
    pub fn range(&self) -> Range<u64> {
        self.table.range()
    }

    /// Hands `each` the rows of Go's code, ascending.
    pub fn rows(&self, image: &Image<'_>, each: &mut dyn FnMut(Row)) {
        for index in 0..self.table.len() {
            let Some(function) = self.table.function(index) else {
                let start = self
                    .table
                    .entry(index)
                    .filter(|start| self.range().contains(start));
                if let Some(address) = start {
                    each(Row {
                        address,
                        rule: Rule::UNKNOWN,
                    });
                }
                continue;
            };
            if function.is_first() {
                each(Row {
                    address: function.range.start,
                    rule: Rule::END,
                });
                continue;
            }
            let framed_from = self.framed_from(&function, image);
            let mut known_to = function.range.start;
            for (range, depth) in self.table.depths(&function) {
                known_to = range.end;
                self.depth_rows(&function, framed_from, range, depth, each);
            }
            if known_to < function.range.end {
                each(Row {
                    address: known_to,
                    rule: Rule::UNKNOWN,
                });
            }
        }
        each(Row {
            address: self.range().end,
            rule: Rule::UNKNOWN,
        });
    }

    /// Rows of a range where the stack is `depth` bytes deeper than at the function's start.
    fn depth_rows(
        &self,
        function: &Function,
        framed_from: Option<u64>,
        range: Range<u64>,
        depth: i32,
        each: &mut dyn FnMut(Row),
    ) {
        let own = self.stack_rule(depth, framed_from.is_some());
        if !function.switches_stacks() {
            return each(Row {
                address: range.start,
                rule: own,
            });
        }
        let Some(framed_from) = framed_from else {
            return each(Row {
                address: range.start,
                rule: Rule::UNSUPPORTED,
            });
        };
        // Outside of its frame, the function is on its own stack.
        each(Row {
            address: range.start,
            rule: own,
        });
        let framed = range.start.max(framed_from);
        if depth > 0 && framed < range.end {
            let first = self.table.name(function) == Some(FIRST_OF_SCHEDULER);
            let rule = if first {
                Rule::END
            } else {
                self.frame_rule(depth)
            };
            each(Row {
                address: framed,
                rule,
            });
        }
    }

    fn stack_rule(&self, depth: i32, framed: bool) -> Rule {
        match self.machine {
            Machine::X86_64 if depth >= 8 && framed => {
                with_frame_pointer(Rule::stack(depth.saturating_add(8)), -16)
            }
            Machine::X86_64 => Rule::stack(depth.saturating_add(8)),
            Machine::Aarch64 if depth <= 0 => Rule {
                cfa: Cfa::Stack,
                cfa_offset: depth,
                return_address: ReturnAddress::Link,
                ..Rule::default()
            },
            // The return address lies lowest, the frame pointer below the stack pointer.
            Machine::Aarch64 => {
                let rule = Rule {
                    cfa: Cfa::Stack,
                    cfa_offset: depth,
                    return_address_offset: depth.saturating_neg(),
                    ..Rule::default()
                };
                if framed {
                    with_frame_pointer(rule, rule.return_address_offset.saturating_sub(8))
                } else {
                    rule
                }
            }
        }
    }

    /// The same frame, found by its frame pointer.
    fn frame_rule(&self, depth: i32) -> Rule {
        let rule = self.stack_rule(depth, true);
        let cfa_offset = match self.machine {
            Machine::X86_64 => 16,
            Machine::Aarch64 => depth.saturating_add(8),
        };
        Rule {
            cfa: Cfa::Frame,
            cfa_offset,
            ..rule
        }
    }

    /// From where on the frame pointer is a function's own; none if it has none. The compiler always sets
    /// it, in assembler the code must show it.
    fn framed_from(&self, function: &Function, image: &Image<'_>) -> Option<u64> {
        if !function.is_assembler() && !function.switches_stacks() {
            return Some(function.range.start);
        }
        let (range, _) = self.table.depths(function).find(|&(_, depth)| depth > 0)?;
        let length = match self.machine {
            Machine::X86_64 => frame_made_x86_64(image.code(range.start.checked_sub(1)?, 17)?)?,
            Machine::Aarch64 => frame_made_aarch64(image.code(range.start, 12)?)?,
        };
        Some(range.start + length)
    }
}

fn with_frame_pointer(rule: Rule, frame_pointer_offset: i32) -> Rule {
    Rule {
        frame_pointer: FramePointer::Saved,
        frame_pointer_offset,
        ..rule
    }
}

/// How many bytes after the stack grew the frame pointer is set, from the byte before on.
fn frame_made_x86_64(code: &[u8]) -> Option<u64> {
    let has =
        |at: usize, bytes: [u8; 4]| code.get(at..).is_some_and(|code| code.starts_with(&bytes));
    // push rbp; mov rbp, rsp: Go 1.21 and later.
    if has(0, [0x55, 0x48, 0x89, 0xe5]) {
        return Some(3);
    }
    // sub rsp, n; mov [rsp + n - 8], rbp; lea rbp, [rsp + n - 8]: offsets of one byte, of four.
    if has(1, [0x48, 0x89, 0x6c, 0x24]) && has(6, [0x48, 0x8d, 0x6c, 0x24]) {
        return Some(10);
    }
    let long = has(1, [0x48, 0x89, 0xac, 0x24]) && has(9, [0x48, 0x8d, 0xac, 0x24]);
    long.then_some(16)
}

/// The same: `sub x29, sp, #8` is one of the next three instructions.
fn frame_made_aarch64(code: &[u8]) -> Option<u64> {
    let at = code
        .chunks_exact(4)
        .position(|instruction| instruction == 0xd100_23fd_u32.to_le_bytes())?;
    Some(4 * (at as u64 + 1))
}
