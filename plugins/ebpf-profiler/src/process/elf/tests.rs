use super::super::maps::Backing;
use super::*;
use std::io::Write;
use std::sync::Arc;

fn region(start: u64, size: u64, offset: u64) -> Region {
    Region {
        start,
        end: start + size,
        offset,
        device: (0, 0),
        inode: 1,
        backing: Backing::File { deleted: false },
        path: Arc::from("/x"),
    }
}

fn with(segments: &[(u64, u64, u64)]) -> Elf {
    let segment = |&(address, offset, size): &(u64, u64, u64)| Segment {
        address,
        offset,
        size,
    };
    Elf {
        segments: segments.iter().map(segment).collect(),
        ..Elf::default()
    }
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn a_position_independent_file_is_moved_as_a_whole() {
    let elf = with(&[(0x1000, 0x1000, 0x5000)]);
    let at = 0x5555_0000_1000;
    assert_eq!(
        elf.bias(&region(at, 0x5000, 0x1000)),
        Some(0x5555_0000_0000)
    );
}

#[test]
fn a_file_with_fixed_addresses_is_not_moved() {
    let elf = with(&[(0x40_1000, 0x1000, 0x5000)]);
    assert_eq!(elf.bias(&region(0x40_1000, 0x5000, 0x1000)), Some(0));
}

#[test]
fn segments_within_a_page_are_mapped_from_its_beginning() {
    // As lld lays them out: address and offset differ by a page a segment.
    let elf = with(&[(0x2_1234, 0x2_0234, 0x5000)]);
    let bias = 0x7000_0000_0000;
    let start = bias + 0x2_1000;
    assert_eq!(elf.bias(&region(start, 0x6000, 0x2_0000)), Some(bias));
}

#[test]
fn of_two_segments_on_a_page_the_one_that_fills_the_region_counts() {
    let elf = with(&[(0x1000, 0x1000, 0x10), (0x3010, 0x1010, 0x8000)]);
    let bias = 0x7000_0000_0000;
    assert_eq!(elf.bias(&region(bias + 0x3000, 0x9000, 0x1000)), Some(bias));
}

#[test]
fn a_region_without_code_of_the_file_has_no_place() {
    let elf = with(&[(0x1000, 0x1000, 0x5000)]);
    assert_eq!(elf.bias(&region(0x9000, 0x1000, 0x10_000)), None);
    let endless = with(&[(u64::MAX, u64::MAX, u64::MAX)]);
    assert_eq!(endless.bias(&region(0x9000, 0x1000, 0)), None);
}

#[test]
fn our_own_program_has_code_and_sections() {
    let this = File::open(std::env::current_exe().unwrap()).unwrap();
    let elf = Elf::read(&this).unwrap();
    let regions =
        super::super::maps::read(&super::super::proc::Proc::default(), std::process::id());
    let here = region as fn(u64, u64, u64) -> Region as usize as u64;
    let regions = regions.unwrap();
    let own = regions.iter().find(|it| (it.start..it.end).contains(&here));
    let address = here - elf.bias(own.unwrap()).unwrap();
    assert!(elf.segment(address).is_some());
    assert!(elf.together(address, address));
    assert!(!elf.together(address, 0));
    assert_eq!(elf.segment(u64::MAX), None);
}

#[test]
fn what_is_no_elf_file_is_none() {
    for bytes in [
        &b""[..],
        b"#!/bin/sh\n",
        &[0x7f; 64],
        b"\x7fELF\x02\x01\x01",
    ] {
        assert_eq!(Elf::read(&file(bytes)), None);
    }
}

#[test]
fn headers_that_lie_neither_panic_nor_take_memory() {
    let this = std::fs::read("/proc/self/exe").unwrap();
    let head = &this[..4096];
    assert!(Elf::read(&file(&this)).is_some());
    for at in 0..1024 {
        for byte in [0, 0x7f, 0xff] {
            let mut broken = head.to_vec();
            broken[at] = byte;
            // Whatever comes of it.
            let _ = Elf::read(&file(&broken));
        }
    }
    let mut endless = head.to_vec();
    // e_phnum, in a file that looks like 1 TiB.
    endless[56..58].fill(0xff);
    let endless = file(&endless);
    endless.set_len(1 << 40).unwrap();
    assert_eq!(Elf::read(&endless), None);
    assert_eq!(piece(&endless, 0, 1 << 39, MOST), None);
}

#[test]
fn a_build_id_is_found_behind_other_notes() {
    let note = |name: &[u8], kind: u32, desc: &[u8]| {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_ne_bytes();
        [
            &size(name)[..],
            &size(desc),
            &kind.to_ne_bytes(),
            name,
            desc,
        ]
        .concat()
    };
    let other = note(b"GNU\0", elf::NT_GNU_ABI_TAG, b"12345678");
    let empty = note(b"GNU\0", elf::NT_GNU_BUILD_ID, b"");
    let id = note(b"GNU\0", elf::NT_GNU_BUILD_ID, b"\xab\xcd\xef\x01");
    let notes = [other.clone(), empty, id].concat();
    assert_eq!(build_id(&notes).as_deref(), Some(&b"\xab\xcd\xef\x01"[..]));
    assert_eq!(build_id(&other), None);
    assert_eq!(build_id(&notes[..7]), None);
}
