//! Callers of a frame without frame pointers: tables from what compilers leave for exceptions.
//!
//! A table belongs to a file and says for every address how to get from a frame to its caller. It is
//! walked in the kernel (`bpf/unwind.h`) and, for stacks that were copied out, here ([`walk`]). Both read
//! the same words in the same layout:
//!
//! - The file's code is cut into pages of [`PAGE`] bytes, from `Table::first` on. Word `i` is the index
//!   of page `i`'s first row among the table's words; one more index follows the last page's.
//! - A row is `offset in page << 16 | rule`, ascending within its page. It holds up to the next row. Each
//!   page begins with a row of offset 0.
//! - Rules are shared by all tables ([`Rules`]).

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
    /// Stack pointer, 8, and 8 more from the eleventh byte of an entry of 16 on: x86-64 PLT.
    Plt = 3,
    /// The compiler's rule is one we do not have.
    Unsupported = 4,
    /// Nothing is known of this address: follow frame pointers.
    Unknown = 5,
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
}

/// How the return address is found.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ReturnAddress {
    /// At the CFA and an offset.
    #[default]
    Saved = 0,
    /// In the link register (arm64; innermost frame only).
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
    /// Zero.
    pub padding: u8,
    /// From the register to the CFA.
    pub cfa_offset: i32,
    /// From the CFA.
    pub frame_pointer_offset: i32,
    /// From the CFA; -8 on x86-64.
    pub return_address_offset: i32,
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
