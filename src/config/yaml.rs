//! YAML text to a [`Node`] tree.
//!
//! Only the first document counts and a second one is refused. Anchors, aliases and merge keys work
//! as in Satellite; nesting and the number of nodes are bounded, so that no file can exhaust the
//! stack or the memory.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::tree::{Node, Scalar, Style, Value};

const MOST_LEVELS: usize = 64;
const MOST_NODES: usize = 100_000;

/// Why a text is not a configuration tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(super) struct SyntaxError {
    /// Line, from 1.
    pub(super) line: usize,
    /// What is wrong.
    pub(super) what: String,
}

impl From<ScanError> for SyntaxError {
    fn from(error: ScanError) -> Self {
        Self {
            line: error.marker().line(),
            what: format!("not YAML: {}", error.info()),
        }
    }
}

/// Parses a file. An empty one is a null.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event?;
        builder.take(event, span)?;
    }
    Ok(builder.root.unwrap_or_else(|| Node::plain("")))
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

/// A collection that has not ended yet.
struct Open {
    node: Node,
    anchor: usize,
    key: Option<String>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), SyntaxError> {
        let line = span.start.line();
        match event {
            Event::MappingStart(anchor, _) => self.open(Value::Map(Vec::new()), anchor, line),
            Event::SequenceStart(anchor, _) => self.open(Value::List(Vec::new()), anchor, line),
            Event::MappingEnd | Event::SequenceEnd => self.close(),
            Event::Scalar(text, style, anchor, tag) => {
                let style = scalar_style(style, tag.as_deref());
                let value = Value::Scalar(Scalar::new(text.into_owned(), style));
                self.place(Node { line, value }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(error(line, "an alias inside its own anchor"));
                };
                self.nodes += size(&node);
                self.place(node, 0)
            }
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(error(line, "a second document; one is allowed"))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, value: Value, anchor: usize, line: usize) -> Result<(), SyntaxError> {
        if self.open.len() == MOST_LEVELS {
            return Err(error(
                line,
                format!("more than {MOST_LEVELS} levels of nesting"),
            ));
        }
        let node = Node { line, value };
        let key = None;
        self.open.push(Open { node, anchor, key });
        Ok(())
    }

    fn close(&mut self) -> Result<(), SyntaxError> {
        match self.open.pop() {
            Some(Open {
                mut node, anchor, ..
            }) => {
                merge(&mut node)?;
                self.place(node, anchor)
            }
            None => Ok(()),
        }
    }

    fn place(&mut self, node: Node, anchor: usize) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > MOST_NODES {
            return Err(error(node.line, format!("more than {MOST_NODES} nodes")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut parent.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match parent.key.take() {
                Some(key) => entries.push((key, node)),
                None => parent.key = Some(key_of(&node, entries)?),
            },
            Value::Scalar(_) => {}
        }
        Ok(())
    }
}

fn scalar_style(style: ScalarStyle, tag: Option<&Tag>) -> Style {
    let text = tag.is_some_and(|tag| tag.is_yaml_core_schema() && tag.suffix == "str");
    match style {
        ScalarStyle::Plain if !text => Style::Plain,
        _ => Style::Quoted,
    }
}

fn key_of(node: &Node, entries: &[(String, Node)]) -> Result<String, SyntaxError> {
    let Some(scalar) = node.scalar() else {
        return Err(error(node.line, format!("a key is {}", node.shape())));
    };
    let key = scalar.text.to_ascii_lowercase();
    match entries.iter().find(|(other, _)| *other == key) {
        Some((_, other)) if key != "<<" => Err(error(
            node.line,
            format!("key {key:?} stands twice, first on line {}", other.line),
        )),
        _ => Ok(key),
    }
}

/// Replaces `<<` entries by those entries of their maps that the map itself does not have.
fn merge(node: &mut Node) -> Result<(), SyntaxError> {
    let Value::Map(entries) = &mut node.value else {
        return Ok(());
    };
    while let Some(position) = entries.iter().position(|(key, _)| key == "<<") {
        let (_, source) = entries.remove(position);
        let line = source.line;
        let sources = match source.value {
            Value::List(items) => items,
            value => vec![Node { line, value }],
        };
        for source in sources {
            let Value::Map(more) = source.value else {
                return Err(error(line, "a merge key << needs a map"));
            };
            for (key, value) in more {
                if !entries.iter().any(|(known, _)| *known == key) {
                    entries.push((key, value));
                }
            }
        }
    }
    Ok(())
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Map(entries) => entries.iter().map(|(_, node)| size(node)).sum(),
        Value::List(items) => items.iter().map(size).sum(),
        Value::Scalar(_) => 0,
    }
}

fn error(line: usize, what: impl Into<String>) -> SyntaxError {
    SyntaxError {
        line,
        what: what.into(),
    }
}
