//! Walks a stack that was copied out, the way the kernel's program walks a live one (`bpf/unwind.h`).
//!
//! # The steps
//!
//! A frame is `ip`, `sp`, `fp`, `link` and whether it was interrupted, as the innermost one was. Until
//! [`MOST_FRAMES`] are written, for each frame:
//!
//! 1. Write `ip`; one more for an interrupted frame that is not the innermost, so that whoever takes 1 off
//!    a return address finds the right function there too. Look up `pc`: `ip` if interrupted, else
//!    `ip - 1`, since a call may be the last instruction of its function.
//! 2. Find the mapping of `pc`. Its rule: with [`Walk::Rule`] rule number `word`; with [`Walk::Table`] the
//!    row at `pc - base`; else, and outside of the table's pages, [`Cfa::Unknown`].
//! 3. Unknown, and interrupted, and the frame is the innermost: if the code at `ip` shows that the frame is
//!    not made yet or no more (`walk/prologue.rs`), take the rule for that instead.
//! 4. [`Cfa::End`]: complete. [`Cfa::Unsupported`]: unsupported. [`Cfa::Signal`]: read `sp`, `fp`, `ip`
//!    (and `link`) relative to `sp`; the next frame is interrupted.
//! 5. Unknown: `fp` of zero ends the stack where the frame before was left by its frame pointer: else it is
//!    a register like others. Not zero, `fp` has to be a multiple of 8 from `sp` on, less than [`FARTHEST`]
//!    away; the caller's `fp` lies at `fp`, the return address at `fp + 8`, the caller's `sp` is `fp + 16`.
//! 6. Else find the CFA, which is the caller's `sp`, read the return address, then the frame pointer.
//! 7. A return address below [`LOWEST`] ends the stack.
//!
//! A stack with an address in no mapping is not complete, wherever it ended.
//!
//! A lost frame pointer is [`LOST`], which no frame pointer is.

mod prologue;

use self::prologue::prologue;
use super::arena::Words;
use super::{Cfa, FramePointer, Mapping, PAGE, PAGE_SHIFT, ReturnAddress, Rule, Rules, Walk};

/// The most addresses of a stack.
pub const MOST_FRAMES: usize = 127;
/// No frame record is this far from the stack pointer.
pub const FARTHEST: u64 = 8 << 20;
/// No code lies below: the lowest page is never mapped.
pub const LOWEST: u64 = 4096;
/// In place of a frame pointer that is lost: no multiple of 8.
pub const LOST: u64 = 1;
/// On arm64, the bits above may sign a return address.
const ADDRESS: u64 = if cfg!(target_arch = "aarch64") {
    (1 << 48) - 1
} else {
    u64::MAX
};

/// Code around the instruction pointer: four bytes before, twelve from it on.
pub type Code = [u8; 16];

/// A thread's registers in user space.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer: `rbp`, `x29`.
    pub fp: u64,
    /// Link register of arm64, `x30`; else unused.
    pub link: u64,
}

/// A copy of the memory from an address on.
#[derive(Clone, Copy, Debug)]
pub struct Stack<'a> {
    /// Its first address.
    pub start: u64,
    /// What was there.
    pub bytes: &'a [u8],
}

/// What a walk reads.
pub trait Memory {
    /// Eight bytes at an address; none if they cannot be read.
    fn read(&self, address: u64) -> Option<u64>;
}

impl Memory for Stack<'_> {
    fn read(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.start)?).ok()?;
        self.bytes
            .get(at..)?
            .first_chunk()
            .map(|bytes| u64::from_le_bytes(*bytes))
    }
}

/// What is known of a process's code.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a, W> {
    /// The process's executable ranges, ascending.
    pub mappings: &'a [Mapping],
    /// All tables.
    pub words: &'a W,
    /// All rules.
    pub rules: &'a [Rule],
}

/// How a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the thread's first frame.
    Complete,
    /// Memory was needed that cannot be read, or was not copied.
    Truncated,
    /// Nothing is known of a frame, and its frame pointer leads nowhere.
    NoRule,
    /// The compiler's rule is one we do not have.
    Unsupported,
    /// There are more frames than [`MOST_FRAMES`].
    Deep,
}

/// Replaces `addresses` by a stack's, innermost first: the instruction pointer, then return addresses.
///
/// `code` is what lies around the instruction pointer; without it, the caller of a function of unknown
/// code that is just being entered or left is missing.
pub fn walk<W: Words>(
    registers: Registers,
    memory: &impl Memory,
    code: Option<&Code>,
    tables: &Tables<'_, W>,
    addresses: &mut Vec<u64>,
) -> End {
    addresses.clear();
    let mut frame = Frame {
        registers,
        interrupted: true,
        chained: false,
    };
    let mut strayed = false;
    let complete = |strayed| if strayed { End::NoRule } else { End::Complete };
    while addresses.len() < MOST_FRAMES {
        let innermost = addresses.is_empty();
        let Registers { ip, .. } = frame.registers;
        addresses.push(ip.wrapping_add(u64::from(frame.interrupted && !innermost)));
        let pc = ip.wrapping_sub(u64::from(!frame.interrupted));
        strayed |= tables.mapping(pc).is_none();
        let mut rule = tables.rule(pc);
        if rule.cfa == Cfa::Unknown && innermost {
            rule = code.and_then(prologue).unwrap_or(rule);
        }
        match frame.caller(&rule, memory) {
            Ok(caller) if caller.registers.ip < LOWEST => return complete(strayed),
            Ok(caller) => frame = caller,
            Err(End::Complete) => return complete(strayed),
            Err(end) => return end,
        }
    }
    End::Deep
}

