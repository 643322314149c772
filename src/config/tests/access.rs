//! Certificates and tokens.

use super::{good, load};
use crate::config::settings::TokenCheck;

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
fn verifying_clients_needs_a_certificate_of_our_own() {
    assert_refused(
        "tls_client_ca_file: ca.pem",
        &["tls_client_ca_file: \"ca.pem\" needs tls_cert_file and tls_key_file"],
    );
    let more = "tls_client_ca_file: ca.pem, tls_cert_file: a.pem, tls_key_file: a.key";
    let tls = good(&server(more)).settings.server.tls.expect("TLS");
    assert_eq!(tls.client_ca, Some("ca.pem".into()));
}
