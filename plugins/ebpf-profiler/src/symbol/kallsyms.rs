//! The kernel's own table of functions, kept small.
//!
//! `/proc/kallsyms` is 5 MB of text that takes the kernel 40 ms to print: too much to keep and too slow to
//! read for every new address. Here 64,000 functions take 1 MB: addresses as differences, names packed in
//! the order of the file, `BLOCK` at a time.

use std::io::{self, BufRead, Read};

use flate2::{Compress, Compression, FlushCompress};

/// Names that are packed together: more pack better and take longer to find.
const BLOCK: u32 = 64;
/// Functions that are kept; a kernel has a tenth.
const MOST: usize = 1 << 20;
/// Functions lie within 2 GiB of each other, as calls between them require.
const REACH: u64 = 1 << 31;
/// How far the last function of a module reaches, and any function into a gap: nobody says.
const LAST: u64 = 4 << 10;
const LONGEST: u64 = 1 << 20;
/// No function begins here.
const NONE: u32 = u32::MAX;

/// Functions of the kernel and its modules.
#[derive(Debug)]
pub struct Kallsyms {
    base: u64,
    /// Ascending by address.
    starts: Vec<Start>,
    packed: Vec<u8>,
    /// Where each block ends in `packed`.
    ends: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    /// From `base`.
    address: u32,
    /// Which name of the file it has.
    name: u32,
}

impl Kallsyms {
    /// Reads the text of `/proc/kallsyms`; `None` if the kernel hides its addresses from us.
    ///
    /// # Errors
    /// The reader's own.
    pub fn read(mut text: impl BufRead) -> io::Result<Option<Self>> {
        let mut building = Building::default();
        let mut line = Vec::new();
        while building.found.len() < MOST {
            line.clear();
            if text.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            building.take(&line);
        }
        Ok(building.finish())
    }

    /// The number of the function that an address is in.
    pub fn find(&self, address: u64) -> Option<u32> {
        let address = u32::try_from(address.wrapping_sub(self.base)).ok()?;
        let after = self
            .starts
            .partition_point(|start| start.address <= address);
        let name = self.starts.get(after.checked_sub(1)?)?.name;
        (name != NONE).then_some(name)
    }

    /// The name of a function by its number.
    pub fn name(&self, number: u32) -> Option<String> {
        let block = (number / BLOCK) as usize;
        let end = *self.ends.get(block)? as usize;
        let before = block.checked_sub(1).and_then(|it| self.ends.get(it));
        let packed = self.packed.get(before.map_or(0, |it| *it as usize)..end)?;
        let mut names = String::new();
        let mut unpacked = flate2::read::DeflateDecoder::new(packed);
        unpacked.read_to_string(&mut names).ok()?;
        names
            .lines()
            .nth((number % BLOCK) as usize)
            .map(String::from)
    }

    /// First address and one past the last.
    pub fn range(&self) -> (u64, u64) {
        let at =
            |start: Option<&Start>| start.map_or(0, |it| self.base.wrapping_add(it.address.into()));
        (at(self.starts.first()), at(self.starts.last()))
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.starts.len() * size_of::<Start>() + self.packed.len() + 4 * self.ends.len()
    }
}

#[derive(Default)]
struct Building {
    found: Vec<Function>,
    /// The module of the line before, and how many there were.
    module: Vec<u8>,
    modules: u16,
    base: Option<u64>,
    names: u32,
    /// Names of the block that is not full yet.
    block: Vec<u8>,
    packed: Vec<u8>,
    ends: Vec<u32>,
    compress: Option<Compress>,
}

#[derive(Clone, Copy)]
struct Function {
    address: u32,
    name: u32,
    module: u16,
}

