//! Broken files: each error has the path, the value and what is allowed.

use super::{load, with_pipes};

const TRACING: &str = "gatherer: {receiver: {plugin_name: grpc-native-tracing-receiver}}";
const SHARING: &str =
    "sharing: {clients: [{plugin_name: grpc-client}], servers: [{plugin_name: grpc-server}]}\n";

/// The file is refused with exactly one error, which begins like this.
fn assert_refused(text: &str, error: &str) {
    let errors = load(text).expect_err("refused").errors;
    let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert!(
        shown[0].starts_with(error),
        "{:?} is not {error:?}",
        shown[0]
    );
}

fn pipe(more: &str) -> String {
    with_pipes(&format!("  - {{{TRACING}, {more}}}\n"))
}

fn client(more: &str) -> String {
    SHARING.replace("grpc-client", &format!("grpc-client, {more}"))
}

fn server(more: &str) -> String {
    SHARING.replace("grpc-server", &format!("grpc-server, {more}"))
}

fn queue(more: &str) -> String {
    let receiver = "receiver: {plugin_name: grpc-native-tracing-receiver}";
    with_pipes(&format!(
        "  - gatherer: {{{receiver}, queue: {{{more}}}}}\n"
    ))
}

#[test]
fn numbers_out_of_range_are_refused() {
    assert_refused(
        &pipe("sender: {flush_time: 1s}"),
        "pipes[0].sender.flush_time: \"1s\" is not a whole number of milliseconds (0 to 3600000)",
    );
    assert_refused(
        &pipe("sender: {max_buffer_size: -1}"),
        "pipes[0].sender.max_buffer_size: \"-1\" is not a whole number of messages (0 to 1000000)",
    );
    assert_refused(
        &queue("partition: 0"),
        "pipes[0].gatherer.queue.partition: \"0\" is not a whole number of partitions (1 to 1024)",
    );
    assert_refused(
        &queue("event_buffer_size: 1.5"),
        "pipes[0].gatherer.queue.event_buffer_size: \"1.5\" is not a whole number of messages (1 to",
    );
    assert_refused(
        &client("check_period: 0"),
        "sharing.clients[0].check_period: \"0\" is not a whole number of seconds (1 to 86400)",
    );
    assert_refused(
        &server("accept_limit: {cpu_utilization: 101}"),
        "sharing.servers[0].accept_limit.cpu_utilization: \"101\" is not a whole number of percent",
    );
}

#[test]
fn bad_durations_bytes_and_flags_are_refused() {
    assert_refused(
        &client("timeout: {unary: 5}"),
        "sharing.clients[0].timeout.unary: \"5\" is not a duration such as 5s, 300ms or 1h30m",
    );
    assert_refused(
        &client("timeout: {stream: 0}"),
        "sharing.clients[0].timeout.stream: \"0\" is not a duration such as 5s",
    );
    assert_refused(
        &pipe("sender: {fallbacker: {max_age: forever}}"),
        "pipes[0].sender.fallbacker.max_age: \"forever\" is not a duration",
    );
    assert_refused(
        &format!("limits: {{memory_bytes: 512 lots}}\n{SHARING}"),
        "limits.memory_bytes: \"512 lots\" is not a number of bytes such as 1048576 or 512MiB (16MiB to",
    );
    assert_refused(
        &client("enable_tls: maybe"),
        "sharing.clients[0].enable_tls: \"maybe\" is not true or false",
    );
}

#[test]
fn bad_addresses_are_refused() {
    for address in [
        "11800",
        "::1:11800",
        "oap",
        "':70000'",
        "my-host:11800",
        "':http'",
    ] {
        let shown = address.trim_matches('\'');
        assert_refused(
            &server(&format!("address: '{shown}'")),
            &format!("sharing.servers[0].address: {shown:?} is not a listen address"),
        );
    }
    for address in ["oap", "oap:0", ":11800", "http://oap:11800", "a:1,,b:1", ""] {
        assert_refused(
            &client(&format!("server_addr: '{address}'")),
            &format!("sharing.clients[0].server_addr: {address:?} is not host:port"),
        );
    }
    assert_refused(
        &client("server_addr: [{address: oap}]"),
        "sharing.clients[0].server_addr[0].address: \"oap\" is not host:port",
    );
    assert_refused(
        &client("server_addr: [{weight: 2}]"),
        "sharing.clients[0].server_addr[0].address: nothing is not host:port",
    );
    assert_refused(
        &client("server_addr: [{address: 'oap:1', weight: 0}]"),
        "sharing.clients[0].server_addr[0].weight: \"0\" is not a whole number (1 to 1000)",
    );
    assert_refused(
        &client("server_addr: []"),
        "sharing.clients[0].server_addr: an empty list",
    );
    assert_refused(
        &format!("telemetry: {{prometheus: {{endpoint: metrics}}}}\n{SHARING}"),
        "telemetry.prometheus.endpoint: \"metrics\" is not a path that begins with /",
    );
}

