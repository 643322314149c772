//! Certificates and tokens.

use super::{good, load, load_with};
use crate::config::settings::TokenCheck;
use crate::engine::metadata::LONGEST_TOKEN;

const GO_AGENT: [&str; 4] = [
    "/skywalking.v3.ConfigurationDiscoveryService/fetchConfigurations",
    "/skywalking.v3.ProfileTask/getProfileTaskCommands",
    "/skywalking.v10.PprofTask/getPprofTaskCommands",
    "/skywalking.v10.PprofTask/collect",
];
const COLLECT: &str = "/skywalking.v3.TraceSegmentReportService/collect";

fn server(more: &str) -> String {
    format!(
        "sharing: {{clients: [{{plugin_name: grpc-client}}], \
         servers: [{{plugin_name: grpc-server, {more}}}]}}\n"
    )
}

fn check(more: &str) -> Option<TokenCheck> {
    good(&server(more)).settings.server.authentication
}

/// The file is refused with these errors, all beginning with the server's path.
fn assert_refused(more: &str, expected: &[&str]) {
    let errors = load(&server(more)).expect_err("refused").errors;
    let shown: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), expected.len(), "{shown:#?}");
    for (shown, expected) in shown.iter().zip(expected) {
        let expected = format!("sharing.servers[0].{expected}");
        assert!(
            shown.starts_with(&expected),
            "{shown:?} is not {expected:?}"
        );
    }
}

#[test]
fn any_caller_is_welcome_unless_there_is_a_token() {
    assert!(check("authentication: ''").is_none());
    let check = check("authentication: 007").expect("a check");
    assert_eq!(check.token, "007");
    assert!(check.exempt.is_empty());
}

#[test]
fn exempt_methods_are_paths_and_presets_in_a_text_or_a_list() {
    let exempt = |value: &str| {
        let more = format!("authentication: x, authentication_exempt: {value}");
        check(&more).expect("a check").exempt
    };
    assert_eq!(exempt("go-agent"), GO_AGENT);
    let both = [&GO_AGENT[..], &[COLLECT]].concat();
    assert_eq!(exempt(&format!("'go-agent, {COLLECT}'")), both);
    assert_eq!(exempt(&format!("[go-agent, {COLLECT}]")), both);
    assert_eq!(exempt("''"), [""; 0]);
    assert_eq!(exempt("[]"), [""; 0]);
}

#[test]
fn what_is_no_known_method_cannot_be_exempt() {
    assert_refused(
        "authentication: x, authentication_exempt: 'go-agents,/new.Service/method'",
        &[
            "authentication_exempt: \"go-agents\" is not the path of a known method, nor go-agent; did you mean go-agent?",
            "authentication_exempt: \"/new.Service/method\" is not the path of a known method, nor go-agent",
        ],
    );
    assert_refused(
        "authentication: x, authentication_exempt: [go-agent, '', {a: b}]",
        &[
            "authentication_exempt[2]: a map is not text",
            "authentication_exempt[1]: \"\" is not the path",
        ],
    );
}

#[test]
fn exempt_methods_without_a_token_are_odd() {
    let warnings = good(&server("authentication_exempt: go-agent")).warnings;
    let shown: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "sharing.servers[0].authentication_exempt: has no effect: authentication is empty, so every call passes (line 1)"
        ]
    );
}

#[test]
fn a_token_that_nobody_can_send_is_refused_and_not_shown() {
    for token in ["\"s3cret \"", "\"s3cret\\n\"", "s3cr\u{e9}t"] {
        let text = server(&format!("authentication: {token}"));
        let errors = load(&text).expect_err("refused").to_string();
        assert!(
            errors.contains("sharing.servers[0].authentication: the value is not"),
            "{errors}"
        );
        assert!(!errors.contains("s3cr"), "{errors}");
    }
}

#[test]
fn our_own_token_is_held_to_the_same() {
    let text = server("address: ':1'");
    for token in ["\"s3cret \"", "\"s3cret\\n\"", "s3cr\u{e9}t"] {
        let text = text.replace(
            "grpc-client",
            &format!("grpc-client, authentication: {token}"),
        );
        let errors = load(&text).expect_err("refused").to_string();
        assert!(
            errors.contains("sharing.clients[0].authentication: the value is not"),
            "{errors}"
        );
        assert!(!errors.contains("s3cr"), "{errors}");
    }
}

#[test]
fn a_token_is_at_most_as_long_as_one_that_travels() {
    let longest = "t".repeat(LONGEST_TOKEN);
    assert!(check(&format!("authentication: {longest}")).is_some());
    assert_refused(
        &format!("authentication: {longest}t"),
        &["authentication: the value is 3585 bytes long; at most 3584 are allowed (line 1)"],
    );
}

