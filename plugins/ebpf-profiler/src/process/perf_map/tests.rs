use super::*;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{chown, symlink};
use std::path::PathBuf;

/// A root directory with a perf map of process 1.
struct Root(tempfile::TempDir);

impl Root {
    fn with(text: impl AsRef<[u8]>) -> Self {
        let root = Self(tempfile::tempdir().unwrap());
        fs::create_dir(root.0.path().join("tmp")).unwrap();
        fs::write(root.file(), text).unwrap();
        root
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("tmp/perf-1.map")
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).open(self.file()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn open(&self) -> io::Result<PerfMap> {
        let user = rustix::process::geteuid().as_raw();
        let owner = Owner {
            effective: user,
            files: user,
            pid: 1,
        };
        PerfMap::open(self.0.path(), owner)
    }

    fn read(&self) -> PerfMap {
        let mut map = self.open().unwrap();
        map.update().unwrap();
        map
    }
}

fn name(map: &mut PerfMap, address: u64) -> Option<String> {
    map.name(address).map(|name| name.to_string())
}

#[test]
fn an_address_has_the_name_of_the_function_around_it() {
    let mut map = Root::with("1000 10 one\n0x2000 0x20 two with words\n").read();
    for (address, expected) in [
        (0xfff, None),
        (0x1000, Some("one")),
        (0x100f, Some("one")),
        (0x1010, None),
        (0x201f, Some("two with words")),
        (u64::MAX, None),
    ] {
        assert_eq!(name(&mut map, address).as_deref(), expected, "{address:#x}");
    }
}

#[test]
fn only_what_was_appended_is_read_and_a_half_line_waits() {
    let root = Root::with("1000 10 one\n2000 10 tw");
    let mut map = root.read();
    assert_eq!(map.len(), 1);
    assert_eq!(map.read, 12);
    root.append("o\n3000 10 three\n");
    map.update().unwrap();
    assert_eq!(name(&mut map, 0x2000).as_deref(), Some("two"));
    assert_eq!(name(&mut map, 0x3000).as_deref(), Some("three"));
    assert_eq!(map.len(), 3);
}

#[test]
fn the_latest_line_holds_where_addresses_are_used_again() {
    let root = Root::with("1000 100 old\n1100 100 neighbour\n");
    let mut map = root.read();
    root.append("10f0 20 new\n");
    map.update().unwrap();
    assert_eq!(name(&mut map, 0x1000), None, "its code is overwritten");
    assert_eq!(name(&mut map, 0x10f0).as_deref(), Some("new"));
    assert_eq!(name(&mut map, 0x110f).as_deref(), Some("new"));
    assert_eq!(name(&mut map, 0x1110), None);
    assert_eq!(map.len(), 1);
}

#[test]
fn a_map_that_was_cut_is_read_from_its_start() {
    let root = Root::with("1000 10 a name of another run\n");
    let mut map = root.read();
    assert!(name(&mut map, 0x1000).is_some());
    fs::write(root.file(), "3000 10 new\n").unwrap();
    map.update().unwrap();
    assert_eq!(name(&mut map, 0x1000), None);
    assert_eq!(name(&mut map, 0x3000).as_deref(), Some("new"));
}

#[test]
fn python_s_trampolines_are_told_from_other_code() {
    let root = Root::with("1000 10 py::main:/x.py\n5000 10 other\n");
    let mut map = root.read();
    assert!(map.has_python_trampolines(0x1000..0x2000));
    assert!(!map.has_python_trampolines(0x4000..0x6000));
    root.append("1000 10 other\n");
    map.update().unwrap();
    assert!(!map.has_python_trampolines(0..u64::MAX));
    assert_eq!(map.trampolines, 0);
}

#[test]
fn lines_that_are_none_are_passed_over() {
    let root = Root::with(
        b"\n1000\n1000 10\n1000 10 \nzz 10 x\n1000 zz x\n1000 0 x\n-5 10 x\n\
        ffffffffffffffff 10 x\n1000 fffffffff x\n\xff\xfe \xff x\n\x00\x00\n2000 10 good\r\n",
    );
    let mut map = root.read();
    assert_eq!(map.len(), 1);
    assert_eq!(name(&mut map, 0x2000).as_deref(), Some("good"));
}

#[test]
fn a_name_of_any_bytes_is_readable_and_short() {
    let mut text = b"1000 10 a\xff\x1bz\n2000 10 ".to_vec();
    text.extend(vec![b'x'; 5000]);
    text.push(b'\n');
    let mut map = Root::with(text).read();
    assert_eq!(
        name(&mut map, 0x1000).as_deref(),
        Some("a\u{fffd}\u{fffd}z")
    );
    assert_eq!(name(&mut map, 0x2000).unwrap().len(), LONGEST_NAME);
}

#[test]
fn an_endless_line_is_skipped_to_its_end() {
    let mut text = b"1000 10 before\n".to_vec();
    text.extend(vec![b'x'; 3 * PIECE]);
    // What a piece of it begins with looks like a line.
    text.extend(b"3000 10 ghost\n2000 10 after\n");
    let mut map = Root::with(text).read();
    assert_eq!(name(&mut map, 0x3000), None);
    assert_eq!(map.len(), 2);
    assert_eq!(name(&mut map, 0x2000).as_deref(), Some("after"));
}

#[test]
fn too_many_functions_drop_the_older_half() {
    let line = |number: usize| format!("{:x} 10 f{number}\n", 0x1000 + 16 * number);
    let text: String = (0..MOST_FUNCTIONS + 1).map(line).collect();
    let mut map = Root::with(text).read();
    assert!(map.len() <= MOST_FUNCTIONS / 2 + 1);
    assert_eq!(name(&mut map, 0x1000), None);
    let last = 0x1000 + 16 * MOST_FUNCTIONS as u64;
    assert_eq!(name(&mut map, last), Some(format!("f{MOST_FUNCTIONS}")));
}

#[test]
fn an_endless_map_is_read_piece_by_piece() {
    let line = format!("1000 10 {}\n", "x".repeat(1015));
    let lines = MOST_READ as usize / line.len() + 2000;
    let root = Root::with(line.repeat(lines));
    root.append("2000 10 last\n");
    let mut map = root.read();
    assert_eq!(name(&mut map, 0x2000), None);
    map.update().unwrap();
    assert_eq!(name(&mut map, 0x2000).as_deref(), Some("last"));
}

#[test]
fn a_link_is_not_followed() {
    let root = Root::with("");
    fs::rename(root.file(), root.0.path().join("tmp/other")).unwrap();
    symlink("other", root.file()).unwrap();
    assert!(root.open().is_err());
}

#[test]
fn another_user_s_map_is_refused() {
    let root = Root::with("1000 10 x\n");
    if chown(root.file(), Some(12345), None).is_err() {
        println!("skipped: needs CAP_CHOWN");
        return;
    }
    let error = root.open().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("12345"));
    let owner = Owner {
        effective: 0,
        files: 12345,
        pid: 1,
    };
    assert!(PerfMap::open(root.0.path(), owner).is_ok());
}

#[test]
fn a_map_without_a_name_is_deleted() {
    let root = Root::with("1000 10 x\n");
    let mut map = root.read();
    assert!(!map.is_deleted());
    fs::remove_file(root.file()).unwrap();
    assert!(map.is_deleted());
    assert_eq!(name(&mut map, 0x1000).as_deref(), Some("x"));
}
