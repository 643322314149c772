//! Files that code is mapped from, opened once for all processes.
//!
//! A file is known by its build-id and size, so that the copies in every container are one; without a
//! build-id by device, inode, time and size. It stays open: its inode cannot become another file's, and
//! it can be read when it was deleted and its processes are gone. What each file costs is a descriptor
//! and about 500 bytes; what others derive from it, they keep under its [`Module::id`].

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io::Write as _;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::elf::Elf;
use super::foreign;
use super::maps::{Backing, Region};
use super::proc::Proc;
use crate::profile;

/// The vDSO has two pages; memory that claims to be one may have this many bytes.
const MOST_VDSO: u64 = 64 << 10;

/// A file that code is mapped from, or the vDSO.
#[derive(Debug)]
pub struct Module {
    /// Never used again for another one.
    pub id: u32,
    /// As the first process saw it that mapped it.
    pub path: Arc<str>,
    /// Its headers.
    pub elf: Elf,
    file: Mutex<Option<Arc<File>>>,
}

impl Module {
    /// The file, unless it had to be closed because too many others were open.
    pub fn file(&self) -> Option<Arc<File>> {
        self.file.lock().clone()
    }

    /// The last part of its path.
    pub fn name(&self) -> &str {
        name(&self.path)
    }

    /// The file, and of it the segment that an address (the file's own) lies in, as profiles show it.
    pub fn describe(&self, address: u64) -> profile::Module {
        let segment = self.elf.segment(address).or(self.elf.segments.first());
        let (start, offset, size) =
            segment.map_or((0, 0, 0), |it| (it.address, it.offset, it.size));
        profile::Module {
            path: self.path.to_string(),
            build_id: self.elf.build_id.as_deref().map(hexadecimal),
            start,
            end: start.saturating_add(size),
            offset,
        }
    }
}

/// The last part of a path.
pub fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

/// Bytes as profiles show a build-id.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// All of them.
#[derive(Debug)]
pub struct Modules {
    most: usize,
    clock: u64,
    next: u32,
    known: HashMap<Identity, Known>,
    /// Where they were seen, so that another process does not open them again.
    places: HashMap<Place, Identity>,
}

#[derive(Debug)]
struct Known {
    module: Arc<Module>,
    stamp: Stamp,
    used: u64,
}

/// What makes two files one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    Build {
        id: Box<[u8]>,
        size: u64,
    },
    File {
        device: u64,
        inode: u64,
        stamp: Stamp,
    },
}

/// What changes when a file is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Stamp {
    seconds: i64,
    nanos: i64,
    size: u64,
}

/// What a line of `maps` says of a file. The path is part of it because two subvolumes of btrfs may
/// have a device in common and inodes of the same number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    device: (u32, u32),
    inode: u64,
    path: Arc<str>,
}

impl Modules {
    /// Keeps `most` files open; more only while live processes map them all.
    pub fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            clock: 0,
            next: 0,
            known: HashMap::new(),
            places: HashMap::new(),
        }
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The file behind a region of a process; `None` if there is none that we can read or it is no ELF
    /// file.
    pub fn of(&mut self, proc: &Proc, pid: u32, region: &Region) -> Option<Arc<Module>> {
        self.clock += 1;
        let place = Place::of(region)?;
        if let Some(module) = self.seen(&place) {
            return Some(module);
        }
        let file = match region.backing {
            Backing::File { .. } => open(proc, pid, region)?,
            Backing::Vdso => vdso(proc, pid, region)?,
            Backing::Memory => return None,
        };
        let metadata = file.metadata().ok()?;
        let elf = Elf::read(&file)?;
        let identity = Identity::of(&elf, &metadata);
        let (clock, next) = (self.clock, &mut self.next);
        let known = self.known.entry(identity.clone()).or_insert_with(|| {
            *next += 1;
            Known {
                stamp: Stamp::of(&metadata),
                used: clock,
                module: Arc::new(Module {
                    id: *next,
                    path: Arc::clone(&region.path),
                    elf,
                    file: Mutex::new(Some(Arc::new(file))),
                }),
            }
        });
        known.used = clock;
        let module = Arc::clone(&known.module);
        if self.places.len() >= 8 * self.most {
            self.places.clear();
        }
        self.places.insert(place, identity);
        self.evict();
        Some(module)
    }

    /// What was opened there before, if it is what lies there still: the inode is ours as long as the
    /// file is open, but a file can be written to.
    fn seen(&mut self, place: &Place) -> Option<Arc<Module>> {
        let known = self.known.get_mut(self.places.get(place)?)?;
        let unchanged = || {
            let metadata = known.module.file()?.metadata().ok()?;
            Some(Stamp::of(&metadata) == known.stamp)
        };
        if unchanged() != Some(true) {
            let identity = self.places.remove(place)?;
            self.known.remove(&identity);
            return None;
        }
        known.used = self.clock;
        Some(Arc::clone(&known.module))
    }

    /// Closes what was not used for longest: first what no process maps that anybody remembers, then,
    /// with twice as many files as wanted, any.
    fn evict(&mut self) {
        while self.known.len() > self.most {
            let idle = |known: &Known| Arc::strong_count(&known.module) == 1;
            let over = self.known.len() > 2 * self.most;
            let oldest = self
                .known
                .iter()
                .filter(|(_, known)| over || idle(known))
                .min_by_key(|(_, known)| (!idle(known), known.used));
            let Some(identity) = oldest.map(|(identity, _)| identity.clone()) else {
                return;
            };
            if let Some(known) = self.known.remove(&identity) {
                *known.module.file.lock() = None;
            }
        }
    }
}