impl Building {
    fn take(&mut self, line: &[u8]) {
        let Some((address, name, module)) = parse(line) else {
            return;
        };
        let base = *self.base.get_or_insert(address.wrapping_sub(REACH));
        let Ok(address) = u32::try_from(address.wrapping_sub(base)) else {
            return;
        };
        if module != self.module {
            self.module = module.to_vec();
            self.modules = self.modules.saturating_add(1);
        }
        let is_end = matches!(name, b"_etext" | b"_einittext");
        let number = if is_end { NONE } else { self.pack(name) };
        self.found.push(Function {
            address,
            name: number,
            module: self.modules,
        });
    }

    fn pack(&mut self, name: &[u8]) -> u32 {
        self.block.extend_from_slice(name);
        self.block.push(b'\n');
        self.names += 1;
        if self.names.is_multiple_of(BLOCK) {
            self.end_block();
        }
        self.names - 1
    }

    fn end_block(&mut self) {
        // Packing better would take longer than reading.
        let raw = Compress::new(Compression::fast(), false);
        let compress = self.compress.get_or_insert(raw);
        compress.reset();
        // Names that cannot be packed would be longer packed: 1/16 more, and a header.
        self.packed
            .reserve(self.block.len() + self.block.len() / 16 + 64);
        // A block that fails is one whose names are not found.
        let _ = compress.compress_vec(&self.block, &mut self.packed, FlushCompress::Finish);
        self.ends
            .push(u32::try_from(self.packed.len()).unwrap_or(NONE));
        self.block.clear();
    }

    fn finish(mut self) -> Option<Kallsyms> {
        if !self.block.is_empty() {
            self.end_block();
        }
        // Of several names the first holds, as in the kernel's own traces.
        self.found.sort_by_key(|it| (it.address, it.name));
        self.found.dedup_by_key(|it| it.address);
        let mut starts = Vec::with_capacity(self.found.len() + 64);
        let mut functions = self.found.iter().peekable();
        while let Some(function) = functions.next() {
            starts.push(Start {
                address: function.address,
                name: function.name,
            });
            let next = functions.peek();
            let reach = match next {
                Some(next) if next.module == function.module => LONGEST,
                _ => LAST,
            };
            let end = u64::from(function.address) + reach;
            let end = u32::try_from(end).unwrap_or(NONE);
            if next.is_none_or(|next| next.address > end) {
                starts.push(Start {
                    address: end,
                    name: NONE,
                });
            }
        }
        starts.shrink_to_fit();
        self.packed.shrink_to_fit();
        Some(Kallsyms {
            base: self.base?,
            starts,
            packed: self.packed,
            ends: self.ends,
        })
    }
}

