//! Names that Go's runtime keeps for itself, in programs whose symbol tables were stripped.

use std::ops::Range;

use super::{FindFunctions, Functions};
use crate::bpf::file::MappedFile;
use crate::unwind::go::Names;

/// A file with a `.gopclntab`.
struct Go(MappedFile);

impl Functions for Go {
    fn at(&self, address: u64) -> Option<(Range<u64>, String)> {
        let name = Names::parse(&self.0)?.function_name(address)?.to_owned();
        Some((address..address + 1, name))
    }
}

/// Looks for Go's names in files.
pub fn functions() -> FindFunctions {
    Box::new(|module| {
        let file = MappedFile::open(&*module.file()?).ok()?;
        Names::parse(&file)?;
        Some(Box::new(Go(file)))
    })
}
