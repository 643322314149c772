//! pprof files, read without our own writer: count and duration stand side by side there.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use flate2::read::GzDecoder;
use prost::Message;

use crate::folded::names;

/// Of https://github.com/google/pprof/blob/main/proto/profile.proto, what tests ask for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Pprof {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    strings: Vec<String>,
    /// Nanoseconds since 1970.
    #[prost(int64, tag = "9")]
    pub(crate) time: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    name: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// Innermost first.
    #[prost(uint64, repeated, tag = "1")]
    location: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

impl Pprof {
    pub(crate) fn read(path: &Path) -> Self {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).unwrap();
        GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
        Self::decode(&*bytes).unwrap()
    }

    /// How often stacks with this function were seen, and for how long in all.
    pub(crate) fn of(&self, function: &str) -> (u64, Duration) {
        let samples = self
            .sample
            .iter()
            .filter(|sample| self.has(sample, function));
        self.sums(&samples)
    }

    /// All of it.
    pub(crate) fn all(&self) -> (u64, Duration) {
        self.sums(&self.sample.iter())
    }

    fn sums<'a>(&self, samples: &(impl Iterator<Item = &'a Sample> + Clone)) -> (u64, Duration) {
        let sum = |unit| {
            let column = self
                .sample_type
                .iter()
                .position(|it| self.string(it.unit) == unit)
                .unwrap();
            let values = samples.clone().map(|sample| sample.value[column]);
            u64::try_from(values.sum::<i64>()).unwrap()
        };
        (sum("count"), Duration::from_nanos(sum("nanoseconds")))
    }

    fn has(&self, sample: &Sample, function: &str) -> bool {
        let frames = self
            .location
            .iter()
            .filter(|it| sample.location.contains(&it.id));
        let mut lines = frames.flat_map(|location| &location.line);
        lines.any(|line| {
            let found = self
                .function
                .iter()
                .find(|it| it.id == line.function)
                .unwrap();
            names(self.string(found.name), function)
        })
    }

    fn string(&self, index: i64) -> &str {
        &self.strings[usize::try_from(index).unwrap()]
    }
}
