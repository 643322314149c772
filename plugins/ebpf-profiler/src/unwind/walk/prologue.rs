//! Whether code shows that its function's frame is not made yet, or no more.

use super::super::{Cfa, FramePointer, ReturnAddress, Rule};
use super::Code;

/// The frame's rule, if the instruction that comes next is one of a function's first two or its last.
pub(super) fn prologue(code: &Code) -> Option<Rule> {
    if cfg!(target_arch = "aarch64") {
        aarch64(code)
    } else {
        x86_64(code)
    }
}

/// `push rbp` (after `endbr64`), `mov rbp, rsp`, `ret`.
fn x86_64(code: &Code) -> Option<Rule> {
    let pushed = Rule {
        frame_pointer: FramePointer::Saved,
        frame_pointer_offset: -16,
        ..Rule::stack(16)
    };
    let (before, next) = code.split_at(4);
    match (before, next) {
        (_, [0x55, 0x48, 0x89, 0xe5, ..] | [0x55, 0x48, 0x8b, 0xec, ..]) => Some(Rule::stack(8)),
        (_, [0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0x48, 0x89, 0xe5, ..]) => Some(Rule::stack(8)),
        (_, [0xc3 | 0xc2, ..] | [0xf3, 0xc3, ..]) => Some(Rule::stack(8)),
        ([.., 0x55], [0x48, 0x89, 0xe5, ..] | [0x48, 0x8b, 0xec, ..]) => Some(pushed),
        _ => None,
    }
}

/// `stp x29, x30, [sp, #-n]!`, `mov x29, sp`, `ret`.
fn aarch64(code: &Code) -> Option<Rule> {
    let word = |at: usize| Some(u32::from_le_bytes(code.get(at..)?.first_chunk().copied()?));
    let pushes = |word: u32| word & 0xffc0_7fff == 0xa980_7bfd;
    let (before, next) = (word(0)?, word(4)?);
    let bare = Rule {
        cfa: Cfa::Stack,
        return_address: ReturnAddress::Link,
        ..Rule::default()
    };
    if pushes(next) || next == 0xd65f_03c0 {
        return Some(bare);
    }
    // The two lie where the stack pointer is; how much more was made room for does not matter to a walk
    // by frame pointers.
    let pushed = Rule {
        return_address: ReturnAddress::Saved,
        return_address_offset: 8,
        frame_pointer: FramePointer::Saved,
        ..bare
    };
    (pushes(before) && next == 0x9100_03fd).then_some(pushed)
}

#[cfg(test)]
mod tests;
