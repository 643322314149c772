//! Walks the tree against the table of keys: shapes, values, unknown and unused keys.
//!
//! Every value that stands under a known key is checked here, so that reading it later cannot fail.

use super::keys::{self, Branch, Key, Usage};
use super::kind::{self, Kind};
use super::problem::Problem;
use super::tree::{Node, Raw, Scalar, Style, Value};

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
                for (name, node) in entries {
                    self.entry(path, &general, name, node);
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

    fn entry(&mut self, parent: &str, general: &str, name: &str, node: &Node) {
        let join = |parent: &str| match parent {
            "" => name.to_owned(),
            _ => format!("{parent}.{name}"),
        };
        let below = join(general);
        if keys::find(&below).is_some() || keys::branch(&below).is_some() {
            self.node(&join(parent), node);
        } else {
            let hint = nearest_key(general, name)
                .map_or_else(String::new, |known| format!("; did you mean {known}?"));
            let what = format!("unknown key, ignored{hint}");
            self.warnings
                .push(Problem::new(join(parent), Some(node), what));
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
        let from_environment = scalar.variable.as_ref().is_some_and(|name| name.set);
        if scalar.text.contains("${") && !from_environment {
            let what = "taken as it stands: a placeholder must be the whole value, ${NAME:default}";
            self.warnings.push(Problem::new(path, Some(node), what));
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
pub(super) fn nearest_key(parent: &str, name: &str) -> Option<String> {
    let siblings = keys::all().filter_map(|key| {
        let rest = match parent {
            "" => key.path,
            _ => key.path.strip_prefix(parent)?.strip_prefix('.')?,
        };
        rest.split(['.', '[']).next()
    });
    if let Some(sibling) = nearest(name, siblings) {
        return Some(sibling.to_owned());
    }
    let same_name = keys::all()
        .find(|key| key.name() == name)
        .map(|key| key.path);
    let any =
        || keys::all().max_by(|a, b| likeness(name, a.name()).total_cmp(&likeness(name, b.name())));
    same_name
        .or_else(|| any().map(|key| key.path))
        .map(str::to_owned)
}

/// The most similar of the names, if one is similar at all.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (likeness(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

fn likeness(left: &str, right: &str) -> f64 {
    strsim::normalized_damerau_levenshtein(left, right)
}
