//! What is odd but works.

use super::{good, with_pipes};

const TRACING: &str = "  - gatherer: {receiver: {plugin_name: grpc-native-tracing-receiver}}\n";

fn warnings(text: &str) -> String {
    let warnings = good(text).warnings;
    let lines: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

fn assert_warns(text: &str, parts: &[&str]) {
    let found = warnings(text);
    for part in parts {
        assert!(found.contains(part), "no {part:?} in {found:?}");
    }
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known_one() {
    let text = with_pipes(&format!(
        "{TRACING}    sender: {{flush_tme: 5, wholly_unrelated_zz: 1}}\n"
    ));
    assert_warns(
        &text,
        &[
            "pipes[0].sender.flush_tme: unknown key, ignored; did you mean flush_time? (line 8)",
            "pipes[0].sender.wholly_unrelated_zz: unknown key, ignored; did you mean",
        ],
    );
    let misplaced = with_pipes(&format!("{TRACING}    partition: 5\n"));
    assert_warns(
        &misplaced,
        &[
            "pipes[0].partition: unknown key, ignored; did you mean pipes[].gatherer.queue.partition?",
        ],
    );
    assert_warns(
        &format!("logging: {{}}\n{text}"),
        &["logging: unknown key, ignored; did you mean"],
    );
}

#[test]
fn keys_without_effect_are_named() {
    let text = with_pipes(&format!(
        "{TRACING}    processor: {{filters: [{{plugin_name: x}}]}}\n    \
         sender: {{min_flush_events: 7, fallbacker: {{max_attempts: 3}}}}\n"
    ));
    let telemetry =
        "telemetry: {export_type: 'metrics_service,prometheus', pprof: {address: ':7'}}\n";
    assert_warns(
        &format!("{telemetry}{text}"),
        &[
            "telemetry.export_type: \"metrics_service\" is not built yet",
            "telemetry.pprof.address: has no effect",
            "pipes[0].processor.filters: has no effect",
            "pipes[0].sender.min_flush_events: has no effect",
            "pipes[0].sender.fallbacker.max_attempts: has no effect",
        ],
    );
}

#[test]
fn kubernetes_keys_are_named_when_the_finder_is_static() {
    let text = with_pipes(TRACING).replace(
        "grpc-client\n",
        "grpc-client\n      kubernetes_config: {namespaces: [default, oap], kind: pod}\n",
    );
    let found = warnings(&text);
    assert!(found.starts_with("sharing.clients[0].kubernetes_config.namespaces[1]: has no effect"));
    assert_eq!(found.lines().count(), 1, "{found}");
}

#[test]
fn nodes_that_are_ourselves_or_stand_twice_are_named() {
    let with = |nodes: &str| {
        let client = format!("grpc-client\n      server_addr: {nodes}\n");
        warnings(&with_pipes(TRACING).replace("grpc-client\n", &client))
    };
    let path = "sharing.clients[0].server_addr";
    for ours in ["localhost:11800", "127.0.0.1:11800", "'[::1]:11800'"] {
        let found = with(ours);
        assert!(found.starts_with(path), "{found}");
        assert!(
            found.contains(":11800 is where this gateway listens"),
            "{found}"
        );
    }
    assert_eq!(
        with("'a:1,b:1,a:1,a:1'"),
        format!("{path}: a:1 stands more than once (line 4)")
    );
    let list = with("[{address: 'a:1'}, {address: 'a:1', weight: 2}]");
    assert!(list.contains("a:1 stands more than once"), "{list}");
    for good in [
        "localhost:11801",
        "oap:11800",
        "'a:1,a:2'",
        "'${OAP:127.0.0.1:11800}'",
    ] {
        assert_eq!(with(good), "", "{good}");
    }
}

#[test]
fn a_placeholder_without_a_default_is_told_how_to_be_one() {
    let text = format!(
        "telemetry: {{cluster: '${{NAME}}'}}\n{}",
        with_pipes(TRACING)
    );
    assert_warns(
        &text,
        &[
            "telemetry.cluster: taken as it stands, not from NAME: write ${NAME:} or ${NAME:default}",
        ],
    );
}

#[test]
fn half_a_placeholder_is_named() {
    let text = format!(
        "telemetry: {{cluster: 'a-${{B:c}}'}}\n{}",
        with_pipes(TRACING)
    );
    assert_warns(&text, &["telemetry.cluster: taken as it stands"]);
    assert_eq!(good(&text).settings.telemetry.cluster, "a-${B:c}");
}

#[test]
fn unverified_certificates_by_default_are_named() {
    let text =
        with_pipes(TRACING).replace("grpc-client\n", "grpc-client\n      enable_tls: true\n");
    assert_warns(
        &text,
        &["insecure_skip_verify: absent, so certificates are not verified"],
    );
}
