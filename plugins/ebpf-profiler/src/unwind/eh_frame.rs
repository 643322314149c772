//! Rows from DWARF call frame information: `.eh_frame`, and `.debug_frame` for what that leaves out.
//!
//! An index of the functions' descriptions (FDEs), 12 bytes each, is sorted by address; the descriptions
//! themselves are read one at a time while rows are handed out. A description that cannot be read costs
//! its own range only.

mod rule;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use gimli::{
    BaseAddresses, CommonInformationEntry, DebugFrame, EhFrame, EndianSlice, LittleEndian,
    UnwindContext, UnwindOffset, UnwindSection, Vendor,
};
use object::{Object, ObjectSection};

use self::rule::Reading;
use super::elf::{Image, Machine};
use super::{Row, Rule};

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// A bigger `.debug_frame` is left alone: compressed, it has to be unpacked into memory.
const MOST_DEBUG_FRAME: u64 = 16 << 20;

/// Bytes of the longest common part (CIE): it is run for every description, so a long one costs much.
/// Compilers write 20 to 40.
const MOST_COMMON: usize = 4096;

/// Descriptions that are read of a section, in 24 MiB at the most: a file of a gigabyte has half as many.
const MOST_ENTRIES: usize = 2 << 20;

/// Common parts that are remembered: linkers leave one for each object file at the most.
const MOST_COMMONS: usize = 4096;

/// In [`Entry::offset`]: the description lies in `.debug_frame`.
const IN_DEBUG_FRAME: u32 = 1 << 31;

/// The descriptions of a file, by address.
pub struct Frames<'data> {
    machine: Machine,
    bases: BaseAddresses,
    eh_frame: &'data [u8],
    debug_frame: Cow<'data, [u8]>,
    /// What the addresses of entries count from.
    base: u64,
    entries: Vec<Entry>,
}

/// Where one description is and what it covers.
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    end: u32,
    offset: u32,
}

impl<'data> Frames<'data> {
    /// From `.eh_frame` and, for ranges it does not cover, `.debug_frame`.
    pub fn find(image: &Image<'data>) -> Self {
        let mut frames = Self::of_eh_frame(image);
        frames.debug_frame = debug_frame(image).unwrap_or_default();
        if !frames.debug_frame.is_empty() {
            frames.add_debug_frame(image);
        }
        frames
    }

    /// From `.eh_frame` alone.
    pub fn of_eh_frame(image: &Image<'data>) -> Self {
        let address = |name| {
            image
                .file
                .section_by_name(name)
                .map(|section| section.address())
        };
        let mut bases = BaseAddresses::default();
        if let Some(text) = address(".text") {
            bases = bases.set_text(text);
        }
        if let Some(got) = address(".got") {
            bases = bases.set_got(got);
        }
        let (start, eh_frame) = image.section(".eh_frame").unwrap_or_default();
        let mut frames = Self {
            machine: image.machine,
            bases: bases.set_eh_frame(start),
            eh_frame,
            debug_frame: Cow::Borrowed(&[]),
            base: image.first_code(),
            entries: Vec::new(),
        };
        let mut entries = Vec::new();
        frames.index(
            image,
            &frames.eh_frame_section(),
            descriptions(eh_frame, 0),
            &mut entries,
        );
        sort(&mut entries);
        frames.entries = entries;
        frames
    }

    /// Hands `each` the rows of the functions that begin in `range`, ascending.
    pub fn rows(&self, range: Range<u64>, each: &mut dyn FnMut(Row)) {
        let mut eh_reader = Reader::new(self.eh_frame_section(), self);
        let mut debug_reader = Reader::new(self.debug_frame_section(), self);
        let within = |entry: &&Entry| range.contains(&(self.base + u64::from(entry.start)));
        let mut entries = self.entries.iter().filter(within).peekable();
        while let Some(entry) = entries.next() {
            let next = entries
                .peek()
                .map_or(u64::MAX, |next| self.base + u64::from(next.start));
            let start = self.base + u64::from(entry.start);
            let end = (self.base + u64::from(entry.end)).min(next).min(range.end);
            let offset = entry.offset & !IN_DEBUG_FRAME;
            let known_to = if entry.offset & IN_DEBUG_FRAME == 0 {
                eh_reader.rows((offset as usize).into(), start..end, each)
            } else {
                debug_reader.rows((offset as usize).into(), start..end, each)
            };
            if known_to != next {
                each(Row {
                    address: known_to,
                    rule: Rule::UNKNOWN,
                });
            }
        }
    }

