use super::*;
use crate::process::fixture::{self, Running, compiled, fake_proc};
use crate::process::maps;
use std::fs;
use std::process::Command;

fn region(path: &Path, inode: u64, device: u64) -> Region {
    Region {
        start: 0x1000,
        end: 0x2000,
        offset: 0,
        device: (rustix::fs::major(device), rustix::fs::minor(device)),
        inode,
        backing: Backing::File { deleted: false },
        path: Arc::from(path.to_str().unwrap()),
    }
}

/// The region of a file, as if it were mapped.
fn mapped(path: &Path) -> Region {
    let metadata = fs::metadata(path).unwrap();
    region(path, metadata.ino(), metadata.dev())
}

/// Regions of a process that are not opened by the kernel's links, only by path.
fn by_path() -> (tempfile::TempDir, Proc) {
    let dir = fake_proc(1, 1, "");
    let root = dir.path().join("1/root");
    fs::remove_dir_all(&root).unwrap();
    std::os::unix::fs::symlink("/", &root).unwrap();
    let proc = Proc::at(dir.path());
    (dir, proc)
}

fn program(dir: &Path, name: &str) -> std::path::PathBuf {
    compiled(dir, name, fixture::C, &["-Wl,--build-id"])
}

#[test]
fn two_processes_share_what_they_map() {
    let dir = tempfile::tempdir().unwrap();
    let program = program(dir.path(), "shared");
    let copy = dir.path().join("copy");
    fs::copy(&program, &copy).unwrap();
    let proc = Proc::default();
    let mut modules = Modules::new(64);
    let mut ids = |program: &Path| -> Vec<u32> {
        let mut running = Running::start(&mut Command::new(program));
        running.address();
        let regions = maps::read(&proc, running.pid()).unwrap();
        let modules = regions
            .iter()
            .filter_map(|it| modules.of(&proc, running.pid(), it));
        modules.map(|it| it.id).collect()
    };
    let first = ids(&program);
    assert!(first.len() >= 4, "program, libc, loader, vDSO: {first:?}");
    assert_eq!(ids(&program), first);
    assert_eq!(ids(&copy), first, "a copy is of the same build");
    assert_eq!(modules.len(), first.len());
}

#[test]
fn a_file_without_a_build_id_is_known_by_its_inode() {
    let dir = tempfile::tempdir().unwrap();
    let one = compiled(dir.path(), "one", fixture::C, &["-Wl,--build-id=none"]);
    let copy = dir.path().join("copy");
    fs::copy(&one, &copy).unwrap();
    let (_proc, proc) = by_path();
    let mut modules = Modules::new(64);
    let mut id = |path: &Path| modules.of(&proc, 1, &mapped(path)).unwrap().id;
    assert_eq!(id(&one), id(&one));
    assert_ne!(id(&one), id(&copy));
}

#[test]
fn a_file_that_was_written_to_is_another_one() {
    let dir = tempfile::tempdir().unwrap();
    let one = program(dir.path(), "one");
    let other = compiled(dir.path(), "other", "int main(void) { return 0; }", &[]);
    let (_proc, proc) = by_path();
    let mut modules = Modules::new(64);
    let before = modules.of(&proc, 1, &mapped(&one)).unwrap();
    let inode = fs::metadata(&one).unwrap().ino();
    fs::write(&one, fs::read(&other).unwrap()).unwrap();
    assert_eq!(fs::metadata(&one).unwrap().ino(), inode);
    let after = modules.of(&proc, 1, &mapped(&one)).unwrap();
    assert_ne!(before.id, after.id);
    assert_ne!(before.elf.build_id, after.elf.build_id);
}

#[test]
fn what_replaced_a_file_is_not_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let one = program(dir.path(), "one");
    let region = mapped(&one);
    let (_proc, proc) = by_path();
    fs::rename(&one, dir.path().join("old")).unwrap();
    program(dir.path(), "one");
    let mut modules = Modules::new(64);
    assert!(modules.of(&proc, 1, &region).is_none());
    let deleted = Region {
        backing: Backing::File { deleted: true },
        ..mapped(&one)
    };
    assert!(modules.of(&proc, 1, &deleted).is_none(), "by path, never");
}

#[test]
fn files_that_are_no_elf_and_memory_have_no_module() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("text");
    fs::write(&text, "#!/bin/sh\n").unwrap();
    let (_proc, proc) = by_path();
    let mut modules = Modules::new(64);
    assert!(modules.of(&proc, 1, &mapped(&text)).is_none());
    assert!(
        modules
            .of(&proc, 1, &mapped(Path::new("/dev/null")))
            .is_none()
    );
    let memory = Region {
        backing: Backing::Memory,
        ..mapped(&text)
    };
    assert!(modules.of(&proc, 1, &memory).is_none());
    assert!(modules.is_empty());
}

#[test]
fn what_nobody_maps_is_closed_first() {
    let dir = tempfile::tempdir().unwrap();
    let (_proc, proc) = by_path();
    let mut modules = Modules::new(2);
    let mut open = |number: u32| {
        let source = format!("int main(void) {{ return {number}; }}");
        let path = compiled(dir.path(), &format!("p{number}"), &source, &[]);
        modules.of(&proc, 1, &mapped(&path)).unwrap()
    };
    let kept = open(0);
    let dropped = Arc::downgrade(&open(1));
    let more: Vec<_> = (2..4).map(&mut open).collect();
    assert!(dropped.upgrade().is_none(), "idle");
    assert!(kept.file().is_some(), "mapped, though used less lately");
    let last = open(4);
    assert!(
        kept.file().is_some(),
        "twice the wanted number is not reached"
    );
    let over = open(5);
    assert!(kept.file().is_none(), "the oldest of too many");
    for module in more.iter().chain([&last, &over]) {
        assert!(module.file().is_some());
    }
    let idle = Arc::downgrade(&last);
    drop(last);
    let _more = open(6);
    assert!(idle.upgrade().is_none());
    assert!(more[0].file().is_some(), "too many, but one was idle");
}

#[test]
fn a_module_is_described_by_the_segment_of_an_address() {
    let dir = tempfile::tempdir().unwrap();
    let path = program(dir.path(), "described");
    let (_proc, proc) = by_path();
    let module = Modules::new(2).of(&proc, 1, &mapped(&path)).unwrap();
    let segment = module.elf.segments[0];
    let described = module.describe(segment.address + 1);
    assert_eq!(described.path, path.to_str().unwrap());
    assert_eq!(described.start, segment.address);
    assert_eq!(described.end, segment.address + segment.size);
    assert_eq!(described.offset, segment.offset);
    let id = described.build_id.unwrap();
    assert_eq!(id.len(), 40, "SHA-1: {id}");
    assert_eq!(module.name(), "described");
}
