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

use super::Config;
use super::keys::{self, Usage};
use super::settings::Pipe;
use super::tree::{Node, Raw, Scalar};
use super::units;

mod absent;
mod yaml;

use absent::{add_absent, items_mut, pipe_node, push_item, set_default, text_at};

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
        let mut text = format!("# effective configuration, from {}\n", self.source);
        yaml::write_node(&mut text, "", &tree, 0);
        text
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
