//! Keys of `perigee capture`, which `perigee start` may run beside itself.

use super::super::kind::Kind::{Bytes, Duration, Flag, Listen, Regex, Secret, Server, Text};
use super::{Key, count};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "capture.enabled",
        Flag,
        "false",
        "Whether `perigee start` runs `perigee capture` of the same file beside it. `perigee capture` itself does not ask.",
    )
    .ours(),
    Key::new(
        "capture.paused",
        Flag,
        "false",
        "The off-switch: nothing is captured, and nothing of ours is in the kernel. A change counts within two seconds, without a restart; SIGUSR1 turns it over.",
    )
    .ours(),
    Key::new(
        "capture.gateway.address",
        Server,
        "auto",
        "Where the gateway is. Default: the address of the server above, over loopback where that is all interfaces; `127.0.0.1:11800` in a file without one.",
    )
    .ours(),
    Key::new(
        "capture.gateway.enable_tls",
        Flag,
        "false",
        "TLS towards the gateway.",
    )
    .ours()
    .guards(),
    Key::new(
        "capture.gateway.server_name",
        Text,
        "",
        "Name that the gateway's certificate is for. Empty: the host of `address`.",
    )
    .ours(),
    Key::new(
        "capture.gateway.ca_pem_path",
        Text,
        "",
        "PEM file of trusted roots; empty: the system's. Only with `enable_tls`.",
    )
    .ours()
    .guards(),
    Key::new(
        "capture.gateway.client_pem_path",
        Text,
        "",
        "PEM file of our certificate chain; needs `client_key_path`. Only with `enable_tls`.",
    )
    .ours()
    .guards(),
    Key::new(
        "capture.gateway.client_key_path",
        Text,
        "",
        "PEM file of our private key. Only with `enable_tls`.",
    )
    .ours()
    .guards(),
    Key::new(
        "capture.gateway.insecure_skip_verify",
        Flag,
        "false",
        "Accept any certificate of the gateway.",
    )
    .ours()
    .guards(),
    Key::new(
        "capture.gateway.authentication",
        Secret,
        "",
        "Token sent to the gateway. Empty: the one that the server above asks for, if `address` is absent.",
    )
    .ours()
    .guards(),
    Key::new(
        "capture.on_cpu.period",
        Duration { least: 1, hours: 1 },
        "9ms",
        "Time between two samples of one CPU, for tasks that do not say.",
    )
    .ours(),
    Key::new(
        "capture.off_cpu.minimum",
        Duration { least: 0, hours: 1 },
        "0s",
        "Shorter waits are not counted. 0: all are, as with Rover.",
    )
    .ours(),
    Key::new(
        "capture.budget.cpu_percent",
        count("percent", 1, 100),
        "1",
        "CPU that capturing may use, in percent of one core; above it samples are taken less often.",
    )
    .ours(),
    Key::new(
        "capture.budget.memory",
        Bytes {
            least: 16 << 20,
            most: 1 << 40,
        },
        "64MiB",
        "Bytes that the process and its maps in the kernel may hold; what does not fit is counted. A quarter is \
         for stacks of tasks that are not sent yet.",
    )
    .ours(),
    Key::new(
        "capture.allow[]",
        Regex,
        "",
        "Only processes whose command line one of these matches are captured. None: all.",
    )
    .ours(),
    Key::new(
        "capture.deny[]",
        Regex,
        "",
        "Processes whose command line one of these matches are never captured, allowed or not.",
    )
    .ours(),
    Key::new(
        "capture.metrics.listen",
        Listen,
        "127.0.0.1:1235",
        "Where `perigee capture` serves its own `/metrics` and `/healthz`.",
    )
    .ours(),
];
