//! Reading values of a checked tree.
//!
//! An absent value is the default of the table; so is one that the check has refused, since the
//! errors of the check keep what is read from being used.

use std::time::Duration;

use super::keys::{self, Key};
use super::kind;
use super::problem::Problem;
use super::tree::{Node, Scalar, Style};
use super::units;

/// A place in the tree, which need not exist.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    node: Option<&'a Node>,
    path: String,
}

impl<'a> At<'a> {
    /// The root.
    pub(super) fn root(tree: &'a Node) -> Self {
        Self {
            node: Some(tree),
            path: String::new(),
        }
    }

    /// A place where nothing stands: every value there is the default.
    pub(super) fn nowhere(path: impl Into<String>) -> Self {
        Self {
            node: None,
            path: path.into(),
        }
    }

    /// The place under a dotted path from here.
    pub(super) fn child(&self, names: &str) -> Self {
        let mut at = self.clone();
        for name in names.split('.') {
            at.node = at.node.and_then(|node| node.get(name));
            if !at.path.is_empty() {
                at.path.push('.');
            }
            at.path.push_str(name);
        }
        at
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Vec<Self> {
        let items = self.node.map_or(&[][..], Node::items);
        let place = |(index, node)| Self {
            node: Some(node),
            path: format!("{}[{index}]", self.path),
        };
        items.iter().enumerate().map(place).collect()
    }

    /// Whether something stands here.
    pub(super) fn is_present(&self) -> bool {
        self.node.is_some_and(|node| !node.is_null())
    }

    /// What stands here.
    pub(super) fn node(&self) -> Option<&'a Node> {
        self.node
    }

    /// Where this is.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// A problem with what stands here.
    pub(super) fn problem(&self, what: impl Into<String>) -> Problem {
        Problem::new(self.path.clone(), self.node, what)
    }

    /// The text; `None` where the default is not a text.
    pub(super) fn optional_text(&self) -> Option<String> {
        self.read(|scalar| Some(scalar.text.clone()))
            .filter(|text| text != "auto")
    }

    /// The text.
    pub(super) fn text(&self) -> String {
        self.read(|scalar| Some(scalar.text.clone()))
            .unwrap_or_default()
    }

    /// The chosen word, in lower case.
    pub(super) fn choice(&self) -> String {
        self.text().to_ascii_lowercase()
    }

    /// The text, `None` when it is empty.
    pub(super) fn filled_text(&self) -> Option<String> {
        Some(self.text()).filter(|text| !text.is_empty())
    }

    /// The number; `None` where the default is not a number.
    pub(super) fn whole<T: TryFrom<u64>>(&self) -> Option<T> {
        self.read(|scalar| T::try_from(kind::whole(scalar)?).ok())
    }

    /// The bytes; `None` where the default is not a number.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.read(|scalar| units::bytes(&scalar.text))
    }

    /// The truth value.
    pub(super) fn flag(&self) -> bool {
        self.read(kind::flag).unwrap_or_default()
    }

    /// The duration.
    pub(super) fn duration(&self) -> Duration {
        self.read(|scalar| units::duration(&scalar.text))
            .unwrap_or_default()
    }

    /// The number of milliseconds.
    pub(super) fn milliseconds(&self) -> Duration {
        Duration::from_millis(self.whole().unwrap_or_default())
    }

    /// The number of seconds.
    pub(super) fn seconds(&self) -> Duration {
        Duration::from_secs(self.whole().unwrap_or_default())
    }

    /// The value of the file if it is allowed, else the default.
    pub(super) fn read<T>(&self, parse: impl Fn(&Scalar) -> Option<T>) -> Option<T> {
        let key = keys::find(&self.path);
        self.node
            .filter(|node| !node.is_null())
            .and_then(Node::scalar)
            .filter(|scalar| key.is_none_or(|key| key.kind.accepts(scalar)))
            .and_then(&parse)
            .or_else(|| parse(&default_of(key)))
    }
}

fn default_of(key: Option<&Key>) -> Scalar {
    Scalar::new(key.map_or("", |key| key.default), Style::Plain)
}
