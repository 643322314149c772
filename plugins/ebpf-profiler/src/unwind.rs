//! Callers of a frame without frame pointers: tables from what compilers leave for exceptions.
//!
//! A table belongs to a file and says for every address how to get from a frame to its caller. It is
//! walked in the kernel (`bpf/unwind.h`) and, for stacks that were copied out, here ([`walk`]). Both read
//! the same words in the same layout and take the same steps, which [`walk`] documents:
//!
//! - The file's code is cut into pages of [`PAGE`] bytes, from `Table::first` on. Word `i` is the index
//!   of page `i`'s first row among the table's words; one more index follows the last page's.
//! - A row is `offset in page << 16 | rule`, ascending within its page. It holds up to the next row. Each
//!   page begins with a row of offset 0.
//! - Rules are shared by all tables ([`Rules`]).
//!
//! [`elf`] makes rows of a file with [`eh_frame`] and [`go`], [`table`] makes tables of rows, [`arena`]
//! says where they are put.

pub mod arena;
pub mod eh_frame;
pub mod elf;
pub mod go;
pub mod rules;
pub mod table;
pub mod walk;

pub use rules::Rules;
pub use table::Table;

/// Bytes of code in a page of a table.
pub const PAGE: u64 = 1 << PAGE_SHIFT;
/// `PAGE` as a power of two.
pub const PAGE_SHIFT: u32 = 10;

/// How the canonical frame address (the stack pointer before the call) is found.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cfa {
    /// This is the thread's first frame.
    #[default]
    End = 0,
    /// Stack pointer and offset.
    Stack = 1,
    /// Frame pointer and offset.
    Frame = 2,
    /// Stack pointer, 8, and 8 more from byte `cfa_offset` of an entry of 16 on: x86-64 PLT.
    Plt = 3,
    /// The compiler's rule is one we do not have.
    Unsupported = 4,
    /// Nothing is known of this address: follow frame pointers.
    Unknown = 5,
    /// The kernel put the interrupted registers on the stack: stack pointer, frame pointer and address
    /// are read at the stack pointer and `cfa_offset`, `frame_pointer_offset`, `return_address_offset`.
    /// The frame that follows was interrupted, like an innermost one.
    Signal = 6,
    /// What lies at the stack pointer and offset, and `cfa_addend` (hand-written assembler).
    StackIndirect = 7,
    /// What lies at the frame pointer and offset, and `cfa_addend` (functions that align their stack).
    FrameIndirect = 8,
}

/// How the caller's frame pointer is found.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FramePointer {
    /// It is still in its register.
    #[default]
    Same = 0,
    /// At the CFA and an offset.
    Saved = 1,
    /// It is lost.
    Lost = 2,
    /// At the frame pointer register and an offset.
    SavedAtFrame = 3,
}

/// How the return address is found.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReturnAddress {
    /// At the CFA and an offset.
    #[default]
    Saved = 0,
    /// In the link register (arm64; innermost and interrupted frames only). With [`Cfa::Signal`] the
    /// link register too is restored, from 8 bytes above the frame pointer.
    Link = 1,
}

/// How to get from a frame to its caller. The same 16 bytes as `struct rule`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Where the CFA is.
    pub cfa: Cfa,
    /// Where the caller's frame pointer is.
    pub frame_pointer: FramePointer,
    /// Where the return address is.
    pub return_address: ReturnAddress,
    /// Added to what [`Cfa::StackIndirect`] and [`Cfa::FrameIndirect`] read; else zero.
    pub cfa_addend: u8,
    /// From the register to the CFA.
    pub cfa_offset: i32,
    /// From the CFA.
    pub frame_pointer_offset: i32,
    /// From the CFA; -8 on x86-64.
    pub return_address_offset: i32,
}

impl Rule {
    /// The rule of a first frame.
    pub const END: Self = Self::of(Cfa::End);
    /// The rule of what cannot be walked.
    pub const UNSUPPORTED: Self = Self::of(Cfa::Unsupported);
    /// The rule of addresses nothing is known of.
    pub const UNKNOWN: Self = Self::of(Cfa::Unknown);

    /// A rule without offsets.
    const fn of(cfa: Cfa) -> Self {
        Self {
            cfa,
            frame_pointer: FramePointer::Same,
            return_address: ReturnAddress::Saved,
            cfa_addend: 0,
            cfa_offset: 0,
            frame_pointer_offset: 0,
            return_address_offset: 0,
        }
    }

    /// The usual frame of x86-64: the CFA at the stack pointer and an offset, the return address below it.
    pub const fn stack(cfa_offset: i32) -> Self {
        Self {
            cfa_offset,
            return_address_offset: -8,
            ..Self::of(Cfa::Stack)
        }
    }
}

/// From one address on, this rule holds. Rows are what readers of ELF files make; a [`Table`] is made of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// In the file's own addresses.
    pub address: u64,
    /// What holds from there.
    pub rule: Rule,
}

/// How a range of a process's addresses is walked.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Walk {
    /// By frame pointers: generated code, files without tables.
    #[default]
    FramePointers = 0,
    /// By a table.
    Table = 1,
    /// By one rule for all of it.
    Rule = 2,
}

/// A range of a process's executable addresses. The same 40 bytes as `struct mapping`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Where the table's first page lies in the process.
    pub base: u64,
    /// Which arena the table lies in.
    pub arena: u32,
    /// Its first word there; with [`Walk::Rule`] the rule.
    pub word: u32,
    /// Pages of the table.
    pub pages: u32,
    /// How it is walked.
    pub walk: Walk,
    /// Zero.
    pub padding: [u8; 3],
}