    fn eh_frame_section(&self) -> EhFrame<Bytes<'data>> {
        let mut section = EhFrame::new(self.eh_frame, LittleEndian);
        section.set_vendor(vendor(self.machine));
        section
    }

    fn debug_frame_section(&self) -> DebugFrame<Bytes<'_>> {
        let mut section = DebugFrame::new(&self.debug_frame, LittleEndian);
        section.set_vendor(vendor(self.machine));
        section.set_address_size(8);
        section
    }

    /// Adds the descriptions of `.debug_frame` that no description of `.eh_frame` touches.
    fn add_debug_frame(&mut self, image: &Image<'_>) {
        let mut more = Vec::new();
        self.index(
            image,
            &self.debug_frame_section(),
            descriptions(&self.debug_frame, u32::MAX),
            &mut more,
        );
        more.retain(|entry| {
            let after = self
                .entries
                .partition_point(|known| known.end <= entry.start);
            self.entries
                .get(after)
                .is_none_or(|known| known.start >= entry.end)
        });
        for entry in &mut more {
            entry.offset |= IN_DEBUG_FRAME;
        }
        self.entries.append(&mut more);
        sort(&mut self.entries);
    }

    /// Notes every description of a section that can be read.
    fn index<'a, S: UnwindSection<Bytes<'a>>>(
        &self,
        image: &Image<'_>,
        section: &S,
        offsets: impl Iterator<Item = usize>,
        into: &mut Vec<Entry>,
    ) {
        let mut cies = Cies::default();
        for offset in offsets {
            if into.len() == MOST_ENTRIES {
                return;
            }
            let parsed =
                section.fde_from_offset(&self.bases, offset.into(), |section, bases, offset| {
                    cies.get(section, bases, offset)
                });
            let Ok(fde) = parsed else { continue };
            let relative = |address: u64| u32::try_from(address.checked_sub(self.base)?).ok();
            // Zero is where linkers leave the descriptions of functions they dropped.
            if let (Some(start), Some(end), Ok(offset)) = (
                relative(fde.initial_address()),
                relative(fde.end_address()),
                u32::try_from(offset),
            ) && fde.initial_address() != 0
                && image.is_code(&(fde.initial_address()..fde.end_address()))
                && offset < IN_DEBUG_FRAME
            {
                into.push(Entry { start, end, offset });
            }
        }
    }
}

/// Reads descriptions of one section.
struct Reader<'a, S: UnwindSection<Bytes<'a>>> {
    section: S,
    bases: &'a BaseAddresses,
    machine: Machine,
    cies: Cies<'a>,
    context: UnwindContext<usize>,
}

impl<'a, S: UnwindSection<Bytes<'a>>> Reader<'a, S> {
    fn new(section: S, frames: &'a Frames<'_>) -> Self {
        Self {
            section,
            bases: &frames.bases,
            machine: frames.machine,
            cies: Cies::default(),
            context: UnwindContext::new(),
        }
    }

    /// Hands out the rows of one description within `range`; returns the address from which none is known.
    fn rows(&mut self, offset: S::Offset, range: Range<u64>, each: &mut dyn FnMut(Row)) -> u64 {
        let cies = &mut self.cies;
        let parsed = self
            .section
            .fde_from_offset(self.bases, offset, |section, bases, offset| {
                cies.get(section, bases, offset)
            });
        let Ok(fde) = parsed else { return range.start };
        let reading = Reading {
            section: &self.section,
            encoding: fde.cie().encoding(),
            machine: self.machine,
            signal: fde.is_signal_trampoline(),
        };
        let mut known_to = range.start;
        let Ok(mut table) = fde.rows(&self.section, self.bases, &mut self.context) else {
            return known_to;
        };
        while let Ok(Some(row)) = table.next_row() {
            if row.start_address() >= range.end {
                break;
            }
            each(Row {
                address: row.start_address(),
                rule: reading.rule(row),
            });
            known_to = row.end_address();
        }
        known_to.min(range.end)
    }
}

/// What descriptions have in common (CIEs), read once.
#[derive(Default)]
struct Cies<'a>(HashMap<usize, CommonInformationEntry<Bytes<'a>>>);

impl<'a> Cies<'a> {
    fn get<S: UnwindSection<Bytes<'a>>>(
        &mut self,
        section: &S,
        bases: &BaseAddresses,
        offset: S::Offset,
    ) -> gimli::Result<CommonInformationEntry<Bytes<'a>>> {
        let key = UnwindOffset::into(offset);
        if let Some(known) = self.0.get(&key) {
            return Ok(known.clone());
        }
        let read = section.cie_from_offset(bases, offset)?;
        if read.entry_len() > MOST_COMMON {
            return Err(gimli::Error::NoEntryAtGivenOffset(key as u64));
        }
        if self.0.len() >= MOST_COMMONS {
            self.0.clear();
        }
        self.0.insert(key, read.clone());
        Ok(read)
    }
}

/// Where the descriptions of functions begin in a section.
///
/// Read here rather than by gimli, whose iterator ends at the first entry it does not understand.
fn descriptions<'a>(data: &'a [u8], common: u32) -> impl Iterator<Item = usize> + 'a {
    let word = move |at: usize| Some(u32::from_le_bytes(data.get(at..)?.first_chunk().copied()?));
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at;
            let mut length = u64::from(word(start)?);
            let mut content = start + 4;
            if length == u64::from(u32::MAX) {
                length = u64::from_le_bytes(data.get(content..)?.first_chunk().copied()?);
                content += 8;
            }
            at = content.checked_add(usize::try_from(length).ok()?)?;
            // An entry of no length ends the part of one object file.
            if length != 0 && word(content)? != common {
                return Some(start);
            }
        }
    })
}

/// By address; of two descriptions with one address the first stays.
fn sort(entries: &mut Vec<Entry>) {
    entries.sort_unstable_by_key(|entry| (entry.start, entry.offset));
    entries.dedup_by_key(|entry| entry.start);
}

/// Processors have instructions of their own in descriptions.
fn vendor(machine: Machine) -> Vendor {
    match machine {
        Machine::X86_64 => Vendor::Default,
        Machine::Aarch64 => Vendor::AArch64,
    }
}

/// The bytes of `.debug_frame`, unpacked if need be and not too big.
fn debug_frame<'data>(image: &Image<'data>) -> Option<Cow<'data, [u8]>> {
    let compressed = image
        .file
        .section_by_name(".debug_frame")?
        .compressed_data()
        .ok()?;
    let small = compressed.uncompressed_size <= MOST_DEBUG_FRAME
        || compressed.data.len() as u64 >= compressed.uncompressed_size;
    if small {
        compressed.decompress().ok()
    } else {
        None
    }
}
