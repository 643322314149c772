//! Rows of an ELF file, from whatever it has: Go's function table, `.eh_frame`, `.debug_frame`.
//!
//! Files are given as bytes (callers map them) and read in place; rows are handed out one by one in
//! ascending order, so that a big file costs little memory.

use std::ops::Range;

use object::elf::{EM_AARCH64, EM_X86_64, PF_X, PT_LOAD};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{LittleEndian, Object, ObjectSection};

use super::eh_frame::Frames;
use super::go::Functions;
use super::{Row, Rule};

/// Why a file has no rows.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no ELF file of 64 bits and little endian.
    #[error("not a 64-bit little-endian ELF file")]
    Format(#[from] object::Error),
    /// It is for a processor whose frames we do not know.
    #[error("machine {0} is not supported")]
    Machine(u16),
}

/// The processor of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// x86-64: the return address lies on the stack.
    X86_64,
    /// aarch64: the return address comes in a link register.
    Aarch64,
}

/// Hands `each` the rows of a file in ascending order, no two neighbours with the same rule.
///
/// Addresses before the first row, and those of a row of [`super::Cfa::Unknown`], are not described.
///
/// # Errors
///
/// The bytes are no ELF file, or one for another processor.
pub fn rows(file: &[u8], each: impl FnMut(Row)) -> Result<(), Error> {
    let image = Image::parse(file)?;
    let mut merge = Merge {
        pending: None,
        last: Rule::UNKNOWN,
        each,
    };
    match Functions::find(&image) {
        Some(functions) => {
            // What Go's linker says of Go's code is all there is; C in the same file has `.eh_frame`.
            let range = functions.range();
            let frames = Frames::of_eh_frame(&image);
            frames.rows(0..range.start, &mut |row| merge.push(row));
            functions.rows(&image, &mut |row| merge.push(row));
            frames.rows(range.end..u64::MAX, &mut |row| merge.push(row));
        }
        None => Frames::find(&image).rows(0..u64::MAX, &mut |row| merge.push(row)),
    }
    merge.finish();
    Ok(())
}

/// Drops rows that say nothing new; of two rows for one address the later counts.
struct Merge<F> {
    pending: Option<Row>,
    last: Rule,
    each: F,
}

impl<F: FnMut(Row)> Merge<F> {
    fn push(&mut self, row: Row) {
        if self
            .pending
            .is_some_and(|pending| pending.address != row.address)
        {
            self.finish();
        }
        self.pending = Some(row);
    }

    fn finish(&mut self) {
        if let Some(row) = self.pending.take()
            && row.rule != self.last
        {
            self.last = row.rule;
            (self.each)(row);
        }
    }
}

/// A parsed file.
#[derive(Debug)]
pub struct Image<'data> {
    /// Its headers.
    pub(super) file: ElfFile64<'data, LittleEndian>,
    /// Its processor.
    pub(super) machine: Machine,
}

impl<'data> Image<'data> {
    /// Reads the headers of a file.
    pub fn parse(file: &'data [u8]) -> Result<Self, Error> {
        let file = ElfFile64::parse(file)?;
        let machine = match file.elf_header().e_machine(LittleEndian) {
            EM_X86_64 => Machine::X86_64,
            EM_AARCH64 => Machine::Aarch64,
            other => return Err(Error::Machine(other)),
        };
        Ok(Self { file, machine })
    }

    /// A section's address and bytes, unless it is compressed.
    pub(super) fn section(&self, name: &str) -> Option<(u64, &'data [u8])> {
        let section = self.file.section_by_name(name)?;
        Some((section.address(), section.data().ok()?))
    }

    /// `length` bytes of code at an address.
    pub(super) fn code(&self, address: u64, length: usize) -> Option<&'data [u8]> {
        self.executable().find_map(|(start, data)| {
            let at = usize::try_from(address.checked_sub(start)?).ok()?;
            data.get(at..at.checked_add(length)?)
        })
    }

    /// The lowest address of code.
    pub(super) fn first_code(&self) -> u64 {
        self.executable().map(|(start, _)| start).min().unwrap_or(0)
    }

    /// Whether a range of addresses lies in code that is in the file.
    pub(super) fn is_code(&self, range: &Range<u64>) -> bool {
        self.executable().any(|(start, data)| {
            let end = start.saturating_add(data.len() as u64);
            start <= range.start && range.start < range.end && range.end <= end
        })
    }

    /// The executable segments: addresses and bytes.
    fn executable(&self) -> impl Iterator<Item = (u64, &'data [u8])> {
        self.file
            .elf_program_headers()
            .iter()
            .filter(|segment| {
                segment.p_type(LittleEndian) == PT_LOAD && segment.p_flags(LittleEndian) & PF_X != 0
            })
            .filter_map(|segment| {
                let data = segment.data(LittleEndian, self.file.data()).ok()?;
                Some((segment.p_vaddr(LittleEndian), data))
            })
    }
}
