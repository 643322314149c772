//! Keys of what pipes share: clients and servers.

use super::super::kind::Kind::{
    Bytes, Choice, Duration, Flag, Listen, Name, Secret, Server, Servers, Text,
};
use super::{Key, count, seconds};

pub(super) const KEYS: &[Key] = &[
    Key::new(
        "sharing.common_config.pipe_name",
        Text,
        "sharing",
        "Satellite's internal name of the shared plug-ins.",
    )
    .ignored(),
    Key::new(
        "sharing.clients[].plugin_name",
        Name,
        "",
        "`grpc-client`, to which pipes refer.",
    ),
    Key::new(
        "sharing.clients[].finder_type",
        Choice(&["static", "kubernetes"]),
        "static",
        "How OAP nodes are found. `kubernetes` is not built yet.",
    ),
    Key::new(
        "sharing.clients[].server_addr",
        Servers,
        "localhost:11800",
        "OAP nodes: `host:port` with commas between, or a list of the two keys below.",
    ),
    Key::new(
        "sharing.clients[].server_addr[].address",
        Server,
        "",
        "One OAP node of the list form.",
    )
    .ours(),
    Key::new(
        "sharing.clients[].server_addr[].weight",
        count("", 1, 1_000),
        "1",
        "Its share of the messages, relative to the others.",
    )
    .ours(),
    kubernetes("sharing.clients[].kubernetes_config.api_server", ""),
    kubernetes(
        "sharing.clients[].kubernetes_config.basic_auth.username",
        "",
    ),
    secret("sharing.clients[].kubernetes_config.basic_auth.password"),
    kubernetes(
        "sharing.clients[].kubernetes_config.basic_auth.password_file",
        "",
    ),
    secret("sharing.clients[].kubernetes_config.bearer_token"),
    kubernetes("sharing.clients[].kubernetes_config.bearer_token_file", ""),
    kubernetes("sharing.clients[].kubernetes_config.proxy_url", ""),
    kubernetes("sharing.clients[].kubernetes_config.tls_config.ca_file", ""),
    kubernetes(
        "sharing.clients[].kubernetes_config.tls_config.cert_file",
        "",
    ),
    kubernetes(
        "sharing.clients[].kubernetes_config.tls_config.key_file",
        "",
    ),
    kubernetes(
        "sharing.clients[].kubernetes_config.tls_config.server_name",
        "",
    ),
    Key::new(
        "sharing.clients[].kubernetes_config.tls_config.insecure_skip_verify",
        Flag,
        "",
        KUBERNETES,
    )
    .ignored(),
    kubernetes(
        "sharing.clients[].kubernetes_config.namespaces[]",
        "default",
    ),
    kubernetes("sharing.clients[].kubernetes_config.kind", "pod"),
    kubernetes("sharing.clients[].kubernetes_config.selector.label", ""),
    kubernetes("sharing.clients[].kubernetes_config.selector.field", ""),
    Key::new(
        "sharing.clients[].kubernetes_config.extra_port.port",
        count("", 1, 65_535),
        "11800",
        KUBERNETES,
    )
    .ignored(),
    Key::new(
        "sharing.clients[].enable_tls",
        Flag,
        "false",
        "TLS towards the OAP.",
    )
    .guards(),
    Key::new(
        "sharing.clients[].client_pem_path",
        Text,
        "",
        "PEM file of our certificate chain; needs `client_key_path`. Only with `enable_tls`.",
    )
    .guards(),
    Key::new(
        "sharing.clients[].client_key_path",
        Text,
        "",
        "PEM file of our private key. Only with `enable_tls`.",
    )
    .guards(),
    Key::new(
        "sharing.clients[].insecure_skip_verify",
        Flag,
        "true",
        "Accept any certificate of the OAP. Absent means true, as in Satellite.",
    )
    .guards(),
    Key::new(
        "sharing.clients[].ca_pem_path",
        Text,
        "",
        "PEM file of trusted roots; empty: the system's. Only with `enable_tls`.",
    )
    .guards(),
    Key::new(
        "sharing.clients[].check_period",
        seconds(1, 86_400),
        "5",
        "How often names are resolved again.",
    ),
    Key::new(
        "sharing.clients[].authentication",
        Secret,
        "",
        "Token sent with every call; empty: the caller's own is forwarded.",
    )
    .guards(),
    Key::new(
        "sharing.clients[].timeout.unary",
        Duration { least: 1, hours: 24 },
        "5s",
        "Longest wait for the answer of a unary call.",
    ),
    Key::new(
        "sharing.clients[].timeout.stream",
        Duration { least: 1, hours: 24 },
        "20s",
        "Longest time a stream may owe bytes or an answer.",
    ),
    Key::new(
        "sharing.clients[].balance",
        Choice(&["round_robin", "least_in_flight"]),
        "round_robin",
        "Even shares by weight, or the one of two random nodes with less in flight.",
    )
    .ours(),
    Key::new(
        "sharing.clients[].max_in_flight",
        count("batches", 1, 1_024),
        "4",
        "Batches that one queue partition may have in flight to one node.",
    )
    .ours(),
    Key::new(
        "sharing.servers[].plugin_name",
        Name,
        "",
        "`grpc-server`, to which pipes refer.",
    ),
    Key::new(
        "sharing.servers[].network",
        Choice(&["tcp"]),
        "tcp",
        "Kind of socket.",
    ),
    Key::new(
        "sharing.servers[].address",
        Listen,
        ":11800",
        "Where agents connect.",
    ),
    Key::new(
        "sharing.servers[].max_recv_msg_size",
        Bytes {
            least: 1 << 10,
            most: 2 << 30,
        },
        "50MiB",
        "Longest message, also when inflated. Satellite's default is 2MiB.",
    ),
    Key::new(
        "sharing.servers[].max_concurrent_streams",
        count("streams", 1, 1_000_000),
        "1024",
        "HTTP/2 streams a connection. Satellite's default is 32.",
    ),
    Key::new(
        "sharing.servers[].tls_cert_file",
        Text,
        "",
        "PEM file of the certificate chain; needs `tls_key_file`. Empty: plain text.",
    )
    .guards(),
    Key::new(
        "sharing.servers[].tls_key_file",
        Text,
        "",
        "PEM file of the private key.",
    )
    .guards(),
    Key::new(
        "sharing.servers[].tls_client_ca_file",
        Text,
        "",
        "PEM file of roots: clients must show a certificate signed by one of them. Empty: they need none. Needs `tls_cert_file`.",
    )
    .ours()
    .guards(),
    Key::new(
        "sharing.servers[].authentication",
        Secret,
        "",
        "Token that callers must send as `authentication`, else PERMISSION_DENIED; empty: any caller is welcome.",
    )
    .ours()
    .guards(),
    Key::new(
        "sharing.servers[].authentication_exempt",
        Text,
        "",
        "Methods that may be called without a token (a wrong one is still refused): paths with commas between, or a list. `go-agent` stands for the four for which Go agents send none.",
    )
    .ours()
    .guards(),
    Key::new(
        "sharing.servers[].authentication_exempt[]",
        Text,
        "",
        "One entry of the list form.",
    )
    .ours(),
    Key::new(
        "sharing.servers[].forward_unknown_methods",
        Flag,
        "true",
        "Copy calls of unknown methods to an OAP; otherwise they end with UNIMPLEMENTED.",
    )
    .ours(),
    Key::new(
        "sharing.servers[].accept_limit.cpu_utilization",
        count("percent", 1, 100),
        "75",
        "New connections are refused above this share of our control group's CPU quota, or without one of the cores we may run on; 100: never.",
    ),
    Key::new(
        "sharing.servers[].accept_limit.connection_count",
        count("connections", 1, 10_000_000),
        "4000",
        "Connections above this number are refused; fewer are served where the limit of open files (`ulimit -n`), less 256 and 8 a worker, has no room for them.",
    ),
    Key::new(
        "sharing.servers[].accept_limit.connections_per_source",
        count("connections", 1, 10_000_000),
        "auto",
        "Connections of one address above this number are refused. Default: three quarters of `connection_count`. Behind a load balancer that hides addresses, or for no bound, set it to `connection_count`.",
    )
    .ours(),
];

const KUBERNETES: &str = "Only with `finder_type: kubernetes`, which is not built yet.";

const fn kubernetes(path: &'static str, default: &'static str) -> Key {
    Key::new(path, Text, default, KUBERNETES).ignored()
}

const fn secret(path: &'static str) -> Key {
    Key::new(path, Secret, "", KUBERNETES).ignored()
}
