//! Writes a tree as YAML that reads back as the same tree.

use std::fmt::Write;

use serde_json::Value as Json;

use super::json;
use crate::config::keys;
use crate::config::kind::Kind;
use crate::config::tree::{Node, Raw, Scalar, Style, Value};

/// Writes a map or a list; `path` is where it stands.
pub(super) fn write_node(yaml: &mut String, path: &str, node: &Node, indent: usize) {
    match &node.value {
        Value::Map(entries) => {
            for (name, node) in entries.iter().filter(|(_, node)| !node.is_null()) {
                let path = match path {
                    "" => name.clone(),
                    _ => format!("{path}.{name}"),
                };
                pad(yaml, indent);
                write_text(yaml, name);
                yaml.push(':');
                write_value(yaml, &path, node, indent);
            }
        }
        Value::List(items) => {
            for (index, node) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                let start = yaml.len() + indent;
                if matches!(node.value, Value::Map(_)) && !is_empty(node) {
                    write_node(yaml, &path, node, indent + 2);
                    yaml.replace_range(start..=start, "-");
                } else {
                    pad(yaml, indent);
                    yaml.push('-');
                    write_value(yaml, &path, node, indent);
                }
            }
        }
        Value::Scalar(_) => {}
    }
}

fn write_value(yaml: &mut String, path: &str, node: &Node, indent: usize) {
    match &node.value {
        Value::Scalar(scalar) => {
            yaml.push(' ');
            write_scalar(yaml, path, scalar);
            yaml.push('\n');
        }
        Value::Map(_) if is_empty(node) => yaml.push_str(" {}\n"),
        Value::List(items) if items.is_empty() => yaml.push_str(" []\n"),
        Value::Map(_) | Value::List(_) => {
            yaml.push('\n');
            write_node(yaml, path, node, indent + 2);
        }
    }
}

/// Whether a map has nothing to write.
fn is_empty(node: &Node) -> bool {
    match &node.value {
        Value::Map(entries) => entries.iter().all(|(_, node)| node.is_null()),
        Value::List(_) | Value::Scalar(_) => false,
    }
}

fn write_scalar(yaml: &mut String, path: &str, scalar: &Scalar) {
    let secret = keys::find(path).is_some_and(|key| key.kind == Kind::Secret);
    match json(path, scalar) {
        Json::String(text) if secret && !text.is_empty() => yaml.push_str("\"(hidden)\""),
        Json::String(text) => write_text(yaml, &text),
        value => {
            // A String takes everything.
            let _ = write!(yaml, "{value}");
        }
    }
}

/// Plain where nobody could read it otherwise, else quoted as JSON, which is YAML too.
fn write_text(yaml: &mut String, text: &str) {
    let simple = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
    let plain = text.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '/')
        && text.chars().all(simple)
        && Scalar::new(text, Style::Plain).raw() == Raw::Text;
    if plain {
        yaml.push_str(text);
    } else {
        let _ = write!(yaml, "{}", Json::from(text));
    }
}

fn pad(yaml: &mut String, indent: usize) {
    yaml.extend(std::iter::repeat_n(' ', indent));
}