/// `ADDRESS TYPE NAME`, and `[MODULE]` behind a tab; only functions that run, with an address.
fn parse(line: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let line = line.trim_ascii_end();
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let address = u64::from_str_radix(str::from_utf8(words.next()?).ok()?, 16).ok()?;
    let is_code = matches!(words.next()?, b"t" | b"T" | b"w" | b"W");
    let rest = words.next()?;
    let mut parts = rest.splitn(2, |byte| *byte == b'\t');
    let (name, module) = (parts.next()?, parts.next().unwrap_or_default());
    // Padding before functions, and marks of arm64 for data among code.
    let is_function = !name.starts_with(b"__pfx_") && !name.starts_with(b"$");
    let readable = str::from_utf8(name).is_ok_and(|name| !name.is_empty());
    (address != 0 && is_code && is_function && readable).then_some((address, name, module))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Kallsyms {
        Kallsyms::read(text.as_bytes()).unwrap().unwrap()
    }

    fn name(table: &Kallsyms, address: u64) -> Option<String> {
        table.name(table.find(address)?)
    }

    const TEXT: &str = "\
        ffffffff81000000 T first_name\n\
        ffffffff81000000 T _stext\n\
        ffffffff810000f0 t __pfx_second\n\
        ffffffff81000100 t second\n\
        ffffffff81000200 D data\n\
        ffffffff81000300 W weak\n\
        ffffffff81002000 T _etext\n\
        ffffffffc0201000 t init\t[one]\n\
        ffffffffc0201080 t last_of_one\t[one]\n\
        ffffffffc0300000 t first_of_two\t[two]\n";

    #[test]
    fn a_function_reaches_to_the_next() {
        let table = table(TEXT);
        for (address, expected) in [
            (0xffff_ffff_8100_0000, Some("first_name")),
            (0xffff_ffff_8100_00ff, Some("first_name")),
            (0xffff_ffff_8100_0100, Some("second")),
            (0xffff_ffff_8100_0250, Some("second")),
            (0xffff_ffff_8100_0300, Some("weak")),
            (0xffff_ffff_8100_2000, None),
            (0xffff_ffff_80ff_ffff, None),
            (0, None),
            (u64::MAX, None),
        ] {
            assert_eq!(name(&table, address).as_deref(), expected, "{address:#x}");
        }
    }

    #[test]
    fn the_last_function_of_a_module_does_not_take_what_lies_behind() {
        let table = table(TEXT);
        for (address, expected) in [
            (0xffff_ffff_c020_1010, Some("init")),
            (0xffff_ffff_c020_1090, Some("last_of_one")),
            (0xffff_ffff_c020_3000, None),
            (0xffff_ffff_c030_0010, Some("first_of_two")),
            (0xffff_ffff_c030_2000, None),
        ] {
            assert_eq!(name(&table, address).as_deref(), expected, "{address:#x}");
        }
    }

    #[test]
    fn modules_may_come_in_any_order() {
        let reversed: Vec<&str> = TEXT.lines().rev().collect();
        let table = table(&reversed.join("\n"));
        assert_eq!(
            name(&table, 0xffff_ffff_8100_0150).as_deref(),
            Some("second")
        );
        assert_eq!(name(&table, 0xffff_ffff_c020_1010).as_deref(), Some("init"));
    }

    #[test]
    fn hidden_addresses_are_no_table() {
        let text = "0000000000000000 T _stext\n0000000000000000 t schedule\n";
        assert!(Kallsyms::read(text.as_bytes()).unwrap().is_none());
        assert!(Kallsyms::read(&b""[..]).unwrap().is_none());
    }

    #[test]
    fn lines_that_are_none_are_passed_over() {
        let text = b"\nffff\nzz T a\nffffffff81000000 T \nffffffff81000000 T ok\n\xff\xff T b\n\
            ffffffff81000010 T \xff\n";
        let table = Kallsyms::read(&text[..]).unwrap().unwrap();
        assert_eq!(name(&table, 0xffff_ffff_8100_0010).as_deref(), Some("ok"));
    }

    #[test]
    fn every_name_of_many_blocks_is_found() {
        let line = |number: u64| {
            format!(
                "{:x} t function_{number}\n",
                0xffff_ffff_8100_0000 + 16 * number
            )
        };
        let table = table(&(0..1000).map(line).collect::<String>());
        for number in 0..1000 {
            let found = name(&table, 0xffff_ffff_8100_0000 + 16 * number + 15);
            assert_eq!(found, Some(format!("function_{number}")));
        }
    }

    #[test]
    fn this_kernel_s_table_is_small_and_agrees_with_its_text() {
        let text = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
        let Some(table) = Kallsyms::read(text.as_bytes()).unwrap() else {
            println!("skipped: /proc/kallsyms shows no addresses to us");
            return;
        };
        assert!(table.bytes() < 2 << 20, "{} bytes", table.bytes());
        let mut compared = 0;
        let mut taken = std::collections::HashSet::new();
        for line in text.lines() {
            let Some((address, expected, _)) = parse(line.as_bytes()) else {
                continue;
            };
            // Its first name, and ends are none.
            if taken.insert(address) && table.find(address).is_some() && compared % 37 == 0 {
                let found = name(&table, address).unwrap();
                assert_eq!(found.as_bytes(), expected, "{address:#x}");
            }
            compared += 1;
        }
        assert!(compared > 10_000, "{compared} functions");
    }
}