impl Place {
    fn of(region: &Region) -> Option<Self> {
        let inode = match region.backing {
            Backing::File { .. } => region.inode,
            // 32-bit programs have a vDSO of their own.
            Backing::Vdso => u64::from(u32::try_from(region.start).is_ok()),
            Backing::Memory => return None,
        };
        Some(Self {
            device: region.device,
            inode,
            path: Arc::clone(&region.path),
        })
    }
}

impl Identity {
    fn of(elf: &Elf, metadata: &Metadata) -> Self {
        match &elf.build_id {
            Some(id) => Self::Build {
                id: id.clone(),
                size: metadata.size(),
            },
            None => Self::File {
                device: metadata.dev(),
                inode: metadata.ino(),
                stamp: Stamp::of(metadata),
            },
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            seconds: metadata.mtime(),
            nanos: metadata.mtime_nsec(),
            size: metadata.size(),
        }
    }
}

/// The file behind a region: by the kernel's own link, which needs `CAP_SYS_ADMIN` or
/// `CAP_CHECKPOINT_RESTORE` and never errs; else by its path as the process or we see it.
fn open(proc: &Proc, pid: u32, region: &Region) -> Option<File> {
    let link = format!("map_files/{:x}-{:x}", region.start, region.end);
    if let Ok(file) = foreign::regular(&proc.path(pid, &link)) {
        return Some(file);
    }
    if region.backing == (Backing::File { deleted: true }) {
        let program = foreign::regular(&proc.path(pid, "exe")).ok()?;
        return is_of(&program, region).then_some(program);
    }
    let path = Path::new(&*region.path);
    let inside = foreign::below(&proc.path(pid, "root"), path).ok();
    let inside = inside.filter(|file| is_of(file, region));
    inside.or_else(|| {
        foreign::regular(path)
            .ok()
            .filter(|file| is_of(file, region))
    })
}

/// Whether this is the file that was mapped. btrfs and older overlayfs tell another device in `maps`
/// than of the file; there the path has to do.
fn is_of(file: &File, region: &Region) -> bool {
    let Ok(metadata) = file.metadata() else {
        return false;
    };
    let device = metadata.dev();
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    device != region.device || metadata.ino() == region.inode
}

/// The vDSO as a file, to be read like all others.
fn vdso(proc: &Proc, pid: u32, region: &Region) -> Option<File> {
    let size = region.end - region.start;
    let mut bytes = vec![0; usize::try_from(size).ok().filter(|_| size <= MOST_VDSO)?];
    let memory = File::open(proc.path(pid, "mem")).ok()?;
    memory.read_exact_at(&mut bytes, region.start).ok()?;
    let file = rustix::fs::memfd_create("vdso", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
    let mut file = File::from(file);
    file.write_all(&bytes).ok()?;
    Some(file)
}

#[cfg(test)]
mod tests;
