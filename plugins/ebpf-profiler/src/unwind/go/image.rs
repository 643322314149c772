//! Where a file keeps Go's function table, and the address that the table counts from.

use object::{Object, RelocationFlags, RelocationTarget};

use super::super::elf::{Image, Machine};
use super::pclntab::Pclntab;

/// In the runtime's `moduledata`, which begins with the table's address: where Go's code begins.
/// Source: Go's `runtime/symtab.go` at 1.18 to 1.26.
const MODULE_TEXT: u64 = 22 * 8;
/// In `moduledata`: where the first function begins.
const MODULE_MIN_PC: u64 = 20 * 8;

/// Where linkers put `moduledata`.
const MODULE_SECTIONS: [&str; 4] = [".go.module", ".noptrdata", ".data.rel.ro", ".data"];

/// The function table of a file, if it is one of Go.
pub(super) fn find<'data>(image: &Image<'data>) -> Option<Pclntab<'data>> {
    let (address, data) = section(image)?;
    let mut table = Pclntab::parse(data)?;
    if table.lacks_text() {
        // Position-independent files until Go 1.25, all files from 1.26 on.
        let text = text_in_data(image, address, table.range().start)
            .or_else(|| text_in_relocations(image, address))?;
        table = table.with_text(text);
    }
    image.is_code(&table.range()).then_some(table)
}

/// The table's address, and the bytes from its beginning on.
fn section<'data>(image: &Image<'data>) -> Option<(u64, &'data [u8])> {
    let named = [".gopclntab", ".data.rel.ro.gopclntab"]
        .iter()
        .find_map(|name| image.section(name));
    named.or_else(|| {
        // C linkers merge sections.
        image.section(".go.buildinfo")?;
        [".data.rel.ro", ".rodata"].iter().find_map(|name| {
            let (address, data) = image.section(name)?;
            let at = (0..data.len())
                .step_by(8)
                .find(|&at| Pclntab::begins(data.get(at..).unwrap_or_default()))?;
            Some((address.wrapping_add(at as u64), data.get(at..)?))
        })
    })
}

/// From a `moduledata` whose pointers are in the file.
fn text_in_data(image: &Image<'_>, table: u64, first: u64) -> Option<u64> {
    MODULE_SECTIONS.iter().find_map(|name| {
        let (_, data) = image.section(name)?;
        let word = |at: usize| Some(u64::from_le_bytes(data.get(at..)?.first_chunk().copied()?));
        (0..data.len())
            .step_by(8)
            .filter(|&at| word(at) == Some(table))
            .find_map(|at| {
                let text = word(at + MODULE_TEXT as usize)?;
                (text != 0 && word(at + MODULE_MIN_PC as usize)? == text.checked_add(first)?)
                    .then_some(text)
            })
    })
}

/// From a `moduledata` whose pointers the dynamic linker will write.
fn text_in_relocations(image: &Image<'_>, table: u64) -> Option<u64> {
    let relative = match image.machine {
        Machine::X86_64 => object::elf::R_X86_64_RELATIVE,
        Machine::Aarch64 => object::elf::R_AARCH64_RELATIVE,
    };
    let pointers = || {
        image
            .file
            .dynamic_relocations()
            .into_iter()
            .flatten()
            .filter_map(move |(at, relocation)| {
                let wanted = relocation.flags() == RelocationFlags::Elf { r_type: relative }
                    && relocation.target() == RelocationTarget::Absolute;
                wanted.then_some((at, relocation.addend() as u64))
            })
    };
    let (module, _) = pointers().find(|&(_, to)| to == table)?;
    pointers()
        .find(|&(at, _)| at == module.wrapping_add(MODULE_TEXT))
        .map(|(_, to)| to)
}
