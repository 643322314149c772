//! Adds to a tree what the file leaves out: our own keys, and built-in pipes.

use crate::config::keys::{self, Key, Usage};
use crate::config::settings::Pipe;
use crate::config::tree::{Node, Value};

/// Adds our own keys with their defaults, in the pipes from this one on.
pub(super) fn add_ours(tree: &mut Node, first_pipe: usize) {
    for key in keys::all().filter(|key| key.usage == Usage::Ours && key.default != "auto") {
        let Some((list, names)) = key.path.split_once("[].") else {
            add(tree, key.path, key);
            continue;
        };
        // The items of server_addr are complete as they stand.
        if names.contains("[]") {
            continue;
        }
        let skipped = if list == "pipes" { first_pipe } else { 0 };
        for item in items_mut(tree, list).skip(skipped) {
            add(item, names, key);
        }
    }
}

fn add(node: &mut Node, names: &str, key: &Key) {
    if key.name() == "when_full" && text_at(node, "gatherer.queue.plugin_name") == "none-queue" {
        return;
    }
    let (parents, name) = names.rsplit_once('.').unwrap_or(("", names));
    let mut node = node;
    for parent in parents.split('.').filter(|parent| !parent.is_empty()) {
        node = node.entry(parent);
    }
    let absent = node.get(name).is_none_or(Node::is_null);
    if absent {
        set_default(node, name, key.default);
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
    let flush_time = pipe.sender.flush_time.as_millis().to_string();
    set("sender.flush_time", flush_time);
    let max_buffer_size = pipe.sender.max_buffer_size.to_string();
    set("sender.max_buffer_size", max_buffer_size);
    node
}
