//! The one table of known keys. The check of the file, the hints for misspelt keys, the defaults,
//! `check --json` and `config/README.md` all follow from it.
//!
//! Environment names are not here: they stand in the file itself, as placeholders.

use std::collections::HashMap;
use std::sync::OnceLock;

use super::kind::Kind;

mod capture;
mod discovery;
mod pipes;
mod process;
mod sharing;

/// A key that may stand in the file.
#[derive(Debug)]
pub(super) struct Key {
    /// Path with `[]` for any index, e.g. `pipes[].sender.flush_time`.
    pub(super) path: &'static str,
    /// What the value may be.
    pub(super) kind: Kind,
    /// What an absent key means, as it would be written in the file; may be empty.
    pub(super) default: &'static str,
    /// What becomes of the value.
    pub(super) usage: Usage,
    /// One or two sentences for the reference.
    pub(super) doc: &'static str,
    /// Whether it is about TLS or tokens: a mistake in its name must not pass for an absent one.
    pub(super) guards: bool,
}

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// It is one of Satellite's and does the same here.
    Satellite,
    /// It is ours.
    Ours,
    /// Accepted for Satellite's sake. A value other than the default is worth a warning.
    Ignored,
}

impl Key {
    const fn new(path: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Self {
        let usage = Usage::Satellite;
        Self {
            path,
            kind,
            default,
            usage,
            doc,
            guards: false,
        }
    }

    const fn ours(mut self) -> Self {
        self.usage = Usage::Ours;
        self
    }

    const fn ignored(mut self) -> Self {
        self.usage = Usage::Ignored;
        self
    }

    const fn guards(mut self) -> Self {
        self.guards = true;
        self
    }

    /// The last part of the path.
    pub(super) fn name(&self) -> &'static str {
        let name = self.path.rsplit('.').next().unwrap_or(self.path);
        name.trim_end_matches("[]")
    }
}

/// Every known key, in the order of the file.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    [
        process::KEYS,
        sharing::KEYS,
        pipes::KEYS,
        capture::KEYS,
        discovery::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// The key of a path, with or without indexes.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    static BY_PATH: OnceLock<HashMap<&'static str, &'static Key>> = OnceLock::new();
    BY_PATH
        .get_or_init(|| all().map(|key| (key.path, key)).collect())
        .get(general(path).as_str())
        .copied()
}

/// The path with `[]` for every index.
pub(super) fn general(path: &str) -> String {
    let mut general = String::with_capacity(path.len());
    let mut inside = false;
    for letter in path.chars() {
        inside = inside && letter != ']';
        if !inside {
            general.push(letter);
        }
        inside = inside || letter == '[';
    }
    general
}

/// What a path that is not a leaf must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Branch {
    /// Other keys stand under it.
    Map,
    /// Items stand under it.
    List,
}

/// What the keys under a general path need it to be; `None` if there are none.
pub(super) fn branch(path: &str) -> Option<Branch> {
    static BRANCHES: OnceLock<HashMap<&'static str, Branch>> = OnceLock::new();
    BRANCHES.get_or_init(branches).get(path).copied()
}

fn branches() -> HashMap<&'static str, Branch> {
    let mut branches = HashMap::new();
    for key in all() {
        for (position, letter) in key.path.char_indices() {
            let kind = match letter {
                '.' => Branch::Map,
                '[' => Branch::List,
                _ => continue,
            };
            branches.insert(&key.path[..position], kind);
        }
    }
    branches
}

const fn count(unit: &'static str, least: u64, most: u64) -> Kind {
    Kind::Whole { unit, least, most }
}

const fn seconds(least: u64, most: u64) -> Kind {
    count("seconds", least, most)
}

const fn millis(least: u64) -> Kind {
    count("milliseconds", least, 3_600_000)
}
