//! A configuration as `perigee capture` sees it: the section `capture` of the gateway's file, or a file
//! that has no other.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use super::check::Findings;
use super::placeholder::Environment;
use super::settings::capture::CaptureSettings;
use super::tree::Node;
use super::{ConfigErrors, Problem, Source, render, resolve};

/// Sections that mean something to a process of its own.
const SECTIONS: [&str; 3] = ["capture", "logger", "telemetry"];

/// A valid configuration of `perigee capture`.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// What the process works with.
    pub settings: CaptureSettings,
    /// What is odd about its own sections; the gateway speaks for the others.
    pub warnings: Vec<Problem>,
    /// Where the file was found.
    pub source: Source,
    tree: Node,
}

impl CaptureConfig {
    /// Reads the file that the gateway would read, too.
    ///
    /// # Errors
    /// Everything that is wrong with the file, or why it cannot be read.
    pub fn load(path: Option<&Path>, environment: Environment<'_>) -> Result<Self, ConfigErrors> {
        let (source, text) = super::read(path)?;
        Self::parse(&text, source, environment)
    }

    /// Makes a configuration of a text.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        text: &str,
        source: Source,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigErrors> {
        let tree = super::grow(text, &source, environment)?;
        let mut findings = Findings::of(&tree);
        let settings = resolve::resolve_capture(&tree, &mut findings);
        let is_shared = !stands_alone(&tree);
        let Findings { errors, warnings } = findings;
        let concerns_us = |problem: &Problem| !is_shared || concerns_us(problem);
        let warnings = warnings.into_iter().filter(concerns_us).collect();
        match settings {
            Some(settings) if errors.is_empty() => Ok(Self {
                settings,
                warnings,
                source,
                tree,
            }),
            _ => Err(ConfigErrors {
                source,
                errors,
                warnings,
                readable: None,
            }),
        }
    }

    /// Whether the file has nothing for a gateway. What cannot be read is not for us to judge.
    pub fn stands_alone(path: Option<&Path>, environment: Environment<'_>) -> bool {
        let tree =
            super::read(path).and_then(|(source, text)| super::grow(&text, &source, environment));
        tree.is_ok_and(|tree| stands_alone(&tree))
    }

    /// Every value under its path, with absent ones of `capture` added.
    pub fn flat(&self) -> BTreeMap<String, Json> {
        render::flatten(&self.effective())
    }

    /// The effective configuration, defaults included.
    pub fn to_yaml(&self) -> String {
        render::document(&self.source, &self.effective())
    }

    fn effective(&self) -> Node {
        let mut tree = self.tree.clone();
        render::add_absent(&mut tree, |key| key.path.starts_with("capture."));
        tree
    }
}

fn stands_alone(tree: &Node) -> bool {
    let has = |name| tree.get(name).is_some();
    has("capture") && !has("sharing") && !has("pipes")
}

fn concerns_us(problem: &Problem) -> bool {
    let section = problem.path.split(['.', '[']).next();
    section.is_some_and(|section| SECTIONS.contains(&section))
}
