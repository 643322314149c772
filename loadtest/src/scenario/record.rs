//! The file that a sink appends a line to for each message, before it answers.
//!
//! It outlives the sink, and can be read while the sink is stalled.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

/// One message that a sink has accepted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrived {
    /// What identifies it: the `traceSegmentId` of a segment.
    pub id: String,
    /// Path it came by.
    pub method: String,
    /// Service it belongs to.
    pub service: String,
    /// Instance it belongs to.
    pub instance: String,
}

/// A sink's record, as far as it has been read.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    read: u64,
    all: Vec<Arrived>,
}

impl Record {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            read: 0,
            all: Vec::new(),
        }
    }

    /// Every message in the order of arrival.
    #[must_use]
    pub fn all(&self) -> &[Arrived] {
        &self.all
    }

    /// Reads the lines that are new and whole.
    pub(super) fn read_on(&mut self) -> Result<()> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.read))?;
        let mut new = String::new();
        file.read_to_string(&mut new)
            .with_context(|| format!("read {}", self.path.display()))?;
        let whole = new.rfind('\n').map_or(0, |end| end + 1);
        for line in new[..whole].lines() {
            let mut fields = line.split('\t').map(str::to_owned);
            let mut field = || fields.next().with_context(|| format!("record: {line:?}"));
            self.all.push(Arrived {
                method: field()?,
                service: field()?,
                instance: field()?,
                id: field()?,
            });
        }
        self.read += whole as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn whole_lines_are_read_once_and_a_line_under_way_waits() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut record = Record::new(file.path().to_owned());
        file.write_all(b"/a/b\tshop\tshop-1\tone\n/a/b\tsh")
            .unwrap();
        record.read_on().unwrap();
        assert_eq!(record.all().len(), 1);
        file.write_all(b"op\tshop-2\ttwo\n").unwrap();
        record.read_on().unwrap();
        let ids: Vec<_> = record.all().iter().map(|one| one.id.as_str()).collect();
        assert_eq!(ids, ["one", "two"]);
        assert_eq!(record.all()[1].instance, "shop-2");
    }
}
