//! Arrays that we and the kernel's programs have in common, mapped into our memory.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The elements of a BPF array with `BPF_F_MMAPABLE`. Reads and writes are per element; who reads an
/// element while it is written must live with either value.
pub(super) struct Shared<T> {
    start: NonNull<T>,
    elements: usize,
    element: PhantomData<T>,
}

// SAFETY: the memory belongs to this value until it is dropped, and is only read and written by volatile
// copies of plain data.
unsafe impl<T: Copy + Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// Maps the array behind `fd`, which has `elements` of `T`.
    pub(super) fn map(fd: BorrowedFd<'_>, elements: u32) -> io::Result<Self> {
        assert!(
            size_of::<T>().is_multiple_of(8),
            "arrays of the kernel pad elements to eight bytes"
        );
        let elements = elements as usize;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                elements * size_of::<T>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                fd,
                0,
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self {
            start,
            elements,
            element: PhantomData,
        })
    }

    /// Writes an element; nothing happens beyond the end.
    pub(super) fn set(&mut self, index: usize, value: T) {
        if index < self.elements {
            // SAFETY: within the mapping, which is aligned to pages.
            unsafe { self.start.add(index).write_volatile(value) };
        }
    }
}

impl<T: Copy + aya::Pod> Shared<T> {
    /// Reads an element.
    pub(super) fn get(&self, index: usize) -> Option<T> {
        // SAFETY: within the mapping, which is aligned to pages; every bit pattern is a `T`.
        (index < self.elements).then(|| unsafe { self.start.add(index).read_volatile() })
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: what `map` mapped, and nobody else has it. It cannot fail for a whole mapping.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.elements * size_of::<T>()) };
    }
}
