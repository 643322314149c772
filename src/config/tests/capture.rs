//! The section `capture`.

use std::time::Duration;

use super::{EMBEDDED, good, load, with_pipes};
use crate::config::settings::capture::Budget;
use crate::config::{CaptureConfig, ConfigErrors, Source};

fn alone(text: &str) -> Result<CaptureConfig, ConfigErrors> {
    CaptureConfig::parse(text, Source::Embedded, &|_| None)
}

fn good_alone(text: &str) -> CaptureConfig {
    alone(text).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A gateway's file with these options of the server and this section.
fn beside(server: &str, capture: &str) -> String {
    with_pipes("").replace("grpc-server", &format!("grpc-server\n{server}"))
        + "capture: {"
        + capture
        + "}\n"
}

const TLS: &str = "      tls_cert_file: a.pem\n      tls_key_file: a.key";

#[test]
fn it_is_off_and_modest_by_default() {
    let capture = good(EMBEDDED).settings.capture;
    assert!(!capture.enabled && !capture.paused);
    assert_eq!(capture.on_cpu_period, Duration::from_millis(9));
    assert_eq!(capture.off_cpu_minimum, Duration::ZERO);
    assert_eq!(capture.budget, Budget::default());
    assert_eq!(capture.metrics.to_string(), "127.0.0.1:1235");
    assert_eq!(capture.gateway.address.to_string(), "127.0.0.1:11800");
    assert!(!capture.gateway.is_named);
    let bare = good(&with_pipes("")).settings.capture;
    assert_eq!(bare.on_cpu_period, capture.on_cpu_period);
    assert_eq!(bare.budget, capture.budget);
}

#[test]
fn a_file_of_its_own_needs_no_other_section() {
    let config = good_alone("capture: {budget: {memory: 32MiB}, off_cpu: {minimum: 50us}}");
    let capture = &config.settings.capture;
    assert_eq!(capture.budget.memory_bytes, 32 << 20);
    assert_eq!(capture.off_cpu_minimum, Duration::from_micros(50));
    assert_eq!(capture.gateway.address.to_string(), "127.0.0.1:11800");
    assert_eq!(config.flat()["capture.budget.memory"], "32MiB");
    let again = good_alone(&config.to_yaml());
    assert_eq!(again.to_yaml(), config.to_yaml());
    assert_eq!(
        format!("{:?}", again.settings),
        format!("{:?}", config.settings)
    );
}

#[test]
fn what_the_child_needs_of_the_gateway_is_missed_by_name() {
    let warned = |capture: &str| -> Vec<String> {
        let warnings = good(&beside("", capture)).warnings;
        warnings.iter().map(ToString::to_string).collect()
    };
    let warnings = warned("enabled: true");
    for pipe in ["processpipe", "ebpf-profilingpipe"] {
        let expected = format!("needs the pipe \"{pipe}\", which is not in this file");
        let found = warnings.iter().find(|it| it.contains(&expected));
        assert!(found.unwrap().contains("capture.enabled"), "{warnings:?}");
    }
    for fine in [
        "enabled: false",
        "enabled: true, gateway: {address: 'far:8'}",
    ] {
        assert!(
            !warned(fine).iter().any(|it| it.contains("needs the pipe")),
            "{fine}"
        );
    }
    let embedded = EMBEDDED.replace(
        "PERIGEE_CAPTURE_ENABLED:false",
        "PERIGEE_CAPTURE_ENABLED:true",
    );
    assert_ne!(embedded, EMBEDDED);
    let config = good(&embedded);
    assert!(config.settings.capture.enabled);
    assert!(config.warnings.is_empty());
}

#[test]
fn the_gateway_is_where_the_file_says_that_it_listens() {
    let address = |server: &str| {
        let text = beside(&format!("      address: '{server}'"), "");
        good_alone(&text)
            .settings
            .capture
            .gateway
            .address
            .to_string()
    };
    assert_eq!(address(":7"), "127.0.0.1:7");
    assert_eq!(address("10.0.0.1:7"), "10.0.0.1:7");
    assert_eq!(address("[::1]:7"), "[::1]:7");
    let text = beside("      address: ':7'", "gateway: {address: 'far:8'}");
    let gateway = good_alone(&text).settings.capture.gateway;
    assert_eq!(
        (gateway.address.to_string().as_str(), gateway.is_named),
        ("far:8", true)
    );
}

#[test]
fn the_token_is_the_servers_unless_it_is_another_gateway() {
    let token = |capture: &str| {
        let text = beside("      authentication: s3cret", capture);
        good_alone(&text).settings.capture.gateway.authentication
    };
    assert_eq!(token("").as_deref(), Some("s3cret"));
    assert_eq!(
        token("gateway: {authentication: own}").as_deref(),
        Some("own")
    );
    assert_eq!(token("gateway: {address: 'far:8'}"), None);
}

#[track_caller]
fn assert_refused(text: &str, expected: &str) {
    let errors = alone(text).expect_err("refused").to_string();
    assert!(errors.contains(expected), "{errors}");
}

#[test]
fn a_gateway_with_tls_is_not_spoken_to_in_plain_text() {
    let expected = "capture.gateway.enable_tls: must be true: sharing.servers[0].tls_cert_file";
    assert_refused(&beside(TLS, ""), expected);
    assert!(load(&beside(TLS, "enabled: true")).is_err());
    // Nobody runs it.
    good(&beside(TLS, "enabled: false"));
    let secure = "gateway: {enable_tls: true, server_name: edge}";
    let tls = good_alone(&beside(TLS, secure))
        .settings
        .capture
        .gateway
        .tls;
    let tls = tls.expect("TLS");
    assert_eq!(tls.server_name, "edge");
    assert!(!tls.files.insecure_skip_verify, "not as Satellite");
    let mutual = format!("{TLS}\n      tls_client_ca_file: ca.pem");
    let expected = "capture.gateway.client_pem_path: empty is not allowed: sharing.servers[0].tls_client_ca_file";
    assert_refused(&beside(&mutual, secure), expected);
    assert_refused(
        "capture: {gateway: {client_pem_path: a.pem}}",
        "capture.gateway.client_key_path: empty is not allowed",
    );
}

#[test]
fn certificates_without_tls_are_an_error() {
    for name in ["ca_pem_path", "client_pem_path", "client_key_path"] {
        let expected = format!("capture.gateway.{name}: \"a.pem\" needs enable_tls: true");
        assert_refused(
            &format!("capture: {{gateway: {{{name}: a.pem}}}}"),
            &expected,
        );
    }
    good_alone("capture: {gateway: {ca_pem_path: a.pem, enable_tls: true}}");
    good_alone("capture: {gateway: {ca_pem_path: ''}}");
}

#[test]
fn a_misspelt_list_of_whom_to_capture_is_an_error() {
    for (name, meant) in [
        ("denny", "deny"),
        ("denied", "deny"),
        ("deny_list", "deny"),
        ("alow", "allow"),
        ("allowed", "allow"),
        ("allowlist", "allow"),
    ] {
        let expected = format!("capture.{name}: unknown key; did you mean {meant}? (line 1)");
        assert_refused(&format!("capture: {{{name}: [vault]}}"), &expected);
        assert_refused(
            &format!("capture: {{{meant}: [a], {name}: [vault]}}"),
            &expected,
        );
    }
    assert_refused(
        "capture: {discovery: {deny: [vault]}}",
        "capture.discovery.deny: unknown key; did you mean capture.deny?",
    );
    let warnings = good_alone("capture: {delays: 1, odd: 2}").warnings;
    assert_eq!(warnings.len(), 2);
}

#[test]
fn values_that_cannot_be_are_named() {
    for (section, expected) in [
        (
            "on_cpu: {period: 100us}",
            "capture.on_cpu.period: \"100us\" is not a duration such as 5s, 300ms or 1h30m (1ms to 1h)",
        ),
        ("off_cpu: {minimum: 2h}", "(0 to 1h)"),
        (
            "budget: {cpu_percent: 0}",
            "a whole number of percent (1 to 100)",
        ),
        ("budget: {memory: 1MiB}", "(16MiB to 1TiB)"),
        ("allow: x", "capture.allow: \"x\" is not a list"),
        (
            "allow: ['a', '[']",
            "capture.allow[1]: \"[\" is not a regular expression",
        ),
        (
            "discovery: {rules: [{match: {command: '*'}}]}",
            "capture.discovery.rules[0].match.command",
        ),
        (
            "discovery: {rules: [{service: ''}]}",
            "text of at least one letter",
        ),
        ("discovery: {units: perhaps}", "true or false"),
        (
            "discovery: {rules: [{match: {unit: a}, service: '{{.Nobody}}'}]}",
            "capture.discovery: rules[0].service: \"{{.Nobody}}\" is no template",
        ),
        (
            "discovery: {kubernetes: {active: true}}",
            "capture.discovery: kubernetes.pods_file is empty",
        ),
        (
            "gateway: {authenticaton: x}",
            "unknown key; did you mean authentication?",
        ),
    ] {
        assert_refused(&format!("capture: {{{section}}}"), expected);
    }
}

#[test]
fn discovery_is_handed_on_as_the_module_reads_it() {
    let config = good_alone(
        "capture:
  deny: [vault]
  discovery:
    units: 1
    proc_root: 007
    unheard_of: x
    rules:
      - {match: {command: ^nginx}, service: '42', labels: [a, b], layer: ~}
    kubernetes: {active: 'true', namespaces: 'a,b', pods_file: pods.json}
",
    );
    let expected = serde_json::json!({
        "units": true,
        "proc_root": "007",
        "rules": [{
            "match": {"command": "^nginx"},
            "service": "42",
            "labels": ["a", "b"],
            "layer": "OS_LINUX",
            "instance": "{{.Rover.HostName}}",
            "process": "{{.Process.ExeName}}",
        }],
        "kubernetes": {"active": true, "namespaces": "a,b", "pods_file": "pods.json"},
        "access": {"allow": [], "deny": ["vault"]},
    });
    assert_eq!(config.settings.capture.discovery, expected);
    let warnings: Vec<_> = config
        .warnings
        .iter()
        .map(|warning| warning.path.as_str())
        .collect();
    assert_eq!(warnings, ["capture.discovery.unheard_of"]);
}

#[test]
fn what_is_odd_elsewhere_is_left_to_the_gateway() {
    let text = beside("      odd: 1", "odd: 2");
    let paths = |config: &[crate::config::Problem]| {
        let paths = config.iter().map(|problem| problem.path.clone());
        paths.collect::<Vec<_>>()
    };
    assert_eq!(paths(&good_alone(&text).warnings), ["capture.odd"]);
    assert_eq!(
        paths(&good(&text).warnings),
        ["sharing.servers[0].odd", "capture.odd"]
    );
}

/// Rover's environment is often there before anybody runs a profiler here.
#[test]
fn what_nobody_runs_is_not_checked_for_templates() {
    let section = "enabled: false, discovery: {kubernetes: {active: true}}";
    good(&beside("      address: ':7'", section));
    assert!(
        load(&beside(
            "      address: ':7'",
            &section.replace("false", "true")
        ))
        .is_err()
    );
}

#[test]
fn defaults_of_discovery_are_those_of_the_module() {
    use perigee_ebpf_profiler::discovery::Settings;

    let read = |text: &str| {
        let section = good_alone(text).settings.capture.discovery;
        serde_json::from_value::<Settings>(section).expect("settings")
    };
    assert_eq!(read("capture: {}"), Settings::default());
    let rule = "capture: {discovery: {rules: [{match: {unit: a}, service: b}]}}";
    let bare = serde_json::json!({"rules": [{"match": {"unit": "a"}, "service": "b"}]});
    assert_eq!(read(rule), serde_json::from_value(bare).expect("settings"));
    let analyzer = "capture: {discovery: {kubernetes: {analyzers: [{layer: a, service_name: b}]}}}";
    let bare =
        serde_json::json!({"kubernetes": {"analyzers": [{"layer": "a", "service_name": "b"}]}});
    assert_eq!(
        read(analyzer),
        serde_json::from_value(bare).expect("settings")
    );
}
