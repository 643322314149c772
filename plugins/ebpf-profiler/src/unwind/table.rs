//! Tables of rows in the layout that is walked.

use super::rules::OfFile;
use super::{PAGE, PAGE_SHIFT, Row, Rules, elf};

/// Words of the smallest limit for a table: a page with a row for each byte fits.
pub const LEAST_WORDS: usize = 2048;

const ROWS_OF_A_MILLISECOND: usize = 8192;

/// Pages of unknown code that are worth a new table: their words would be wasted.
const GAP: u64 = 1024;

/// Rows of a range of a file's addresses, in the layout of [`super`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Where the first page begins, in the file's addresses.
    pub first: u64,
    /// How many pages it has.
    pub pages: u32,
    /// One index a page and one more, then the rows. Indices count from the first of these words.
    pub words: Vec<u32>,
}

impl Table {
    /// Tables of a file, of at most `most_words` each (at least [`LEAST_WORDS`]). As that may take a second for a
    /// big file, `meanwhile` is called every millisecond or so.
    ///
    /// # Errors
    ///
    /// The bytes are no ELF file, or one for another processor.
    pub fn read(
        file: &[u8],
        most_words: usize,
        rules: &mut Rules,
        mut meanwhile: impl FnMut(),
    ) -> Result<FileTables, elf::Error> {
        let mut builder = Builder::new(most_words, rules);
        let mut rows = 0_usize;
        let read = elf::rows(file, |row| {
            builder.push(row);
            rows += 1;
            if rows.is_multiple_of(ROWS_OF_A_MILLISECOND) {
                meanwhile();
            }
        });
        let made = builder.finish();
        if read.is_err() {
            rules.give_back(&made.rules);
        }
        read.map(|()| made)
    }

    /// The number of the rule that holds at an address; none outside of the table.
    pub fn lookup(&self, address: u64) -> Option<u16> {
        let offset = address.checked_sub(self.first)?;
        let page = usize::try_from(offset >> PAGE_SHIFT)
            .ok()
            .filter(|&page| page < self.pages as usize)?;
        let rows = self
            .words
            .get(*self.words.get(page)? as usize..*self.words.get(page + 1)? as usize)?;
        let within = (offset % PAGE) as u32;
        let after = rows.partition_point(|row| row >> 16 <= within);
        rows.get(after.checked_sub(1)?)
            .map(|row| (row & 0xffff) as u16)
    }
}

/// What is known of a file's code.
#[derive(Debug, Default)]
pub struct FileTables {
    /// Ascending. Addresses in none of them are not described.
    pub tables: Vec<Table>,
    /// The numbers of their rules, to be given back when the tables are.
    pub rules: Box<[u16]>,
}

/// Makes tables of rows that come in ascending order.
pub struct Builder<'r> {
    rules: OfFile<'r>,
    most_words: usize,
    tables: Vec<Table>,
    /// The first page of the table that is being made.
    first: u64,
    /// Where the pages of that table begin among its rows.
    pages: Vec<u32>,
    rows: Vec<u32>,
    /// What holds after the last row.
    rule: u16,
}

impl<'r> Builder<'r> {
    /// Without a row yet.
    pub fn new(most_words: usize, rules: &'r mut Rules) -> Self {
        let most_words = most_words.max(LEAST_WORDS);
        let rule = Rules::UNKNOWN;
        Self {
            rules: OfFile::new(rules),
            most_words,
            tables: Vec::new(),
            first: 0,
            pages: Vec::new(),
            rows: Vec::new(),
            rule,
        }
    }

    /// Adds a row; one that lies before the last is left out.
    pub fn push(&mut self, row: Row) {
        let rule = self.rules.number(row.rule);
        if rule == self.rule {
            return;
        }
        let page = row.address >> PAGE_SHIFT;
        if self.pages.is_empty() || (self.rule == Rules::UNKNOWN && page > self.page() + GAP) {
            self.close();
            self.open(page);
        }
        if page < self.page() {
            return;
        }
        while self.page() < page {
            self.next_page();
        }
        let offset = (row.address % PAGE) as u32;
        match self.rows.last_mut() {
            Some(last) if *last >> 16 == offset => *last = offset << 16 | u32::from(rule),
            Some(last) if *last >> 16 > offset => return,
            _ => self.rows.push(offset << 16 | u32::from(rule)),
        }
        self.rule = rule;
        self.split();
    }

    /// The tables, and the rules that they have taken.
    pub fn finish(mut self) -> FileTables {
        self.close();
        FileTables {
            tables: self.tables,
            rules: self.rules.finish(),
        }
    }

    /// The page that is being filled.
    fn page(&self) -> u64 {
        self.first + self.pages.len() as u64 - 1
    }

    fn open(&mut self, page: u64) {
        self.first = page;
        self.pages.push(0);
        self.rows.push(u32::from(self.rule));
    }

    fn next_page(&mut self) {
        self.pages.push(self.rows.len() as u32);
        self.rows.push(u32::from(self.rule));
        self.split();
    }

    /// When the table is too big, closes it before the page that is being filled.
    fn split(&mut self) {
        if self.pages.len() + 1 + self.rows.len() <= self.most_words {
            return;
        }
        let page = self.page();
        if let Some(start) = self.pages.pop() {
            let rows = self.rows.split_off(start as usize);
            self.close();
            self.first = page;
            self.pages.push(0);
            self.rows = rows;
        }
    }

    fn close(&mut self) {
        if self.pages.is_empty() {
            return;
        }
        let index = self.pages.len() as u32 + 1;
        let mut words = Vec::with_capacity(index as usize + self.rows.len());
        words.extend(self.pages.iter().map(|start| index + start));
        words.push(index + self.rows.len() as u32);
        words.append(&mut self.rows);
        self.tables.push(Table {
            first: self.first << PAGE_SHIFT,
            pages: self.pages.len() as u32,
            words,
        });
        self.pages.clear();
    }
}

#[cfg(test)]
mod tests;