#[test]
fn bad_choices_are_refused() {
    assert_refused(
        &format!("logger: {{level: loud}}\n{SHARING}"),
        "logger.level: \"loud\" is not one of trace, debug, info, warn",
    );
    assert_refused(
        &format!("telemetry: {{export_type: 'prometheus,influx'}}\n{SHARING}"),
        "telemetry.export_type: \"prometheus,influx\" is not one or more, with commas between, of prometheus",
    );
    assert_refused(
        &queue("when_full: drop"),
        "pipes[0].gatherer.queue.when_full: \"drop\" is not one of block, drop_newest, drop_oldest",
    );
    assert_refused(
        &client("balance: random"),
        "sharing.clients[0].balance: \"random\" is not one of round_robin, least_in_flight",
    );
    assert_refused(
        &pipe("sender: {fallbacker: {plugin_name: disk-fallbacker}}"),
        "pipes[0].sender.fallbacker.plugin_name: \"disk-fallbacker\" is not one of none-fallbacker",
    );
}

#[test]
fn plugins_that_are_not_built_yet_are_refused_by_name() {
    assert_refused(
        &queue("plugin_name: mmap-queue"),
        "pipes[0].gatherer.queue.plugin_name: \"mmap-queue\" is not built yet; allowed is memory-queue",
    );
    assert_refused(
        &client("finder_type: kubernetes"),
        "sharing.clients[0].finder_type: \"kubernetes\" is not built yet; allowed is static",
    );
    assert_refused(
        &SHARING.replace(
            "[{plugin_name: grpc-client}",
            "[{plugin_name: grpc-client}, {plugin_name: kafka-client}",
        ),
        "sharing.clients[1].plugin_name: \"kafka-client\" is not built yet",
    );
    assert_refused(
        &SHARING.replace(
            "[{plugin_name: grpc-server}",
            "[{plugin_name: grpc-server}, {plugin_name: http-server}",
        ),
        "sharing.servers[1].plugin_name: \"http-server\" is not built yet",
    );
    assert_refused(
        &with_pipes("  - gatherer: {receiver: {plugin_name: http-native-log-receiver}}\n"),
        "pipes[0].gatherer.receiver.plugin_name: \"http-native-log-receiver\" is not built yet",
    );
    assert_refused(
        &pipe("sender: {forwarders: [{plugin_name: native-log-kafka-forwarder}]}"),
        "pipes[0].sender.forwarders[0].plugin_name: \"native-log-kafka-forwarder\" is not built yet",
    );
}

#[test]
fn names_that_lead_nowhere_are_refused() {
    assert_refused(
        &with_pipes("  - gatherer: {receiver: {plugin_name: grpc-native-tracing-reciever}}\n"),
        "pipes[0].gatherer.receiver.plugin_name: \"grpc-native-tracing-reciever\" is not a receiver; \
         did you mean grpc-native-tracing-receiver?",
    );
    assert_refused(
        &with_pipes("  - common_config: {pipe_name: x}\n"),
        "pipes[0].gatherer.receiver.plugin_name: nothing is not the plugin_name of a receiver",
    );
    assert_refused(
        &pipe("sender: {client_name: grpc-clint}"),
        "pipes[0].sender.client_name: \"grpc-clint\" is not a plugin_name under sharing; \
         did you mean grpc-client?",
    );
    assert_refused(
        &with_pipes(&format!(
            "  - {{{}}}\n",
            TRACING.replace("{receiver", "{server_name: s, receiver")
        )),
        "pipes[0].gatherer.server_name: \"s\" is not a plugin_name under sharing",
    );
    assert_refused(
        &pipe("sender: {forwarders: [{plugin_name: tracing-forwarder}]}"),
        "pipes[0].sender.forwarders[0].plugin_name: \"tracing-forwarder\" is not a forwarder",
    );
    assert_refused(
        &pipe("sender: {forwarders: [{plugin_name: native-log-grpc-forwarder}]}"),
        "pipes[0].sender.forwarders[0].plugin_name: \"native-log-grpc-forwarder\" does not go with \
         receiver \"grpc-native-tracing-receiver\"; allowed is native-tracing-grpc-forwarder",
    );
    assert_refused(
        &queue("plugin_name: disk-queue"),
        "pipes[0].gatherer.queue.plugin_name: \"disk-queue\" is not one of memory-queue, none-queue",
    );
}