impl<W: Words> Tables<'_, W> {
    /// The rule of an address of the process.
    pub fn rule(&self, pc: u64) -> Rule {
        let number = match self.mapping(pc) {
            Some(mapping) if mapping.walk == Walk::Rule => mapping.word,
            Some(mapping) if mapping.walk == Walk::Table => self.row(mapping, pc),
            _ => Rules::UNKNOWN.into(),
        };
        self.rules
            .get(number as usize)
            .copied()
            .unwrap_or(Rule::UNSUPPORTED)
    }

    fn mapping(&self, pc: u64) -> Option<&Mapping> {
        let after = self.mappings.partition_point(|mapping| mapping.start <= pc);
        let mapping = after.checked_sub(1).and_then(|at| self.mappings.get(at));
        mapping.filter(|mapping| pc < mapping.end)
    }

    /// The number of the rule in a mapping's table.
    fn row(&self, mapping: &Mapping, pc: u64) -> u32 {
        let offset = pc.wrapping_sub(mapping.base);
        let page = offset >> PAGE_SHIFT;
        if page >= u64::from(mapping.pages) {
            return Rules::UNKNOWN.into();
        }
        let word = |index: u32| {
            self.words
                .read(mapping.arena, mapping.word.wrapping_add(index))
        };
        let (mut low, mut high) = (word(page as u32), word(page as u32 + 1));
        let mut number = Rules::UNSUPPORTED.into();
        while low < high {
            let middle = low + (high - low) / 2;
            let row = word(middle);
            if u64::from(row >> 16) <= offset % PAGE {
                number = row & 0xffff;
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        number
    }
}

/// A frame on the way out.
struct Frame {
    registers: Registers,
    interrupted: bool,
    /// Found by a frame pointer.
    chained: bool,
}

impl Frame {
    fn caller(&self, rule: &Rule, memory: &impl Memory) -> Result<Self, End> {
        let Registers { ip, sp, fp, .. } = self.registers;
        let cfa = match rule.cfa {
            Cfa::End => return Err(End::Complete),
            Cfa::Unsupported => return Err(End::Unsupported),
            Cfa::Unknown => return self.by_frame_pointer(memory),
            Cfa::Signal => return self.by_signal(rule, memory),
            Cfa::Stack => at(sp, rule.cfa_offset),
            Cfa::Frame => at(frame_pointer(fp)?, rule.cfa_offset),
            Cfa::Plt => {
                let pushed = ip & 15 >= u64::from(rule.cfa_offset.unsigned_abs());
                at(sp, if pushed { 16 } else { 8 })
            }
            Cfa::StackIndirect => {
                read(memory, at(sp, rule.cfa_offset))?.wrapping_add(rule.cfa_addend.into())
            }
            Cfa::FrameIndirect => read(memory, at(frame_pointer(fp)?, rule.cfa_offset))?
                .wrapping_add(rule.cfa_addend.into()),
        };
        let ip = match rule.return_address {
            ReturnAddress::Saved => read(memory, at(cfa, rule.return_address_offset))?,
            ReturnAddress::Link if self.interrupted => self.registers.link,
            ReturnAddress::Link => return Err(End::NoRule),
        };
        let fp = match rule.frame_pointer {
            FramePointer::Same => fp,
            FramePointer::Saved => read(memory, at(cfa, rule.frame_pointer_offset))?,
            FramePointer::SavedAtFrame => read(memory, at(fp, rule.frame_pointer_offset))?,
            FramePointer::Lost => LOST,
        };
        Ok(Self::called(ip, cfa, fp))
    }

    fn by_frame_pointer(&self, memory: &impl Memory) -> Result<Self, End> {
        let Registers { sp, fp, .. } = self.registers;
        if fp == 0 && self.chained {
            return Err(End::Complete);
        }
        if fp < sp || fp - sp >= FARTHEST || !fp.is_multiple_of(8) {
            return Err(End::NoRule);
        }
        let caller = Self::called(read(memory, at(fp, 8))?, at(fp, 16), read(memory, fp)?);
        Ok(Self {
            chained: true,
            ..caller
        })
    }

    fn by_signal(&self, rule: &Rule, memory: &impl Memory) -> Result<Self, End> {
        let saved = |offset| read(memory, at(self.registers.sp, offset));
        let link = match rule.return_address {
            ReturnAddress::Saved => 0,
            ReturnAddress::Link => saved(rule.frame_pointer_offset.wrapping_add(8))?,
        };
        let registers = Registers {
            ip: saved(rule.return_address_offset)?,
            sp: saved(rule.cfa_offset)?,
            fp: saved(rule.frame_pointer_offset)?,
            link: link & ADDRESS,
        };
        Ok(Self {
            registers,
            interrupted: true,
            chained: false,
        })
    }

    fn called(ip: u64, sp: u64, fp: u64) -> Self {
        Self {
            registers: Registers {
                ip: ip & ADDRESS,
                sp,
                fp,
                link: 0,
            },
            interrupted: false,
            chained: false,
        }
    }
}

fn at(address: u64, offset: i32) -> u64 {
    address.wrapping_add_signed(offset.into())
}

fn read(memory: &impl Memory, address: u64) -> Result<u64, End> {
    memory.read(address).ok_or(End::Truncated)
}

/// A frame pointer that may be followed.
fn frame_pointer(fp: u64) -> Result<u64, End> {
    if fp != 0 && fp.is_multiple_of(8) {
        Ok(fp)
    } else {
        Err(End::NoRule)
    }
}

#[cfg(test)]
mod tests;
