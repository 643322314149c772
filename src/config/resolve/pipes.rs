//! Pipes: those of the file, and the built-in ones that it does not name.

use std::time::Duration;

use perigee_plugin_api::protocol::{Mode, Origin, Protocol};
use perigee_plugin_api::queue::WhenFull;
use perigee_protocols::{PROTOCOLS, by_receiver};

use super::sharing;
use crate::config::at::At;
use crate::config::check::{Findings, nearest};
use crate::config::kind::split;
use crate::config::settings::{Pipe, Queue, Retry, Routing, Sender};

const BUILT_IN_PARTITIONS: usize = 4;
const DEFAULT_FLUSH_TIME: Duration = Duration::from_secs(1);
const DEFAULT_BATCH: u32 = 200;

/// Every protocol.
fn protocols() -> impl Iterator<Item = &'static Protocol> + Clone {
    PROTOCOLS.iter().copied()
}

/// The pipes of the file in its order, then the built-in ones.
pub(super) fn pipes(root: &At<'_>, findings: &mut Findings) -> Vec<Pipe> {
    let mut file = File {
        servers: sharing::names(&root.child("sharing.servers")),
        clients: sharing::names(&root.child("sharing.clients")),
        findings,
        named: Vec::new(),
        pipes: Vec::new(),
    };
    for entry in root.child("pipes").items() {
        file.take(&entry);
    }
    let File {
        named, mut pipes, ..
    } = file;
    let is_named = |protocol: &Protocol| named.contains(&protocol.receiver);
    for protocol in protocols().filter(|row| row.origin == Origin::BuiltIn && !is_named(row)) {
        pipes.extend(built_in(protocol));
    }
    pipes
}

struct File<'f> {
    servers: Vec<String>,
    clients: Vec<String>,
    findings: &'f mut Findings,
    /// Receivers that the file has, switched off or not.
    named: Vec<&'static str>,
    pipes: Vec<Pipe>,
}

impl File<'_> {
    fn take(&mut self, at: &At<'_>) {
        let server = at.child("gatherer.server_name");
        sharing::check_reference(&server, &self.servers, self.findings);
        let client = at.child("sender.client_name");
        sharing::check_reference(&client, &self.clients, self.findings);
        let protocol = self.protocol(&at.child("gatherer.receiver.plugin_name"));
        self.forwarders(&at.child("sender.forwarders"), protocol);
        let queue = self.queue(&at.child("gatherer.queue"), protocol);
        self.check_fallbacker(&at.child("sender.fallbacker"));
        let Some(protocol) = protocol else { return };
        self.named.push(protocol.receiver);
        if !at.child("enabled").flag() {
            return;
        }
        let name = self.name(&at.child("common_config.pipe_name"), protocol);
        let receiver = at.child("gatherer.receiver.plugin_name");
        if let Some(other) = self
            .pipes
            .iter()
            .find(|pipe| is_same(pipe.protocol, protocol))
        {
            let what = format!(
                "{:?} stands in pipe {:?} already; a receiver may stand in one pipe",
                protocol.receiver, other.name
            );
            self.findings.errors.push(receiver.problem(what));
        }
        self.pipes.extend(pipe(at, name, protocol, queue));
    }

    fn protocol(&mut self, at: &At<'_>) -> Option<&'static Protocol> {
        let name = at.text();
        let found = by_receiver(&name);
        if found.is_none() {
            let known = protocols().map(|protocol| protocol.receiver);
            let what = match name.as_str() {
                "" => "nothing is not the plugin_name of a receiver, \
                       such as grpc-native-tracing-receiver"
                    .to_owned(),
                "http-native-log-receiver" => {
                    format!("{name:?} is not built yet; allowed is grpc-native-log-receiver")
                }
                _ => not_a("receiver", &name, known),
            };
            self.findings.errors.push(at.problem(what));
        }
        found
    }

    fn forwarders(&mut self, list: &At<'_>, protocol: Option<&Protocol>) {
        for (index, entry) in list.items().into_iter().enumerate() {
            let at = entry.child("plugin_name");
            let name = at.text();
            let known = protocols().map(|protocol| protocol.forwarder);
            let what = match protocol {
                _ if name == "native-log-kafka-forwarder" => {
                    format!("{name:?} is not built yet; allowed is native-log-grpc-forwarder")
                }
                _ if !known.clone().any(|forwarder| forwarder == name) => {
                    not_a("forwarder", &name, known)
                }
                Some(row) if row.forwarder != name => format!(
                    "{name:?} does not go with receiver {:?}; allowed is {}",
                    row.receiver, row.forwarder
                ),
                _ if index > 0 => format!("{name:?} stands twice; one forwarder is allowed"),
                _ => continue,
            };
            self.findings.errors.push(at.problem(what));
        }
    }

    fn queue(&mut self, at: &At<'_>, protocol: Option<&Protocol>) -> Option<Queue> {
        let plugin = at.child("plugin_name");
        let what = match plugin.text().as_str() {
            "memory-queue" => return memory_queue(at),
            "none-queue" => format!(
                "\"none-queue\" cannot hold what {} receives; allowed is memory-queue",
                protocol.filter(|row| has_reports(row))?.receiver
            ),
            name @ "mmap-queue" => format!("{name:?} is not built yet; allowed is memory-queue"),
            name => format!("{name:?} is not one of memory-queue, none-queue"),
        };
        self.findings.errors.push(plugin.problem(what));
        None
    }

    fn check_fallbacker(&mut self, at: &At<'_>) {
        if at.child("plugin_name").choice() == "timer-fallbacker" {
            return;
        }
        for name in ["max_attempts", "exponential_backoff", "max_backoff"] {
            let at = at.child(name);
            if at.is_present() {
                let what = "has no effect: only timer-fallbacker uses it";
                self.findings.warnings.push(at.problem(what));
            }
        }
    }

    fn name(&mut self, at: &At<'_>, protocol: &Protocol) -> String {
        let name = at
            .optional_text()
            .unwrap_or_else(|| protocol.pipe.to_owned());
        let built_in = protocols().find(|row| {
            row.origin == Origin::BuiltIn && row.pipe == name && !is_same(row, protocol)
        });
        if self.pipes.iter().any(|pipe| pipe.name == name) {
            let what = format!("{name:?} is the name of another pipe; names must differ");
            self.findings.errors.push(at.problem(what));
        } else if let Some(row) = built_in {
            let what = format!(
                "{name:?} is the name of the built-in pipe of {}",
                row.receiver
            );
            self.findings.errors.push(at.problem(what));
        }
        name
    }
}