#[test]
fn what_may_stand_once_is_refused_twice() {
    let logs = "gatherer: {receiver: {plugin_name: grpc-native-log-receiver}}";
    let name = "common_config: {pipe_name: same}";
    assert_refused(
        &with_pipes(&format!(
            "  - {{{name}, {TRACING}}}\n  - {{{name}, {logs}}}\n"
        )),
        "pipes[1].common_config.pipe_name: \"same\" is the name of another pipe",
    );
    assert_refused(
        &with_pipes(&format!("  - {{{TRACING}}}\n  - {{{name}, {TRACING}}}\n")),
        "pipes[1].gatherer.receiver.plugin_name: \"grpc-native-tracing-receiver\" stands in pipe \
         \"tracingpipe\" already",
    );
    assert_refused(
        &pipe("common_config: {pipe_name: browserpipe}"),
        "pipes[0].common_config.pipe_name: \"browserpipe\" is the name of the built-in pipe",
    );
    assert_refused(
        &SHARING.replace(
            "[{plugin_name: grpc-client}",
            "[{plugin_name: grpc-client}, {plugin_name: grpc-client}",
        ),
        "sharing.clients[1].plugin_name: \"grpc-client\" stands twice; one is allowed",
    );
    assert_refused(
        &format!("logger: {{}}\nlogger: {{}}\n{SHARING}"),
        "key \"logger\" stands twice, first on line 1 (line 2)",
    );
}

#[test]
fn queues_and_certificates_that_cannot_work_are_refused() {
    assert_refused(
        &queue("plugin_name: none-queue"),
        "pipes[0].gatherer.queue.plugin_name: \"none-queue\" cannot hold what \
         grpc-native-tracing-receiver receives; allowed is memory-queue",
    );
    assert_refused(
        &server("tls_cert_file: a.pem"),
        "sharing.servers[0].tls_key_file: empty is not allowed: sharing.servers[0].tls_cert_file is \"a.pem\"",
    );
    assert_refused(
        &client("enable_tls: true, insecure_skip_verify: false, client_key_path: a.key"),
        "sharing.clients[0].client_pem_path: empty is not allowed",
    );
}

#[test]
fn wrong_shapes_are_refused() {
    assert_refused(
        &format!("{SHARING}pipes: all\n"),
        "pipes: \"all\" is not a list (line 2)",
    );
    assert_refused(
        &format!("{SHARING}logger: [info]\n"),
        "logger: a list is not a map",
    );
    assert_refused(
        &format!("{SHARING}logger: {{level: [info]}}\n"),
        "logger.level: a list is not one of",
    );
    assert_refused("a: b: c", "not YAML");
    assert_refused("a: 1\n---\nb: 1\n", "a second document");
    assert_refused("? [a]\n: b\n", "a key is a list");
    assert_refused("a: [*b]", "not YAML");
    let errors = load("").expect_err("empty").to_string();
    assert!(
        errors.contains("sharing.clients: nothing is not a list with one entry"),
        "{errors}"
    );
}

#[test]
fn all_errors_are_found_at_once_and_name_their_variable() {
    let text = with_pipes(
        "  - gatherer: {receiver: {plugin_name: nobody}, queue: {partition: '${PARTS:0}'}}
    sender: {flush_time: '${FLUSH:1000}', client_name: nobody}
",
    );
    let variables = [("FLUSH".to_owned(), "soon".to_owned())].into();
    let errors = super::load_with(&text, &variables).expect_err("refused");
    let shown = errors.to_string();
    assert!(
        shown.starts_with("4 errors in the embedded configuration\n"),
        "{shown}"
    );
    assert!(shown.contains("(0 to 3600000) (from FLUSH)"), "{shown}");
}

#[test]
fn a_missing_file_is_refused() {
    let path = std::path::Path::new("/nowhere/perigee.yaml");
    let errors = crate::config::Config::load(Some(path), &|_| None).expect_err("missing");
    let shown = errors.to_string();
    assert!(
        shown.starts_with("1 error in /nowhere/perigee.yaml\n  cannot be read: "),
        "{shown}"
    );
}
