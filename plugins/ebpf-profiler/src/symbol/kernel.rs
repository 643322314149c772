//! Names of the kernel's functions.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::kallsyms::Kallsyms;
use crate::process::elf::build_id;
use crate::process::modules::hexadecimal;
use crate::profile;

/// How long after a reading the table may be read again, for modules that were loaded since; twice as long
/// after each further one, because a reading takes 60 ms.
const FIRST_WAIT: Duration = Duration::from_secs(60);
/// Names that are kept ready, some 100 bytes each.
const MOST_NAMES: usize = 4096;

/// Names of the kernel's functions, read when first asked for.
#[derive(Debug)]
pub struct Kernel {
    path: PathBuf,
    table: Option<Kallsyms>,
    names: HashMap<u32, Arc<str>>,
    read: Option<Instant>,
    wait: Duration,
}

impl Kernel {
    /// Reads this file of the form of `/proc/kallsyms`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            table: None,
            names: HashMap::new(),
            read: None,
            wait: FIRST_WAIT,
        }
    }

    /// The function that an address of the kernel is in; the address where the kernel does not tell.
    pub fn name(&mut self, address: u64, now: Instant) -> Arc<str> {
        let number = self.find(address).or_else(|| {
            self.read(now);
            self.find(address)
        });
        let name = number.and_then(|number| self.named(number));
        name.unwrap_or_else(|| Arc::from(format!("{address:#x}")))
    }

    /// The kernel as profiles show it.
    pub fn describe(&self) -> profile::Module {
        let (start, end) = self.table.as_ref().map_or((0, 0), Kallsyms::range);
        let notes = std::fs::read("/sys/kernel/notes").unwrap_or_default();
        profile::Module {
            path: "[kernel]".into(),
            build_id: build_id(&notes).map(|id| hexadecimal(&id)),
            start,
            end,
            offset: 0,
        }
    }

    fn find(&self, address: u64) -> Option<u32> {
        self.table.as_ref()?.find(address)
    }

    fn named(&mut self, number: u32) -> Option<Arc<str>> {
        if let Some(name) = self.names.get(&number) {
            return Some(Arc::clone(name));
        }
        let name: Arc<str> = Arc::from(self.table.as_ref()?.name(number)?);
        if self.names.len() >= MOST_NAMES {
            self.names.clear();
        }
        self.names.insert(number, Arc::clone(&name));
        Some(name)
    }

    fn read(&mut self, now: Instant) {
        if let Some(read) = self.read {
            if now.saturating_duration_since(read) < self.wait {
                return;
            }
            self.wait *= 2;
        }
        self.read = Some(now);
        let text = File::open(&self.path).map(|file| BufReader::with_capacity(64 << 10, file));
        let table = text.and_then(Kallsyms::read);
        match table {
            Ok(Some(table)) => {
                self.names.clear();
                self.table = Some(table);
            }
            Ok(None) => tracing::debug!(path = ?self.path, "kernel hides its addresses"),
            Err(error) => tracing::debug!(path = ?self.path, %error, "kernel functions not read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const SCHEDULE: &str = "ffffffff81000000 T schedule\n";

    fn kernel(text: &str) -> (tempfile::TempDir, Kernel) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kallsyms");
        fs::write(&path, text).unwrap();
        (dir, Kernel::new(path))
    }

    #[test]
    fn addresses_without_a_table_are_shown_as_they_are() {
        let now = Instant::now();
        let (_dir, mut kernel) = kernel("0000000000000000 T schedule\n");
        assert_eq!(
            &*kernel.name(0xffff_ffff_8100_0010, now),
            "0xffffffff81000010"
        );
        let mut none = Kernel::new("/nonexistent/kallsyms");
        assert_eq!(
            &*none.name(0xffff_ffff_8100_0010, now),
            "0xffffffff81000010"
        );
    }

    #[test]
    fn a_name_is_made_once() {
        let now = Instant::now();
        let (dir, mut kernel) = kernel(SCHEDULE);
        let first = kernel.name(0xffff_ffff_8100_0010, now);
        drop(dir);
        let second = kernel.name(0xffff_ffff_8100_0020, now);
        assert_eq!(&*first, "schedule");
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn a_module_loaded_later_is_found_but_not_looked_for_at_every_address() {
        let start = Instant::now();
        let (_dir, mut kernel) = kernel(SCHEDULE);
        let address = 0xffff_ffff_c020_1010;
        assert_eq!(&*kernel.name(address, start), "0xffffffffc0201010");
        let more = format!("{SCHEDULE}ffffffffc0201000 t added\t[late]\n");
        fs::write(&kernel.path, more).unwrap();
        let early = start + FIRST_WAIT - Duration::from_secs(1);
        assert_eq!(&*kernel.name(address, early), "0xffffffffc0201010");
        assert_eq!(&*kernel.name(address, start + FIRST_WAIT), "added");
        // Each reading doubles the wait.
        fs::write(&kernel.path, SCHEDULE).unwrap();
        let missing = 0xffff_ffff_c030_0000;
        let soon = start + FIRST_WAIT * 2;
        assert_eq!(&*kernel.name(missing, soon), "0xffffffffc0300000");
        assert_eq!(&*kernel.name(address, soon), "added", "not read again yet");
    }

    #[test]
    fn this_kernel_names_its_own_functions() {
        let text = fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        let line = text.lines().find(|line| line.ends_with(" schedule"));
        let address = line.and_then(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok());
        let Some(address) = address.filter(|address| *address != 0) else {
            println!("skipped: /proc/kallsyms shows no addresses to us");
            return;
        };
        let mut kernel = Kernel::new("/proc/kallsyms");
        assert_eq!(&*kernel.name(address + 4, Instant::now()), "schedule");
        let module = kernel.describe();
        assert!((module.start..module.end).contains(&address));
        assert!(module.build_id.is_some());
    }
}
