//! Configuration: the file, the environment, and what follows from them.
//!
//! [`Config::load`] reads the file, expands placeholders, checks every key against the one table of
//! `keys`, and makes typed [`settings`]. All errors are found at once and each names its path, its
//! value and what is allowed. The daemon sees [`settings`] only; `check` shows the rest.
//!
//! Everything after reading the file is pure: environment and machine are arguments.

use std::fmt;
use std::path::{Path, PathBuf};

mod at;
mod capture;
mod check;
mod host;
mod keys;
mod kind;
mod placeholder;
mod problem;
mod reference;
mod render;
mod resolve;
pub mod settings;
pub mod tree;
mod units;
mod yaml;

#[cfg(test)]
mod tests;

pub use capture::CaptureConfig;
use check::Findings;
pub use host::Host;
pub use placeholder::Environment;
pub use problem::Problem;
pub use reference::reference;
use settings::Settings;
use tree::Node;

/// Where Satellite's file is, relative to the working directory.
pub const DEFAULT_PATH: &str = "configs/satellite_config.yaml";

/// Our own file: used when no path is given and no file is at [`DEFAULT_PATH`].
pub const EMBEDDED: &str = include_str!("../config/satellite_config.yaml");

/// A valid configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the daemon works with.
    pub settings: Settings,
    /// What is odd; `check --strict` makes errors of these.
    pub warnings: Vec<Problem>,
    /// Where the file was found.
    pub source: Source,
    /// The file with placeholders expanded, our keys not added.
    pub tree: Node,
}

/// Where a configuration was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// [`EMBEDDED`].
    Embedded,
}

/// Why a configuration cannot be used: everything that is wrong with it.
#[derive(Clone, Debug)]
pub struct ConfigErrors {
    /// Where it was found.
    pub source: Source,
    /// At least one.
    pub errors: Vec<Problem>,
    /// What is odd besides.
    pub warnings: Vec<Problem>,
    /// What could be read all the same, with defaults for the rest. Not to be worked with, only for
    /// finding what else is wrong.
    pub readable: Option<Box<Settings>>,
}

impl Config {
    /// Reads the file, or the one at [`DEFAULT_PATH`], or failing that [`EMBEDDED`].
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the file, or why it cannot be read.
    pub fn load(path: Option<&Path>, environment: Environment<'_>) -> Result<Self, ConfigErrors> {
        let (source, text) = read(path)?;
        Self::parse(&text, source, environment, &Host::detect())
    }

    /// Makes a configuration of a text.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(
        text: &str,
        source: Source,
        environment: Environment<'_>,
        host: &Host,
    ) -> Result<Self, ConfigErrors> {
        let tree = grow(text, &source, environment)?;
        let mut findings = Findings::of(&tree);
        let settings = resolve::resolve(&tree, host, &mut findings);
        match settings {
            Some(settings) if findings.errors.is_empty() => Ok(Self {
                settings,
                warnings: findings.warnings,
                source,
                tree,
            }),
            readable => Err(ConfigErrors {
                source,
                errors: findings.errors,
                warnings: findings.warnings,
                readable: readable.map(Box::new),
            }),
        }
    }
}

/// The text at a path, or where it is looked for without one.
fn read(path: Option<&Path>) -> Result<(Source, String), ConfigErrors> {
    let default = Path::new(DEFAULT_PATH);
    if path.is_none() && !default.exists() {
        return Ok((Source::Embedded, EMBEDDED.to_owned()));
    }
    let path = path.unwrap_or(default);
    let source = Source::File(path.into());
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((source, text)),
        Err(error) => {
            let what = format!("cannot be read: {error}");
            Err(ConfigErrors::one(source, Problem::new("", None, what)))
        }
    }
}

/// The tree of a text, with placeholders expanded.
fn grow(text: &str, source: &Source, environment: Environment<'_>) -> Result<Node, ConfigErrors> {
    let mut tree = yaml::parse(text).map_err(|error| {
        let problem = Problem {
            path: String::new(),
            line: error.line,
            variable: None,
            what: error.what,
        };
        ConfigErrors::one(source.clone(), problem)
    })?;
    placeholder::expand(&mut tree, environment);
    Ok(tree)
}

impl ConfigErrors {
    fn one(source: Source, problem: Problem) -> Self {
        Self {
            source,
            errors: vec![problem],
            warnings: Vec::new(),
            readable: None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(out),
            Self::Embedded => out.write_str("the embedded configuration"),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.errors.len();
        let noun = if count == 1 { "error" } else { "errors" };
        write!(out, "{count} {noun} in {}", self.source)?;
        for error in &self.errors {
            write!(out, "\n  {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
