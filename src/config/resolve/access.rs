//! Certificates and tokens, towards the OAP and towards agents.

use std::path::PathBuf;

use crate::config::at::At;
use crate::config::check::{Findings, nearest};
use crate::config::kind::split;
use crate::config::settings::{ClientTls, ServerTls, TokenCheck};
use crate::config::tree::{Node, Value};
use crate::engine::metadata::LONGEST_TOKEN;

/// Stands for [`GO_AGENT`].
const GO_AGENT_NAME: &str = "go-agent";

/// What a Go agent calls without a token even when it has one, seen at 7544822 (`protocols.md`,
/// appendix "the real Java and Go agents").
const GO_AGENT: [&str; 4] = [
    "/skywalking.v3.ConfigurationDiscoveryService/fetchConfigurations",
    "/skywalking.v3.ProfileTask/getProfileTaskCommands",
    "/skywalking.v10.PprofTask/getPprofTaskCommands",
    "/skywalking.v10.PprofTask/collect",
];

/// TLS towards the OAP.
pub(super) fn client_tls(at: &At<'_>, findings: &mut Findings) -> Option<ClientTls> {
    if !at.child("enable_tls").flag() {
        return None;
    }
    let skip = at.child("insecure_skip_verify");
    if !skip.is_present() {
        let what = "absent, so certificates are not verified, as in Satellite; say true or false";
        findings.warnings.push(skip.problem(what));
    }
    Some(ClientTls {
        ca: at.child("ca_pem_path").filled_text().map(PathBuf::from),
        identity: key_pair(
            &at.child("client_pem_path"),
            &at.child("client_key_path"),
            findings,
        ),
        insecure_skip_verify: skip.flag(),
    })
}

/// TLS towards agents.
pub(super) fn server_tls(at: &At<'_>, findings: &mut Findings) -> Option<ServerTls> {
    let identity = key_pair(
        &at.child("tls_cert_file"),
        &at.child("tls_key_file"),
        findings,
    );
    let client_ca = at.child("tls_client_ca_file");
    let Some((chain, key)) = identity else {
        if let Some(path) = client_ca.filled_text() {
            // Plain text would let in everybody.
            let what = format!("{path:?} needs tls_cert_file and tls_key_file");
            findings.errors.push(client_ca.problem(what));
        }
        return None;
    };
    Some(ServerTls {
        chain,
        key,
        client_ca: client_ca.filled_text().map(PathBuf::from),
    })
}

/// The check of callers' tokens.
pub(super) fn token_check(at: &At<'_>, findings: &mut Findings) -> Option<TokenCheck> {
    let place = at.child("authentication");
    let list = at.child("authentication_exempt");
    let exempt = exempt(&list, findings);
    let Some(token) = token(&place, findings) else {
        let scalar = place.node().and_then(Node::scalar);
        // What is no text at all has been found to be wrong already.
        let is_empty = scalar.is_some() || !place.is_present();
        if is_empty && !exempt.is_empty() {
            let what = "has no effect: authentication is empty, so every call passes";
            findings.warnings.push(list.problem(what));
        }
        if let Some(variable) = scalar.and_then(|scalar| scalar.variable.as_ref()) {
            let what = format!("empty: calls are not checked ({} is empty)", variable.name);
            findings.warnings.push(place.problem(what));
        }
        return None;
    };
    Some(TokenCheck { token, exempt })
}

/// A token, which gRPC and an OAP have to take as it is.
pub(super) fn token(at: &At<'_>, findings: &mut Findings) -> Option<String> {
    let token = at.filled_text()?;
    let is_sendable = token.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    // The values are not shown: they are secrets.
    if !is_sendable || token.trim() != token {
        let what = "the value is not what a header can carry: visible ASCII, no space at the ends";
        findings.errors.push(at.problem(what));
    } else if token.len() > LONGEST_TOKEN {
        let length = token.len();
        let what = format!("the value is {length} bytes long; at most {LONGEST_TOKEN} are allowed");
        findings.errors.push(at.problem(what));
    }
    Some(token)
}

fn exempt(list: &At<'_>, findings: &mut Findings) -> Vec<&'static str> {
    if matches!(list.node().map(|node| &node.value), Some(Value::List(_))) {
        // Others have been found to be no text already.
        let is_text = |entry: &At<'_>| entry.node().and_then(Node::scalar).is_some();
        let entries = list.items().into_iter().filter(is_text);
        return entries
            .flat_map(|entry| methods(entry.text().trim(), &entry, findings))
            .collect();
    }
    let text = list.text();
    let words = split(&text).filter(|word| !word.is_empty());
    words
        .flat_map(|word| methods(word, list, findings))
        .collect()
}

/// The paths that a word stands for.
fn methods(word: &str, at: &At<'_>, findings: &mut Findings) -> Vec<&'static str> {
    if word == GO_AGENT_NAME {
        return GO_AGENT.to_vec();
    }
    if let Some(found) = perigee_protocols::find(word) {
        return vec![found.method.path];
    }
    let paths = perigee_protocols::rows().map(|row| row.method.path);
    let hint = nearest(word, paths.chain([GO_AGENT_NAME]))
        .map_or_else(String::new, |known| format!("; did you mean {known}?"));
    let what = format!("{word:?} is not the path of a known method, nor {GO_AGENT_NAME}{hint}");
    findings.errors.push(at.problem(what));
    Vec::new()
}

/// Certificate and key: both or neither.
pub(super) fn key_pair(
    certificate: &At<'_>,
    key: &At<'_>,
    findings: &mut Findings,
) -> Option<(PathBuf, PathBuf)> {
    match (certificate.filled_text(), key.filled_text()) {
        (Some(certificate), Some(key)) => Some((certificate.into(), key.into())),
        (None, None) => None,
        (Some(path), None) => {
            let what = format!("empty is not allowed: {} is {path:?}", certificate.path());
            findings.errors.push(key.problem(what));
            None
        }
        (None, Some(path)) => {
            let what = format!("empty is not allowed: {} is {path:?}", key.path());
            findings.errors.push(certificate.problem(what));
            None
        }
    }
}
