//! Adds to a tree what the file leaves out: keys with their defaults, and built-in pipes.

use crate::config::keys::{self, Key};
use crate::config::settings::Pipe;
use crate::config::tree::{Node, Value};

/// Adds absent keys that are wanted and have a default.
pub(in crate::config) fn add_absent(tree: &mut Node, wanted: impl Fn(&Key) -> bool) {
    let has_default = |key: &&Key| !matches!(key.default, "" | "auto");
    for key in keys::all().filter(|key| wanted(key)).filter(has_default) {
        match key.path.split_once("[].") {
            None => add(tree, key.path, key),
            // A list within a list: its items are complete as they stand.
            Some((_, names)) if names.contains("[]") => {}
            Some((list, names)) => {
                for item in items_mut(tree, list) {
                    add(item, names, key);
                }
            }
        }
    }
}

fn add(node: &mut Node, names: &str, key: &Key) {
    if !is_meant(node, names) {
        return;
    }
    let (parents, name) = names.rsplit_once('.').unwrap_or(("", names));
    let mut node = node;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        node = node.entry(parent);
    }
    set_default(node, name, key.default);
}

/// Whether the key belongs to the plug-in that the item has.
fn is_meant(item: &Node, names: &str) -> bool {
    if let Some(name) = names.strip_prefix("gatherer.queue.") {
        return name == "plugin_name"
            || text_at(item, "gatherer.queue.plugin_name") != "none-queue";
    }
    match names.strip_prefix("sender.fallbacker.") {
        Some("max_attempts" | "exponential_backoff" | "max_backoff") => {
            text_at(item, "sender.fallbacker.plugin_name") == "timer-fallbacker"
        }
        _ => true,
    }
}

/// The text under a dotted path; empty if there is none.
pub(super) fn text_at<'a>(node: &'a Node, names: &str) -> &'a str {
    let mut node = Some(node);
    for name in names.split('.') {
        node = node.and_then(|node| node.get(name));
    }
    node.and_then(Node::scalar)
        .map_or("", |scalar| scalar.text.as_str())
}

/// Sets what is absent or null.
pub(super) fn set_default(node: &mut Node, name: &str, text: &str) {
    let absent = node.get(name).is_none_or(Node::is_null);
    if absent {
        *node.entry(name) = Node::plain(text);
    }
}

/// The items of the list under a dotted path.
pub(super) fn items_mut<'a>(tree: &'a mut Node, path: &str) -> impl Iterator<Item = &'a mut Node> {
    let mut node = Some(tree);
    for name in path.split('.') {
        node = node.and_then(|node| match &mut node.value {
            Value::Map(entries) => entries
                .iter_mut()
                .find(|(key, _)| key == name)
                .map(|(_, node)| node),
            Value::List(_) | Value::Scalar(_) => None,
        });
    }
    let items = node.and_then(|node| match &mut node.value {
        Value::List(items) => Some(items),
        Value::Map(_) | Value::Scalar(_) => None,
    });
    items.into_iter().flatten()
}

/// Adds an item to the list of that name.
pub(super) fn push_item(tree: &mut Node, name: &str, item: Node) {
    let list = tree.entry(name);
    if let Value::List(items) = &mut list.value {
        items.push(item);
    } else {
        list.value = Value::List(vec![item]);
    }
}

/// A built-in pipe as it would stand in the file.
pub(super) fn pipe_node(pipe: &Pipe) -> Node {
    let mut node = Node::map();
    let mut set = |path: &str, text: String| {
        let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
        let mut place = &mut node;
        for parent in parents.split('.') {
            place = place.entry(parent);
        }
        set_default(place, name, &text);
    };
    set("common_config.pipe_name", pipe.name.clone());
    set(
        "gatherer.receiver.plugin_name",
        pipe.protocol.receiver.to_owned(),
    );
    if let Some(queue) = pipe.queue {
        set("gatherer.queue.plugin_name", "memory-queue".to_owned());
        let size = queue.event_buffer_size.to_string();
        set("gatherer.queue.event_buffer_size", size);
        set("gatherer.queue.partition", queue.partition.to_string());
    } else {
        set("gatherer.queue.plugin_name", "none-queue".to_owned());
    }
    node
}
