//! Walks the tree against the table of keys: shapes, values, unknown and unused keys.
//!
//! Every value that stands under a known key is checked here, so that reading it later cannot fail.

use std::cmp::Ordering;

use super::keys::{self, Branch, Key, Usage};
use super::kind::{self, Kind};
use super::placeholder;
use super::problem::Problem;
use super::tree::{Node, Raw, Scalar, Style, Value};

mod guards;

/// Least likeness of a misspelt name.
const SIMILAR: f64 = 0.6;

/// A map on the walk.
struct Map<'a> {
    path: &'a str,
    /// The path with `[]` for every index.
    general: &'a str,
    entries: &'a [(String, Node)],
}

impl Map<'_> {
    /// Names that may stand in it and do not.
    fn absent_keys(&self) -> impl Iterator<Item = &'static str> {
        keys::all()
            .filter_map(|key| self.rest(key.path)?.split(['.', '[']).next())
            .filter(|name| !self.is_set(name))
    }

    /// Whether the key stands in it.
    fn has(&self, path: &str) -> bool {
        self.rest(path).is_some_and(|name| self.is_set(name))
    }

    fn is_set(&self, name: &str) -> bool {
        self.entries.iter().any(|(entry, _)| entry == name)
    }

    fn rest<'k>(&self, path: &'k str) -> Option<&'k str> {
        match self.general {
            "" => Some(path),
            parent => path.strip_prefix(parent)?.strip_prefix('.'),
        }
    }
}

/// What the walk found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What keeps the file from being used.
    pub(super) errors: Vec<Problem>,
    /// What is odd.
    pub(super) warnings: Vec<Problem>,
}

impl Findings {
    /// Walks the tree.
    pub(super) fn of(tree: &Node) -> Self {
        let mut findings = Self::default();
        findings.node("", tree);
        findings
    }

    fn node(&mut self, path: &str, node: &Node) {
        if node.is_null() {
            return;
        }
        let general = keys::general(path);
        let key = keys::find(path);
        match (&node.value, keys::branch(&general)) {
            (Value::Map(entries), branch) if path.is_empty() || branch == Some(Branch::Map) => {
                let map = Map {
                    path,
                    general: &general,
                    entries,
                };
                for (name, node) in entries {
                    self.entry(&map, name, node);
                }
            }
            (Value::List(items), Some(Branch::List)) => {
                for (index, node) in items.iter().enumerate() {
                    self.node(&format!("{path}[{index}]"), node);
                }
            }
            (Value::Scalar(scalar), _) if key.is_some() => {
                if let Some(key) = key {
                    self.leaf(path, key, node, scalar);
                }
            }
            (Value::Scalar(scalar), Some(Branch::Map)) if general.ends_with("server_addr[]") => {
                if !Kind::Server.accepts(scalar) {
                    self.errors
                        .push(Problem::not_allowed(path, node, &Kind::Server.allowed()));
                }
            }
            (_, branch) => self.misshapen(path, key, branch, node),
        }
    }

    fn entry(&mut self, map: &Map<'_>, name: &str, node: &Node) {
        let join = |parent: &str| match parent {
            "" => name.to_owned(),
            _ => format!("{parent}.{name}"),
        };
        let below = join(map.general);
        let path = join(map.path);
        if keys::find(&below).is_some() || keys::branch(&below).is_some() {
            self.node(&path, node);
        } else if let Some(what) = guards::mistaken(map, name) {
            self.errors.push(Problem::new(path, Some(node), what));
        } else {
            let hint = nearest_key(map, name)
                .map_or_else(String::new, |known| format!("; did you mean {known}?"));
            let what = format!("unknown key, ignored{hint}");
            self.warnings.push(Problem::new(path, Some(node), what));
        }
    }

    fn leaf(&mut self, path: &str, key: &Key, node: &Node, scalar: &Scalar) {
        if !key.kind.accepts(scalar) {
            self.errors
                .push(Problem::not_allowed(path, node, &key.kind.allowed()));
        } else if key.usage == Usage::Ignored && is_unusual(key, scalar) {
            let what = format!("has no effect: {}", key.doc);
            self.warnings.push(Problem::new(path, Some(node), what));
        }
        self.half_placeholder(path, key, node, scalar);
    }

    /// What was meant as a placeholder and is none.
    fn half_placeholder(&mut self, path: &str, key: &Key, node: &Node, scalar: &Scalar) {
        let from_environment = scalar.variable.as_ref().is_some_and(|name| name.set);
        let Some(at) = scalar.text.find("${").filter(|_| !from_environment) else {
            return;
        };
        let what = match placeholder::without_default(&scalar.text) {
            Some(name) => {
                format!(
                    "taken as it stands, not from {name}: write ${{{name}:}} or ${{{name}:default}}"
                )
            }
            None => "taken as it stands: a placeholder must be the whole value, ${NAME:default}"
                .to_owned(),
        };
        let problem = Problem::new(path, Some(node), what);
        let is_token = key.kind == Kind::Secret && key.usage != Usage::Ignored;
        // A token may have the one or the other sign, hardly both in this order.
        if is_token && scalar.text[at..].contains('}') {
            self.errors.push(problem);
        } else {
            self.warnings.push(problem);
        }
    }

    fn misshapen(&mut self, path: &str, key: Option<&Key>, branch: Option<Branch>, node: &Node) {
        if let Some(key) = key.filter(|key| key.kind == Kind::Anything) {
            let empty = node.items().is_empty() && matches!(node.value, Value::List(_));
            if !empty {
                let what = format!("has no effect: {}", key.doc);
                self.warnings.push(Problem::new(path, Some(node), what));
            }
            return;
        }
        let allowed = match (key, branch) {
            (Some(key), _) => key.kind.allowed(),
            (None, Some(Branch::List)) => "a list".to_owned(),
            (None, _) => "a map".to_owned(),
        };
        self.errors.push(Problem::not_allowed(path, node, &allowed));
    }
}

/// Whether the value of an unused key asks for something that will not happen.
fn is_unusual(key: &Key, scalar: &Scalar) -> bool {
    let default = Scalar::new(key.default, Style::Plain);
    match key.kind {
        Kind::Whole { .. } => {
            let number = kind::whole(scalar);
            number != Some(0) && number != kind::whole(&default)
        }
        Kind::Flag => kind::flag(scalar) == Some(true),
        _ => scalar.raw() != Raw::Null && scalar.text != key.default,
    }
}

/// The key that was probably meant: a similar sibling, the same name elsewhere, or anything alike.
/// None that stands there already.
fn nearest_key(map: &Map<'_>, name: &str) -> Option<String> {
    if let Some(sibling) = nearest(name, map.absent_keys()) {
        return Some(sibling.to_owned());
    }
    let elsewhere = || keys::all().filter(|key| !map.has(key.path));
    let same_name = elsewhere().find(|key| key.name() == name);
    same_name
        .or_else(|| elsewhere().max_by(|a, b| by_likeness(name, a.name(), b.name())))
        .map(|key| key.path.to_owned())
}

/// The most similar of the names, if one is similar at all.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (likeness(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn by_likeness(name: &str, left: &str, right: &str) -> Ordering {
    likeness(name, left).total_cmp(&likeness(name, right))
}

/// From 0 to 1.
fn likeness(left: &str, right: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(left, right)
}
