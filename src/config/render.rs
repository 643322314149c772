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

use perigee_protocols::by_receiver;
use serde_json::Value as Json;

use super::keys::{self, Usage};
use super::kind::{self, Kind};
use super::settings::Pipe;
use super::tree::{Node, Raw, Scalar, Value};
use super::units;
use super::{Config, Source};

mod absent;
mod yaml;

pub(super) use absent::add_absent;
use absent::{items_mut, pipe_node, push_item, set_default, text_at};

/// Satellite's fields of a sender that are zero where the file has no such key.
const ALWAYS_THERE: [&str; 3] = ["flush_time", "max_buffer_size", "min_flush_events"];

impl Config {
    /// Every value under its path, e.g. `pipes[0].sender.flush_time`, with our own keys added.
    pub fn flat(&self) -> BTreeMap<String, Json> {
        flatten(&self.effective())
    }

    /// The effective configuration, defaults included; loading it gives the same settings.
    pub fn to_yaml(&self) -> String {
        let mut tree = self.with_limits();
        for pipe in self.built_in_pipes() {
            push_item(&mut tree, "pipes", pipe_node(pipe));
        }
        for node in items_mut(&mut tree, "pipes") {
            let receiver = text_at(node, "gatherer.receiver.plugin_name");
            let name = by_receiver(receiver).map_or("", |protocol| protocol.pipe);
            set_default(node.entry("common_config"), "pipe_name", name);
        }
        add_absent(&mut tree, |key| key.usage != Usage::Ignored);
        document(&self.source, &tree)
    }

    /// The file's tree with what Satellite adds to it, and our own keys.
    fn effective(&self) -> Node {
        let mut tree = self.with_limits();
        for pipe in items_mut(&mut tree, "pipes") {
            let sender = pipe.entry("sender");
            for name in ALWAYS_THERE {
                set_default(sender, name, "0");
            }
        }
        add_absent(&mut tree, |key| key.usage == Usage::Ours);
        tree
    }

    /// The file's tree with the limits that follow from the machine.
    fn with_limits(&self) -> Node {
        let mut tree = self.tree.clone();
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

/// A tree as a file.
pub(super) fn document(source: &Source, tree: &Node) -> String {
    let mut text = format!("# effective configuration, from {source}\n");
    yaml::write_node(&mut text, "", tree, 0);
    text
}

/// Every value of a tree under its path; nulls are left out.
pub(super) fn flatten(tree: &Node) -> BTreeMap<String, Json> {
    let mut flat = BTreeMap::new();
    tree.each_scalar("", &mut |path, scalar| match json(path, scalar) {
        Json::Null => {}
        value => {
            flat.insert(path.to_owned(), value);
        }
    });
    flat
}

/// A tree of checked values as one value, for those who read it themselves; `path` is where it stands.
/// Unknown keys, which have been warned of, are left out.
pub(super) fn json_of(path: &str, node: &Node) -> Json {
    match &node.value {
        Value::Scalar(scalar) => match keys::find(path).map(|key| key.kind) {
            Some(Kind::Flag) => kind::flag(scalar).map_or(Json::Null, Json::from),
            _ => json(path, scalar),
        },
        Value::List(items) => {
            let items = items.iter().enumerate();
            let json = |(index, node)| json_of(&format!("{path}[{index}]"), node);
            Json::Array(items.map(json).collect())
        }
        Value::Map(entries) => {
            let entries = entries.iter().filter(|(_, node)| !node.is_null());
            let json = |(name, node): &(String, Node)| {
                let path = format!("{path}.{name}");
                let known =
                    keys::find(&path).is_some() || keys::branch(&keys::general(&path)).is_some();
                known.then(|| (name.clone(), json_of(&path, node)))
            };
            Json::Object(entries.filter_map(json).collect())
        }
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
