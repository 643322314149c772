//! `/proc/PID/maps`: where a process has code.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;

use super::proc::Proc;

/// Executable ranges that we look at in one process; a program that maps more is a program that maps
/// each of its generated functions by itself.
const MOST: usize = 8192;

/// An executable range of a process's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Major and minor number of the file's device.
    pub device: (u32, u32),
    /// The file's inode.
    pub inode: u64,
    /// What is mapped there.
    pub backing: Backing,
    /// As in `maps`, without ` (deleted)`; empty for memory without a name.
    pub path: Arc<str>,
}

/// What is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A file, which is not always an ELF file: a memfd of generated code is one, too.
    File {
        /// Its path names it no longer.
        deleted: bool,
    },
    /// The kernel's own library of fast system calls.
    Vdso,
    /// No file.
    Memory,
}

/// The executable ranges of a process, ascending; none of a zombie or a thread of the kernel.
///
/// # Errors
/// The process is gone, or we may not look at it.
pub fn read(proc: &Proc, pid: u32) -> io::Result<Vec<Region>> {
    parse(BufReader::new(File::open(proc.path(pid, "maps"))?))
}

/// The executable ranges among the lines of a `maps`; lines that are none are passed over.
///
/// # Errors
/// The reader's own.
pub fn parse(mut lines: impl BufRead) -> io::Result<Vec<Region>> {
    let mut regions: Vec<Region> = Vec::new();
    let mut line = Vec::new();
    while regions.len() < MOST {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let before = regions.last().map(|region| &region.path);
        regions.extend(region(line.trim_ascii_end(), before));
    }
    regions.sort_by_key(|region| region.start);
    Ok(regions)
}

/// One line, if it is executable. Neighbours share their path.
fn region(line: &[u8], before: Option<&Arc<str>>) -> Option<Region> {
    let mut words = line.splitn(6, |byte| *byte == b' ');
    let (start, end) = pair(words.next()?, b'-')?;
    let executable = words.next()?.get(2) == Some(&b'x');
    if !executable || start >= end {
        return None;
    }
    let offset = hexadecimal(words.next()?)?;
    let (major, minor) = pair(words.next()?, b':')?;
    let inode = str::from_utf8(words.next()?).ok()?.parse().ok()?;
    let path = words.next().unwrap_or_default().trim_ascii_start();
    let (path, backing) = backing(path, inode);
    let path = String::from_utf8_lossy(path);
    Some(Region {
        start,
        end,
        offset,
        device: (u32::try_from(major).ok()?, u32::try_from(minor).ok()?),
        inode,
        backing,
        path: match before {
            Some(before) if **before == *path => Arc::clone(before),
            _ => Arc::from(path),
        },
    })
}

fn backing(path: &[u8], inode: u64) -> (&[u8], Backing) {
    if path == b"[vdso]" {
        return (path, Backing::Vdso);
    }
    if inode == 0 {
        return (path, Backing::Memory);
    }
    match path.strip_suffix(b" (deleted)") {
        Some(path) => (path, Backing::File { deleted: true }),
        None => (path, Backing::File { deleted: false }),
    }
}

fn pair(word: &[u8], separator: u8) -> Option<(u64, u64)> {
    let at = word.iter().position(|byte| *byte == separator)?;
    Some((hexadecimal(&word[..at])?, hexadecimal(&word[at + 1..])?))
}

fn hexadecimal(word: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(word).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: impl AsRef<[u8]>) -> Vec<Region> {
        parse(text.as_ref()).unwrap()
    }

    #[test]
    fn only_executable_ranges_are_kept() {
        let regions = parsed(
            "5574a000-5574b000 r--p 00000000 fe:01 77                         /usr/bin/x y\n\
             5574b000-5574d000 r-xp 00001000 fe:01 77                         /usr/bin/x y\n\
             5574d000-5574e000 rw-p 00003000 fe:01 77                         /usr/bin/x y\n",
        );
        assert_eq!(regions.len(), 1);
        let region = &regions[0];
        assert_eq!((region.start, region.end), (0x5574_b000, 0x5574_d000));
        assert_eq!((region.offset, region.inode), (0x1000, 77));
        assert_eq!(region.device, (0xfe, 1));
        assert_eq!(&*region.path, "/usr/bin/x y");
        assert_eq!(region.backing, Backing::File { deleted: false });
    }

    #[test]
    fn what_is_mapped_is_told_apart() {
        let file = |deleted| Backing::File { deleted };
        for (rest, backing, path) in [
            ("fe:01 7 /a/b (deleted)", file(true), "/a/b"),
            ("fe:01 7 /a/b(deleted)", file(false), "/a/b(deleted)"),
            ("00:01 9 /memfd:jit (deleted)", file(true), "/memfd:jit"),
            ("00:00 0 ", Backing::Memory, ""),
            ("00:00 0", Backing::Memory, ""),
            ("00:00 0 [stack]", Backing::Memory, "[stack]"),
            ("00:00 0 [anon:code]", Backing::Memory, "[anon:code]"),
            ("00:00 0 //anon", Backing::Memory, "//anon"),
            ("00:00 0 [vdso]", Backing::Vdso, "[vdso]"),
        ] {
            let regions = parsed(format!("1000-2000 r-xp 00000000 {rest}\n"));
            assert_eq!(regions.len(), 1, "{rest}");
            assert_eq!(regions[0].backing, backing, "{rest}");
            assert_eq!(&*regions[0].path, path, "{rest}");
        }
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        let good = "1000-2000 r-xp 00000000 fe:01 7 /a\n";
        for bad in [
            &b""[..],
            b"\n",
            b"1000-2000\n",
            b"1000-2000 r-xp\n",
            b"2000-1000 r-xp 00000000 fe:01 7 /a\n",
            b"1000-zzzz r-xp 00000000 fe:01 7 /a\n",
            b"1000-11111111111111111 r-xp 00000000 fe:01 7 /a\n",
            b"1000-2000 r-xp 00000000 fe:01 -7 /a\n",
            b"1000-2000 r-xp 00000000 fffffffff:01 7 /a\n",
            b"\xff\xfe-2000 r-xp 00000000 fe:01 7 /a\n",
            b"1000-2000 r- 0 0:0 0 /a\n",
        ] {
            let text = [bad, good.as_bytes()].concat();
            assert_eq!(parsed(&text).len(), 1, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn a_path_of_other_bytes_than_utf_8_is_readable() {
        let regions = parsed(b"1000-2000 r-xp 00000000 fe:01 7 /a\xff\xc3\n");
        assert_eq!(&*regions[0].path, "/a\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_process_with_endless_mappings_is_bounded() {
        let line = "1000-2000 r-xp 00000000 fe:01 7 /a\n";
        assert_eq!(parsed(line.repeat(MOST + 10)).len(), MOST);
    }

    #[test]
    fn our_own_code_is_mapped() {
        let regions = read(&Proc::default(), std::process::id()).unwrap();
        let here = parsed as fn(&'static str) -> Vec<Region> as usize as u64;
        let found = regions.iter().find(|it| (it.start..it.end).contains(&here));
        let this = std::env::current_exe().unwrap();
        assert_eq!(*found.unwrap().path, *this.to_string_lossy());
        assert!(regions.iter().any(|it| it.backing == Backing::Vdso));
        assert!(regions.is_sorted_by_key(|it| it.start));
    }
}