fn not_a(role: &str, name: &str, known: impl Iterator<Item = &'static str> + Clone) -> String {
    match nearest(name, known.clone()) {
        Some(nearest) => format!("{name:?} is not a {role}; did you mean {nearest}?"),
        None => {
            let known: Vec<_> = known.collect();
            format!("{name:?} is not a {role}; allowed are {}", known.join(", "))
        }
    }
}

fn is_same(left: &Protocol, right: &Protocol) -> bool {
    left.receiver == right.receiver
}

fn has_reports(protocol: &Protocol) -> bool {
    let mut methods = protocol.methods.iter();
    methods.any(|method| matches!(method.mode, Mode::Queued(_)))
}

fn built_in(protocol: &'static Protocol) -> Option<Pipe> {
    let at = At::nowhere("pipes[]");
    let queue = memory_queue(&at.child("gatherer.queue"))
        .filter(|_| has_reports(protocol))
        .map(|queue| Queue {
            partition: BUILT_IN_PARTITIONS,
            ..queue
        });
    pipe(&at, protocol.pipe.to_owned(), protocol, queue)
}

fn pipe(
    at: &At<'_>,
    name: String,
    protocol: &'static Protocol,
    queue: Option<Queue>,
) -> Option<Pipe> {
    Some(Pipe {
        name,
        protocol,
        queue,
        sender: sender(&at.child("sender"))?,
        retry: retry(&at.child("sender.fallbacker")),
        routing: routing(&at.child("sender.forwarders"))?,
    })
}

fn memory_queue(at: &At<'_>) -> Option<Queue> {
    let when_full = match at.child("when_full").choice().as_str() {
        "drop_newest" => WhenFull::DropNewest,
        "drop_oldest" => WhenFull::DropOldest,
        _ => WhenFull::Block,
    };
    Some(Queue {
        event_buffer_size: at.child("event_buffer_size").whole()?,
        partition: at.child("partition").whole()?,
        when_full,
    })
}

fn sender(at: &At<'_>) -> Option<Sender> {
    let flush_time = at.child("flush_time").milliseconds();
    let max_buffer_size = at.child("max_buffer_size").whole()?;
    Some(Sender {
        flush_time: if flush_time.is_zero() {
            DEFAULT_FLUSH_TIME
        } else {
            flush_time
        },
        linger_time: at.child("linger_time").milliseconds(),
        max_buffer_size: if max_buffer_size == 0 {
            DEFAULT_BATCH
        } else {
            max_buffer_size
        },
        max_batch_bytes: at.child("max_batch_bytes").bytes()?,
    })
}

fn retry(at: &At<'_>) -> Retry {
    let max_age = at.child("max_age").duration();
    if at.child("plugin_name").choice() != "timer-fallbacker" {
        return Retry {
            max_attempts: None,
            first_pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(5),
            max_age,
        };
    }
    Retry {
        max_attempts: at.child("max_attempts").whole(),
        first_pause: at.child("exponential_backoff").milliseconds(),
        max_pause: at.child("max_backoff").milliseconds(),
        max_age,
    }
}

fn routing(forwarders: &At<'_>) -> Option<Routing> {
    let first = forwarders.items().into_iter().next();
    let at = first.unwrap_or_else(|| At::nowhere(format!("{}[]", forwarders.path())));
    let label_keys = at.child("routing_label_keys").text();
    Some(Routing {
        cache_size: at.child("routing_rule_lru_cache_size").whole()?,
        cache_ttl: at.child("routing_rule_lru_cache_ttl").seconds(),
        label_keys: split(&label_keys)
            .filter(|key| !key.is_empty())
            .map(str::to_owned)
            .collect(),
    })
}
