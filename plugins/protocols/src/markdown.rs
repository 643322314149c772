//! The table as the README shows it.

use std::fmt::Write;

use perigee_plugin_api::protocol::{Adapter, Forward, Method, Mode, Queued, Shape};

use crate::rows;

const HEAD: &str = "\
| pipe | method | policy | route | leaves as |
| --- | --- | --- | --- | --- |
";

/// The table in Markdown, one line a method, ending in a newline.
pub fn markdown_table() -> String {
    let mut table = HEAD.to_owned();
    for row in rows() {
        let (pipe, method) = (row.protocol.pipe, row.method);
        let (policy, route, leaves) = match method.mode {
            Mode::Passthrough => (
                "passthrough".to_owned(),
                "any node".to_owned(),
                live(method),
            ),
            Mode::Queued(queued) => (
                policy(&queued),
                route(queued.adapter),
                leaves(method, &queued),
            ),
        };
        let path = method.path;
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| `{pipe}` | `{path}` | {policy} | {route} | {leaves} |"
        );
    }
    table
}

fn policy(queued: &Queued) -> String {
    match queued.ttl {
        Some(ttl) => format!("queued, at most {} s", ttl.as_secs()),
        None => "queued".to_owned(),
    }
}

fn route(adapter: Adapter) -> String {
    let text = match adapter {
        Adapter::Plain => "any node",
        Adapter::Keyed(fields) => return format!("one node for fields {}", dotted_all(fields)),
        Adapter::Latest(fields) => {
            return format!("any node; once a batch for fields {}", dotted_all(fields));
        }
        Adapter::Logs => "any node; a service has its own stream",
        Adapter::Meters => "one node for service and instance; a set is one message",
        Adapter::EnvoyAccessLogs => "any node; identifier repeated where it changes",
        Adapter::EnvoyMetrics => "one node for the Envoy's id; an Envoy has its own stream",
        Adapter::EbpfAccessLogs => "any node; a host has its own stream",
        Adapter::EbpfProfiling => "any node; task repeated where it changes",
        Adapter::GoProfiles => "any node; a task's chunks stay together",
        Adapter::OtlpMetrics => "one node for the resource's `routing_label_keys`, else any",
        Adapter::Events => "any node; layerless ones are refused",
    };
    text.to_owned()
}

fn dotted_all(fields: &[&[u32]]) -> String {
    let paths: Vec<String> = fields.iter().map(|field| dotted(field)).collect();
    paths.join(", ")
}

fn dotted(field: &[u32]) -> String {
    let numbers: Vec<String> = field.iter().map(ToString::to_string).collect();
    numbers.join(".")
}

fn leaves(method: &Method, queued: &Queued) -> String {
    let kind = match queued.forward {
        Forward::Stream(_) => "streams",
        Forward::Unary(_) => "unary calls",
    };
    match queued.forward.path() {
        path if path == method.path => kind.to_owned(),
        path => format!("{kind} on `{path}`"),
    }
}

fn live(method: &Method) -> String {
    match method.shape {
        Shape::Unary => "the call itself",
        Shape::ClientStream | Shape::Bidi => "the stream itself",
    }
    .to_owned()
}
