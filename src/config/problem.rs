//! What is wrong with a configuration, and what is merely odd.

use std::fmt;

use super::tree::Node;

/// One error or warning, tied to a place in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Path of the key, e.g. `pipes[3].sender.flush_time`; empty for the file as a whole.
    pub path: String,
    /// Line in the file, from 1; 0 where there is none.
    pub line: usize,
    /// Variable of the environment that the value came from.
    pub variable: Option<String>,
    /// Value and what is allowed.
    pub what: String,
}

impl Problem {
    /// A problem with what stands at the path.
    pub fn new(path: impl Into<String>, node: Option<&Node>, what: impl Into<String>) -> Self {
        let variable = node
            .and_then(Node::scalar)
            .and_then(|scalar| scalar.variable.as_ref())
            .filter(|variable| variable.set);
        Self {
            path: path.into(),
            line: node.map_or(0, |node| node.line),
            variable: variable.map(|variable| variable.name.clone()),
            what: what.into(),
        }
    }

    /// The value and what is allowed instead.
    pub fn not_allowed(path: impl Into<String>, node: &Node, allowed: &str) -> Self {
        let what = match node.scalar() {
            Some(scalar) => format!("{:?} is not {allowed}", scalar.text),
            None => format!("{} is not {allowed}", node.shape()),
        };
        Self::new(path, Some(node), what)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(out, "{}: ", self.path)?;
        }
        out.write_str(&self.what)?;
        match (&self.variable, self.line) {
            (Some(name), _) => write!(out, " (from {name})"),
            (None, 0) => Ok(()),
            (None, line) => write!(out, " (line {line})"),
        }
    }
}
