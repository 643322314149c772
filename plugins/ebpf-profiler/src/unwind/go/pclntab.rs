//! The layout of `.gopclntab`: a header, the functions by address, what is known of each.
//!
//! Source: Go's `runtime/symtab.go` (`pcHeader`, `functab`, `pcvalue`), `runtime/runtime2.go` (`_func`) and
//! `internal/abi/symtab.go` at 1.16, 1.18, 1.20 and 1.26.

use std::ops::Range;

/// The first function of a stack: Go's traceback ends there.
const TOP_FRAME: u8 = 1;
/// Writes the stack pointer in a way that `pcsp` cannot express.
const SP_WRITE: u8 = 1 << 1;
/// Written in assembler.
const ASSEMBLER: u8 = 1 << 2;

/// The layouts, by the release that brought them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layout {
    Go116,
    Go118,
    Go120,
}

/// A parsed table. Nothing in it is trusted: every read is checked.
#[derive(Debug)]
pub(super) struct Pclntab<'data> {
    layout: Layout,
    /// Bytes of the shortest instruction.
    quantum: u64,
    len: usize,
    names: &'data [u8],
    depths: &'data [u8],
    functions: &'data [u8],
    /// What the addresses of functions count from; zero in Go 1.16, where they are absolute.
    text: u64,
}

/// One function.
#[derive(Debug)]
pub(super) struct Function {
    /// Its code, up to the next function.
    pub(super) range: Range<u64>,
    name: u32,
    depths: u32,
    flags: u8,
}

impl Function {
    /// Whether it is the first of its stack.
    pub(super) fn is_first(&self) -> bool {
        self.flags & TOP_FRAME != 0
    }

    /// Whether it sets the stack pointer to something else.
    pub(super) fn switches_stacks(&self) -> bool {
        self.flags & SP_WRITE != 0
    }

    /// Whether the compiler did not make its frame.
    pub(super) fn is_assembler(&self) -> bool {
        self.flags & ASSEMBLER != 0
    }
}

impl<'data> Pclntab<'data> {
    /// Whether the bytes begin like a table: magic, two zeros, 1 or 4, the size of a pointer.
    pub(super) fn begins(data: &[u8]) -> bool {
        layout(data).is_some()
    }

    /// Reads the header. The addresses of functions count from zero unless the header says from where.
    pub(super) fn parse(data: &'data [u8]) -> Option<Self> {
        let layout = layout(data)?;
        let word = |index: usize| usize::try_from(u64_at(data, 8 + 8 * index)?).ok();
        let after = |index: usize| data.get(word(index)?..);
        let (text, first) = if layout == Layout::Go116 {
            (0, 2)
        } else {
            (word(2)? as u64, 3)
        };
        Some(Self {
            layout,
            quantum: u64::from(*data.get(6)?),
            len: word(0)?,
            names: after(first)?,
            depths: after(first + 3)?,
            functions: after(first + 4)?,
            text,
        })
        .filter(|table| table.len > 0 && table.entry(table.len).is_some())
    }

    /// Whether the header left out what addresses count from.
    pub(super) fn lacks_text(&self) -> bool {
        self.layout > Layout::Go116 && self.text == 0
    }

    /// The same table with what addresses count from.
    pub(super) fn with_text(self, text: u64) -> Self {
        Self { text, ..self }
    }

    /// How many functions there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// From the first function to the end of the last; empty if the table is broken.
    pub(super) fn range(&self) -> Range<u64> {
        self.entry(0).unwrap_or(0)..self.entry(self.len).unwrap_or(0)
    }

    /// Which function lies at an address.
    pub(super) fn index_at(&self, address: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.len);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry(middle)? <= address {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        (address < self.entry(self.len)?).then(|| low.checked_sub(1))?
    }

    /// What is known of a function; none if its range is empty or outside of all code, or its record
    /// broken.
    pub(super) fn function(&self, index: usize) -> Option<Function> {
        let (range, all) = (self.entry(index)?..self.entry(index + 1)?, self.range());
        if range.start < all.start || range.end > all.end || range.is_empty() {
            return None;
        }
        let (address_size, flags) = match self.layout {
            Layout::Go116 => (8, 41),
            Layout::Go118 => (4, 37),
            Layout::Go120 => (4, 41),
        };
        let offset = match self.layout {
            Layout::Go116 => {
                usize::try_from(u64_at(self.functions, index.checked_mul(16)? + 8)?).ok()?
            }
            _ => u32_at(self.functions, index.checked_mul(8)? + 4)? as usize,
        };
        let record = self.functions.get(offset..)?;
        Some(Function {
            range,
            name: u32_at(record, address_size)?,
            depths: u32_at(record, address_size + 12)?,
            flags: *record.get(flags)?,
        })
    }

    /// A function's name.
    pub(super) fn name(&self, function: &Function) -> Option<&'data str> {
        let name = self.names.get(function.name as usize..)?;
        // Names are short; without the bound a broken table would be searched to its end each time.
        let end = name.iter().take(1 << 16).position(|&byte| byte == 0)?;
        std::str::from_utf8(name.get(..end)?)
            .ok()
            .filter(|name| !name.is_empty())
    }

    /// By how many bytes the stack is deeper than at the function's start, range by range.
    pub(super) fn depths(&self, function: &Function) -> Depths<'data> {
        let data = match function.depths {
            0 => &[][..],
            offset => self.depths.get(offset as usize..).unwrap_or_default(),
        };
        Depths {
            data,
            at: function.range.start,
            end: function.range.end,
            depth: -1,
            quantum: self.quantum,
        }
    }

    /// Where a function begins; one past the last one, where that ends.
    pub(super) fn entry(&self, index: usize) -> Option<u64> {
        match self.layout {
            Layout::Go116 => u64_at(self.functions, index.checked_mul(16)?),
            _ => self
                .text
                .checked_add(u32_at(self.functions, index.checked_mul(8)?)?.into()),
        }
    }
}

/// Pairs of (change of depth, code bytes), as variable-length numbers; a change of zero ends them.
pub(super) struct Depths<'data> {
    data: &'data [u8],
    at: u64,
    end: u64,
    depth: i32,
    quantum: u64,
}

impl Iterator for Depths<'_> {
    type Item = (Range<u64>, i32);

    fn next(&mut self) -> Option<Self::Item> {
        let change = self.number()?;
        if self.at >= self.end || (change == 0 && self.depth != -1) {
            return None;
        }
        let signed = if change & 1 == 0 {
            (change >> 1) as i32
        } else {
            !((change >> 1) as i32)
        };
        self.depth = self.depth.wrapping_add(signed);
        let start = self.at;
        let length = u64::from(self.number()?) * self.quantum;
        self.at = self.end.min(start.saturating_add(length));
        // Nothing valid is empty, and without this a broken table would be read once for each function.
        (length > 0).then_some((start..self.at, self.depth))
    }
}

impl Depths<'_> {
    fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in (0..35).step_by(7) {
            let (&byte, rest) = self.data.split_first()?;
            self.data = rest;
            number |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }
}

fn layout(data: &[u8]) -> Option<Layout> {
    match data.get(..8)? {
        [magic @ .., 0xff, 0xff, 0xff, 0, 0, 1 | 4, 8] => match magic {
            [0xfa] => Some(Layout::Go116),
            [0xf0] => Some(Layout::Go118),
            [0xf1] => Some(Layout::Go120),
            _ => None,
        },
        _ => None,
    }
}

fn u32_at(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(data.get(at..)?.first_chunk().copied()?))
}

fn u64_at(data: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(data.get(at..)?.first_chunk().copied()?))
}

#[cfg(test)]
mod tests;
