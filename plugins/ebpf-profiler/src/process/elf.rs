//! The headers of an ELF file: where its code lies, and which build it is.
//!
//! Read in a few small pieces, each bounded: the file may be 200 MB, or made to look so.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use object::read::elf::{FileHeader, NoteIterator, ProgramHeader, SectionHeader};
use object::{Endianness, elf, pod};

use super::maps::Region;

/// Program headers, section headers and names of sections may take this many bytes each.
const MOST: u64 = 256 << 10;
/// Notes before the build-id's may take this many.
const MOST_NOTES: u64 = 64 << 10;
/// A name and a checksum.
const MOST_LINK: u64 = 4096;

/// What we need of a file's headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elf {
    /// Executable segments.
    pub segments: Box<[Segment]>,
    /// Executable sections; none where section headers are stripped.
    pub sections: Box<[Range<u64>]>,
    /// What the linker called this build.
    pub build_id: Option<Box<[u8]>>,
    /// Name of the file that the names went to (`.gnu_debuglink`).
    pub debug_link: Option<Box<str>>,
}

/// An executable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub address: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
}

impl Elf {
    /// Reads the headers of a file; `None` if it is no ELF file with code.
    pub fn read(file: &File) -> Option<Self> {
        let start = piece(file, 0, 64, 64)?;
        match *start.get(4)? {
            elf::ELFCLASS64 => headers::<elf::FileHeader64<Endianness>>(file, &start),
            elf::ELFCLASS32 => headers::<elf::FileHeader32<Endianness>>(file, &start),
            _ => None,
        }
    }

    /// What is to be added to the file's addresses to get those of a process that maps it there.
    ///
    /// Several segments may lie on one page of the file (lld does so); only an executable one counts,
    /// and of those the one that most of the region is from.
    pub fn bias(&self, region: &Region) -> Option<u64> {
        let end = region.offset.saturating_add(region.end - region.start);
        let overlap = |segment: &&Segment| {
            let last = end.min(segment.offset.saturating_add(segment.size));
            last.saturating_sub(region.offset.max(segment.offset))
        };
        let segment = self.segments.iter().max_by_key(overlap)?;
        let file_to_address = segment.address.wrapping_sub(segment.offset);
        (overlap(&segment) > 0).then(|| {
            let start = region.offset.wrapping_add(file_to_address);
            region.start.wrapping_sub(start)
        })
    }

    /// The executable segment that an address lies in.
    pub fn segment(&self, address: u64) -> Option<&Segment> {
        let within = |it: &&Segment| address.wrapping_sub(it.address) < it.size;
        self.segments.iter().find(within)
    }

    /// Whether both addresses lie in the same executable section. A symbol without a size reaches no
    /// farther: `_init` is not what the PLT behind it is called.
    pub fn together(&self, one: u64, other: u64) -> bool {
        let holds = |it: &Range<u64>| it.contains(&one) && it.contains(&other);
        self.sections.is_empty() || self.sections.iter().any(holds)
    }
}

/// The build-id among notes as they lie in a file or in `/sys/kernel/notes`.
pub fn build_id(notes: &[u8]) -> Option<Box<[u8]>> {
    build_id_of::<elf::FileHeader64<Endianness>>(Endianness::default(), 4, notes)
}

fn build_id_of<H: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    align: H::Word,
    notes: &[u8],
) -> Option<Box<[u8]>> {
    let mut notes = NoteIterator::<H>::new(endian, align, notes).ok()?;
    while let Ok(Some(note)) = notes.next() {
        let ours = note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID;
        // An empty one would make strangers equal; linkers write 8 to 32 bytes.
        if ours && (1..=64).contains(&note.desc().len()) {
            return Some(note.desc().into());
        }
    }
    None
}

fn headers<H: FileHeader<Endian = Endianness>>(file: &File, start: &[u8]) -> Option<Elf> {
    let header = H::parse(start).ok()?;
    let endian = header.endian().ok()?;
    let count = u64::from(header.e_phnum(endian));
    let programs = table::<H::ProgramHeader>(file, header.e_phoff(endian).into(), count)?;
    let programs = pod::slice_from_bytes(&programs, usize::try_from(count).ok()?)
        .ok()?
        .0;

    let mut found = Elf::default();
    let mut segments = Vec::new();
    for program in programs {
        let program: &H::ProgramHeader = program;
        let (offset, size) = (
            program.p_offset(endian).into(),
            program.p_filesz(endian).into(),
        );
        match program.p_type(endian) {
            elf::PT_LOAD if program.p_flags(endian) & elf::PF_X != 0 => segments.push(Segment {
                address: program.p_vaddr(endian).into(),
                offset,
                size,
            }),
            elf::PT_NOTE if found.build_id.is_none() => {
                let notes = piece(file, offset, size, MOST_NOTES);
                let align = program.p_align(endian);
                found.build_id = notes.and_then(|it| build_id_of::<H>(endian, align, &it));
            }
            _ => {}
        }
    }
    if segments.is_empty() {
        return None;
    }
    found.segments = segments.into();
    // Not every file has them, and we get along without.
    let _ = sections(file, header, &mut found);
    Some(found)
}

fn sections<H: FileHeader<Endian = Endianness>>(
    file: &File,
    header: &H,
    found: &mut Elf,
) -> Option<()> {
    let endian = header.endian().ok()?;
    let count = u64::from(header.e_shnum(endian));
    let sections = table::<H::SectionHeader>(file, header.e_shoff(endian).into(), count)?;
    let sections: &[H::SectionHeader] =
        pod::slice_from_bytes(&sections, usize::try_from(count).ok()?)
            .ok()?
            .0;
    let content = |section: &H::SectionHeader, most| {
        let offset = section.sh_offset(endian).into();
        piece(file, offset, section.sh_size(endian).into(), most)
    };
    let executable = sections.iter().filter(|section| {
        let flags: u64 = section.sh_flags(endian).into();
        flags & u64::from(elf::SHF_EXECINSTR) != 0
    });
    found.sections = executable
        .map(|section| {
            let start: u64 = section.sh_addr(endian).into();
            start..start.saturating_add(section.sh_size(endian).into())
        })
        .collect();
    let names = content(sections.get(usize::from(header.e_shstrndx(endian)))?, MOST)?;
    let link = sections.iter().find(|section| {
        let name = names.get(section.sh_name(endian) as usize..);
        name.is_some_and(|name| name.starts_with(b".gnu_debuglink\0"))
    })?;
    let link = content(link, MOST_LINK)?;
    let name = str::from_utf8(link.split(|byte| *byte == 0).next()?).ok()?;
    // A name, not a path: it is looked for in directories of our choice.
    found.debug_link = (!name.is_empty() && !name.contains('/')).then(|| name.into());
    Some(())
}

fn table<T>(file: &File, offset: u64, count: u64) -> Option<Vec<u8>> {
    piece(
        file,
        offset,
        count.checked_mul(size_of::<T>() as u64)?,
        MOST,
    )
}

fn piece(file: &File, offset: u64, size: u64, most: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).ok().filter(|_| size <= most)?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests;
