//! `${NAME:default}`: values from the environment.
//!
//! # Decisions
//!
//! Satellite's effective rule is the unanchored pattern `[A-Z]+:.*}`. Where it gives something
//! sensible we give the same; where it gives nothing (`${FOO_2:1}`, `${foo:1}`), garbage
//! (`${FOO:1}-post`) or a panic (`${FOO:"}`) we follow what its documents promise: a placeholder is
//! the whole value, with any name of letters, digits, `_`, `.` and `-`. Everything else is text.

use super::tree::{Node, Scalar, Style, Value, Variable};

/// A placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placeholder<'a> {
    /// Name in the environment.
    pub(super) name: &'a str,
    /// What stands for a variable that is unset or empty.
    pub(super) default: &'a str,
}

/// Looks up a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl<'a> Placeholder<'a> {
    /// The placeholder that the text is, if the whole of it is one.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix("${")?.strip_suffix('}')?;
        let (name, default) = inner.split_once(':')?;
        is_name(name).then_some(Self { name, default })
    }
}

/// The name in `${NAME}`, which is a placeholder elsewhere and none here.
pub(super) fn without_default(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    Some(name).filter(|name| is_name(name))
}

fn is_name(text: &str) -> bool {
    let valid = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    !text.is_empty() && text.chars().all(valid)
}

/// Expands every scalar of a tree; keys stay as they are.
pub(super) fn expand(node: &mut Node, environment: Environment<'_>) {
    match &mut node.value {
        Value::Map(entries) => {
            for (_, node) in entries {
                expand(node, environment);
            }
        }
        Value::List(items) => {
            for node in items {
                expand(node, environment);
            }
        }
        Value::Scalar(scalar) => {
            if let Some(expanded) = expand_scalar(&scalar.text, environment) {
                *scalar = expanded;
            }
        }
    }
}

/// What a text becomes, if it is a placeholder. An expanded text is not looked at again.
pub(super) fn expand_scalar(text: &str, environment: Environment<'_>) -> Option<Scalar> {
    let Placeholder { name, default } = Placeholder::parse(text)?;
    let value = environment(name).filter(|value| !value.is_empty());
    let set = value.is_some();
    let text = value.unwrap_or_else(|| default.to_owned());
    let unquoted = text
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let (text, style) = match unquoted {
        Some(inner) => (inner.to_owned(), Style::Quoted),
        None => (text, Style::Expanded),
    };
    let variable = Some(Variable {
        name: name.to_owned(),
        set,
    });
    Some(Scalar {
        text,
        style,
        variable,
    })
}
