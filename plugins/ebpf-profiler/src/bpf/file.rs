//! Files in memory, for readers that want all of their bytes.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::truncation::outlive_truncated_files;

/// A file's bytes as they were when they were first read. Only what is looked at takes memory, and the
/// kernel may take that back.
///
/// Of a file that is cut short meanwhile the rest reads as zeros.
#[derive(Debug)]
pub struct MappedFile {
    start: NonNull<u8>,
    length: usize,
}

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// It is empty, too large for an address space, or no file that can be mapped.
    pub fn open(file: &File) -> io::Result<Self> {
        outlive_truncated_files();
        let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice, which nothing else refers to.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                file,
                0,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { start, length })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: within the mapping, which lives as long as this value; every byte is a `u8`. Others may
        // write to the file: readers of ELF files check what they read and read it once.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for MappedFile {
    fn drop(&mut self) {
        // SAFETY: what `open` mapped, and nobody else has it. It cannot fail for a whole mapping.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_file_has_the_bytes_that_reading_it_gives() {
        let path = std::env::current_exe().unwrap();
        let mapped = MappedFile::open(&File::open(&path).unwrap()).unwrap();
        assert!(*mapped == *std::fs::read(path).unwrap());
    }

    #[test]
    fn an_empty_file_cannot_be_mapped() {
        assert!(MappedFile::open(&tempfile::tempfile().unwrap()).is_err());
    }
}
