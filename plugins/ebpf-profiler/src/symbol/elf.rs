//! Names from the symbol tables of ELF files, by blazesym.
//!
//! # Decisions
//! - A symbolizer lives for the addresses of one file at a time. Kept, it would hold an index of 8 bytes a
//!   symbol for each file ever asked for (1.4 MB for Node) and their mappings; made anew, it costs the
//!   sorting of that index, and names are remembered by whole functions ([`super::names`]), so that new
//!   addresses become rare.
//! - Symbol tables only, no DWARF: the same functions stand in `.symtab`, at a tenth of the memory.
//! - blazesym does not demangle ([`super::demangle`] is bounded).

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{Input, Reason, Symbolized, Symbolizer};

use super::demangle::demangled;
use crate::bpf::truncation::outlive_truncated_files;
use crate::process::foreign;
use crate::process::modules::{Module, hexadecimal};

/// What a file says of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The function, and its addresses; those of a symbol without a size are only the one asked for.
    Function(Range<u64>, String),
    /// The file has names and none for this.
    Nothing,
    /// The file has no `.symtab`.
    Stripped,
}

/// What the tables of a file say of addresses, which are the file's own; one answer each.
pub fn find(file: &File, module: &Module, addresses: &[u64]) -> Vec<Found> {
    // It maps the file.
    outlive_truncated_files();
    let symbolizer = Symbolizer::builder()
        .enable_code_info(false)
        .enable_inlined_fns(false)
        .enable_demangling(false)
        .build();
    let mut source = Elf::new(foreign::path_of(file));
    source.debug_syms = false;
    let answers = symbolizer.symbolize(&Source::Elf(source), Input::VirtOffset(addresses));
    let Ok(answers) = answers else {
        return vec![Found::Nothing; addresses.len()];
    };
    let answers = answers.into_iter().zip(addresses);
    answers
        .map(|(answer, address)| match answer {
            Symbolized::Sym(symbol) => match symbol.size {
                Some(size) => {
                    let end = symbol.addr.saturating_add(size as u64);
                    Found::Function(symbol.addr..end, demangled(&symbol.name))
                }
                None if module.elf.together(symbol.addr, *address) => {
                    Found::Function(*address..address.saturating_add(1), demangled(&symbol.name))
                }
                None => Found::Nothing,
            },
            Symbolized::Unknown(Reason::MissingSyms) => Found::Stripped,
            Symbolized::Unknown(_) => Found::Nothing,
        })
        .collect()
}

/// The file that a module's names were moved to: by build-id as distributions install them, or by the
/// name that the module gives, if it is of the same build.
pub fn debug_file(directory: &Path, module: &Module) -> Option<File> {
    let id = module.elf.build_id.as_deref()?;
    let text = hexadecimal(id);
    let (first, rest) = text.split_at_checked(2)?;
    let by_id = directory.join(format!(".build-id/{first}/{rest}.debug"));
    let by_name = module.elf.debug_link.iter().flat_map(|link| {
        let beside = Path::new(&*module.path).parent().unwrap_or(Path::new("/"));
        let below = directory.join(beside.strip_prefix("/").unwrap_or(beside));
        let at = |dir: &Path| -> PathBuf { dir.join(&**link) };
        [at(beside), at(&beside.join(".debug")), at(&below)]
    });
    std::iter::once(by_id).chain(by_name).find_map(|path| {
        let file = foreign::regular(&path).ok()?;
        let found = crate::process::elf::Elf::read(&file)?;
        (found.build_id.as_deref() == Some(id)).then_some(file)
    })
}