#[test]
fn an_empty_variable_where_a_token_was_meant_is_odd() {
    let text = server("authentication: '${MY_TOKEN:}'");
    let shown: Vec<_> = good(&text)
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        shown,
        [
            "sharing.servers[0].authentication: empty: calls are not checked (MY_TOKEN is empty) (line 1)"
        ]
    );
    let variables = [("MY_TOKEN".to_owned(), "secret".to_owned())].into();
    let config = load_with(&text, &variables).expect("valid");
    assert_eq!(config.warnings, []);
    assert!(config.settings.server.authentication.is_some());
    assert_eq!(good(&server("authentication: ''")).warnings, []);
}

#[test]
fn half_a_placeholder_is_no_token() {
    for token in ["${MY_TOKEN}", "Bearer ${MY_TOKEN:}"] {
        assert_refused(
            &format!("authentication: '{token}'"),
            &["authentication: taken as it stands"],
        );
    }
    assert_refused(
        "authentication: '${MY_TOKEN}'",
        &[
            "authentication: taken as it stands, not from MY_TOKEN: write ${MY_TOKEN:} or ${MY_TOKEN:default}",
        ],
    );
    assert!(check("authentication: 'a${b'").is_some());
}

#[test]
fn a_wrong_shape_of_a_token_is_the_only_complaint() {
    let text = server("authentication: {a: b}, authentication_exempt: go-agent");
    let errors = load(&text).expect_err("refused");
    assert_eq!(errors.errors.len(), 1, "{errors}");
    assert_eq!(errors.warnings, []);
}

#[test]
fn a_misspelt_key_of_tls_or_tokens_is_an_error_that_names_the_right_one() {
    for (name, meant) in [
        ("authenticaton", "authentication"),
        ("auth_token", "authentication"),
        ("autentication", "authentication"),
        ("exempt_methods", "authentication_exempt"),
        ("tls_ca_file", "tls_client_ca_file"),
        ("ca_pem_path", "tls_client_ca_file"),
        ("client_ca", "tls_client_ca_file"),
        ("client_pem_path", "tls_cert_file"),
        ("tls-cert-file", "tls_cert_file"),
        ("client_key_path", "tls_key_file"),
    ] {
        assert_refused(
            &format!("{name}: x"),
            &[&format!(
                "{name}: unknown key; did you mean {meant}? (line 1)"
            )],
        );
    }
    for (name, meant) in [
        ("tls", "enable_tls"),
        ("tls_client_ca_file", "ca_pem_path"),
        ("tls_cert_file", "client_pem_path"),
        ("verify", "insecure_skip_verify"),
    ] {
        let text =
            server("address: ':1'").replace("grpc-client", &format!("grpc-client, {name}: x"));
        let errors = load(&text).expect_err("refused").to_string();
        let expected = format!("sharing.clients[0].{name}: unknown key; did you mean {meant}?");
        assert!(errors.contains(&expected), "{errors}");
    }
}

#[test]
fn a_key_that_is_set_is_not_what_was_meant() {
    let all = "authentication, authentication_exempt";
    assert_refused(
        "authentication: x, auth_token: y",
        &[&format!(
            "auth_token: unknown key; those for TLS and tokens are tls_cert_file, tls_key_file, tls_client_ca_file, {all}"
        )],
    );
    assert_refused(
        "enable_tls: true",
        &["enable_tls: unknown key; those for TLS and tokens are tls_cert_file"],
    );
    let warnings = good(&server("address: ':1', adress: ':2'")).warnings;
    let shown = warnings[0].to_string();
    assert!(
        shown.starts_with("sharing.servers[0].adress: unknown key, ignored"),
        "{shown}"
    );
    assert!(!shown.contains("did you mean address"), "{shown}");
    assert!(!shown.contains("servers[].address"), "{shown}");
}

#[test]
fn a_key_of_tokens_in_the_wrong_place_is_an_error_too() {
    let text = format!("authentication: x\n{}", server("address: ':1'"));
    let errors = load(&text).expect_err("refused").to_string();
    let expected = "authentication: unknown key; did you mean sharing.clients[].authentication or sharing.servers[].authentication or capture.gateway.authentication?";
    assert!(errors.contains(expected), "{errors}");
}

#[test]
fn verifying_clients_needs_a_certificate_of_our_own() {
    assert_refused(
        "tls_client_ca_file: ca.pem",
        &["tls_client_ca_file: \"ca.pem\" needs tls_cert_file and tls_key_file"],
    );
    let more = "tls_client_ca_file: ca.pem, tls_cert_file: a.pem, tls_key_file: a.key";
    let tls = good(&server(more)).settings.server.tls.expect("TLS");
    assert_eq!(tls.client_ca, Some("ca.pem".into()));
}
