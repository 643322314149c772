//! What `check` shows: the effective configuration as YAML, and its values as one flat JSON object.
//!
//! # Decisions
//!
//! The JSON form holds what Satellite would have resolved, under the file's keys: a key that is
//! absent stays absent, but for three keys of `sender` that Satellite always has and that are then
//! zero. Our own keys are added with their values. Built-in pipes are no part of the file, so they
//! are shown in the YAML form only. The JSON form shows secrets, as the file does; the YAML form,
//! which people paste, does not.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::Config;
use super::keys;
use super::settings::Pipe;
use super::tree::{Node, Raw, Scalar, Value};
use super::units;

mod ours;
mod yaml;

use ours::{add_ours, items_mut, pipe_node, push_item, set_default, text_at};

/// Satellite's fields of a sender that are zero where the file has no such key.
const ALWAYS_THERE: [&str; 3] = ["flush_time", "max_buffer_size", "min_flush_events"];

impl Config {
    /// Every value under its path, e.g. `pipes[0].sender.flush_time`, with our own keys added.
    pub fn flat(&self) -> BTreeMap<String, Json> {
        flatten(&self.effective())
    }

    /// The effective configuration; loading it again gives the same settings.
    pub fn to_yaml(&self) -> String {
        let mut tree = self.effective();
        let written = tree.get("pipes").map_or(0, |pipes| pipes.items().len());
        for pipe in self.built_in_pipes() {
            push_item(&mut tree, "pipes", pipe_node(pipe));
        }
        add_ours(&mut tree, written);
        let mut text = format!("# effective configuration, from {}\n", self.source);
        yaml::write_node(&mut text, "", &tree, 0);
        text
    }

    /// The file's tree with our own keys added.
    fn effective(&self) -> Node {
        let mut tree = self.tree.clone();
        if tree.is_null() {
            tree = Node::map();
        }
        for pipe in items_mut(&mut tree, "pipes") {
            let sender = pipe.entry("sender");
            for name in ALWAYS_THERE {
                set_default(sender, name, "0");
            }
        }
        add_ours(&mut tree, 0);
        let limits = tree.entry("limits");
        let memory = units::show_bytes(self.settings.limits.memory_bytes);
        set_default(limits, "memory_bytes", &memory);
        set_default(limits, "workers", &self.settings.limits.workers.to_string());
        tree
    }

    fn built_in_pipes(&self) -> impl Iterator<Item = &Pipe> {
        let written = |pipe: &Pipe| {
            let pipes = self.tree.get("pipes").map_or(&[][..], Node::items);
            pipes.iter().any(|node| {
                text_at(node, "gatherer.receiver.plugin_name") == pipe.protocol.receiver
            })
        };
        self.settings
            .pipes
            .iter()
            .filter(move |pipe| !written(pipe))
    }
}

/// Every value of a tree under its path; nulls are left out.
pub(super) fn flatten(tree: &Node) -> BTreeMap<String, Json> {
    let mut flat = BTreeMap::new();
    collect(&mut flat, "", tree);
    flat
}

fn collect(flat: &mut BTreeMap<String, Json>, path: &str, node: &Node) {
    match &node.value {
        Value::Map(entries) => {
            for (name, node) in entries {
                let path = match path {
                    "" => name.clone(),
                    _ => format!("{path}.{name}"),
                };
                collect(flat, &path, node);
            }
        }
        Value::List(items) => {
            for (index, node) in items.iter().enumerate() {
                collect(flat, &format!("{path}[{index}]"), node);
            }
        }
        Value::Scalar(scalar) => match json(path, scalar) {
            Json::Null => {}
            value => {
                flat.insert(path.to_owned(), value);
            }
        },
    }
}

fn json(path: &str, scalar: &Scalar) -> Json {
    let is_text = keys::find(path).is_some_and(|key| key.kind.is_text());
    match scalar.raw() {
        Raw::Null => Json::Null,
        _ if is_text => Json::from(scalar.text.as_str()),
        Raw::Bool(value) => Json::from(value),
        Raw::Whole(number) => Json::from(number),
        // An infinity is no JSON number.
        Raw::Real(number) if number.is_finite() => Json::from(number),
        Raw::Real(_) | Raw::Text => Json::from(scalar.text.as_str()),
    }
}
