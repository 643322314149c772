//! Keys of a pipe.

use super::super::kind::Kind::{Anything, Bytes, Choice, Duration, Flag, Name, Text};
use super::{Key, count, millis, seconds};

const WHEN_FULL: &[&str] = &["block", "drop_newest", "drop_oldest"];
const FALLBACKERS: &[&str] = &["none-fallbacker", "timer-fallbacker"];

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "pipes[].enabled",
        Flag,
        "true",
        "Whether the pipe exists. `false` also switches a built-in pipe off.",
    )
    .ours(),
    Key::new(
        "pipes[].common_config.pipe_name",
        Name,
        "auto",
        "Label `pipe` on its metrics. Default: the name in the stock file.",
    ),
    Key::new(
        "pipes[].gatherer.server_name",
        Name,
        "grpc-server",
        "`plugin_name` of a server under `sharing`.",
    ),
    Key::new(
        "pipes[].gatherer.receiver.plugin_name",
        Name,
        "",
        "The protocol: see the table of pipes below.",
    ),
    Key::new(
        "pipes[].gatherer.receiver.flush_time",
        millis(0),
        "1000",
        "Satellite's second buffer of Envoy data; there is none here.",
    )
    .ignored(),
    Key::new(
        "pipes[].gatherer.receiver.limit_count",
        count("messages", 0, 1_000_000_000),
        "500",
        "Satellite's second buffer of Envoy data; there is none here.",
    )
    .ignored(),
    Key::new(
        "pipes[].gatherer.queue.plugin_name",
        Name,
        "memory-queue",
        "`memory-queue`, or `none-queue` where the OAP answers every method. `mmap-queue` is not built yet.",
    ),
    Key::new(
        "pipes[].gatherer.queue.event_buffer_size",
        count("messages", 1, 1_000_000_000),
        "5000",
        "Messages a partition holds.",
    ),
    Key::new(
        "pipes[].gatherer.queue.partition",
        count("partitions", 1, 1_024),
        "1",
        "Parts of the queue that are emptied side by side. Built-in pipes have 4.",
    ),
    Key::new(
        "pipes[].gatherer.queue.when_full",
        Choice(WHEN_FULL),
        "block",
        "Stop reading that client, or let go of arriving or of queued messages.",
    )
    .ours(),
    Key::new(
        "pipes[].processor.filters",
        Anything,
        "",
        "Satellite has no filters, nor have we.",
    )
    .ignored(),
    Key::new(
        "pipes[].sender.fallbacker.plugin_name",
        Choice(FALLBACKERS),
        "none-fallbacker",
        "Try again until `max_age` with pauses of 100 ms to 5 s, or as the three keys below say.",
    ),
    Key::new(
        "pipes[].sender.fallbacker.max_attempts",
        count("attempts", 1, 1_000_000),
        "3",
        "Attempts in all. `timer-fallbacker` only.",
    ),
    Key::new(
        "pipes[].sender.fallbacker.exponential_backoff",
        millis(1),
        "2000",
        "Pause before the second attempt; it doubles. `timer-fallbacker` only.",
    ),
    Key::new(
        "pipes[].sender.fallbacker.max_backoff",
        millis(1),
        "5000",
        "Longest pause. `timer-fallbacker` only.",
    ),
    Key::new(
        "pipes[].sender.fallbacker.max_age",
        Duration {
            least: 1,
            hours: 720,
        },
        "5m",
        "Messages older than this are dropped and counted as `expired`.",
    )
    .ours(),
    Key::new(
        "pipes[].sender.flush_time",
        millis(0),
        "1000",
        "Longest wait of a message for its batch. 0 means 1000, as in Satellite.",
    ),
    Key::new(
        "pipes[].sender.max_buffer_size",
        count("messages", 0, 1_000_000),
        "200",
        "Most messages in a batch. 0 means 200.",
    ),
    Key::new(
        "pipes[].sender.min_flush_events",
        count("messages", 0, 1_000_000),
        "1",
        "Satellite holds smaller batches back beyond `flush_time`; we do not.",
    )
    .ignored(),
    Key::new(
        "pipes[].sender.linger_time",
        millis(0),
        "10",
        "Wait for company while nothing is on its way, if shorter than `flush_time`.",
    )
    .ours(),
    Key::new(
        "pipes[].sender.max_batch_bytes",
        Bytes {
            least: 1 << 10,
            most: 1 << 30,
        },
        "512KiB",
        "Most bytes in a batch; a single larger message still goes.",
    )
    .ours(),
    Key::new(
        "pipes[].sender.client_name",
        Name,
        "grpc-client",
        "`plugin_name` of a client under `sharing`.",
    ),
    Key::new(
        "pipes[].sender.forwarders[].plugin_name",
        Name,
        "",
        "The forwarder that belongs to the receiver; may be left out.",
    ),
    Key::new(
        "pipes[].sender.forwarders[].routing_rule_lru_cache_size",
        count("keys", 1, 10_000_000),
        "5000",
        "Keys whose node is remembered.",
    ),
    Key::new(
        "pipes[].sender.forwarders[].routing_rule_lru_cache_ttl",
        seconds(1, 31_536_000),
        "180",
        "How long an unused key is remembered.",
    ),
    Key::new(
        "pipes[].sender.forwarders[].routing_label_keys",
        Text,
        "net.host.name,host.name,job,service.name",
        "Resource attributes that make the key of OTLP metrics, with commas between.",
    ),
];
