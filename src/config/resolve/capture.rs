//! The section `capture`, and what it takes from the server beside it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use perigee_ebpf_profiler::access::AccessSettings;
use perigee_ebpf_profiler::discovery::Discovery;
use serde_json::{Value as Json, json};

use super::access;
use crate::config::at::At;
use crate::config::check::Findings;
use crate::config::render;
use crate::config::settings::capture::{Budget, Capture, Gateway, GatewayTls};
use crate::config::settings::{ClientTls, Pipe, Server, ServerAddr};
use crate::config::tree::Node;
use crate::config::units;

/// Where a gateway is unless somebody says otherwise.
const DEFAULT_GATEWAY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 11_800);

/// Whether the settings are for a process that runs, or stand there for later.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// By a gateway, which asks `enabled`.
    Beside,
    /// By `perigee capture` itself.
    Alone,
}

/// The section; `server` is the gateway's own side, where the file has one.
pub(super) fn capture(
    at: &At<'_>,
    server: Option<&Server>,
    usage: Use,
    findings: &mut Findings,
) -> Option<Capture> {
    let enabled = at.child("enabled").flag();
    let runs = enabled || usage == Use::Alone;
    let permitted = AccessSettings {
        allow: texts(&at.child("allow")),
        deny: texts(&at.child("deny")),
    };
    let place = at.child("discovery");
    let discovery = discovery(&place, &permitted);
    if runs {
        check_discovery(&place, &discovery, findings);
    }
    Some(Capture {
        enabled,
        paused: at.child("paused").flag(),
        gateway: gateway(&at.child("gateway"), server, runs, findings)?,
        on_cpu_period: at.child("on_cpu.period").duration(),
        off_cpu_minimum: at.child("off_cpu.minimum").duration(),
        budget: Budget {
            cpu_percent: at.child("budget.cpu_percent").whole()?,
            memory_bytes: at.child("budget.memory").bytes()?,
        },
        metrics: at
            .child("metrics.listen")
            .read(|scalar| units::listen_address(&scalar.text))?,
        discovery,
        access: permitted,
    })
}

/// Without these pipes the gateway would refuse what its own child sends.
pub(super) fn check_pipes(at: &At<'_>, pipes: &[Pipe], findings: &mut Findings) {
    for needed in ["processpipe", "ebpf-profilingpipe"] {
        if !pipes.iter().any(|pipe| pipe.protocol.pipe == needed) {
            let what = format!("needs the pipe \"{needed}\", which is not in this file");
            findings.warnings.push(at.child("enabled").problem(what));
        }
    }
}

fn gateway(
    at: &At<'_>,
    server: Option<&Server>,
    runs: bool,
    findings: &mut Findings,
) -> Option<Gateway> {
    let address = at.child("address");
    let is_named = address.is_present();
    let named = address.read(|scalar| units::server_address(&scalar.text));
    // Another gateway than the one of this file has certificates and tokens of its own.
    let own = server.filter(|_| !is_named);
    let listening = own.map_or(DEFAULT_GATEWAY, |server| server.address);
    let address = named.unwrap_or_else(|| ServerAddr::of_listener(listening));
    let own_token = own.and_then(|server| server.authentication.as_ref());
    if let Some(server) = own.filter(|_| runs) {
        check_own(at, server, findings);
    }
    Some(Gateway {
        tls: tls(at, &address.host, findings),
        address,
        is_named,
        authentication: access::token(&at.child("authentication"), findings)
            .or_else(|| own_token.map(|check| check.token.clone())),
    })
}

/// What the gateway of the same file asks of its clients.
fn check_own(at: &At<'_>, server: &Server, findings: &mut Findings) {
    let Some(tls) = &server.tls else { return };
    let enable = at.child("enable_tls");
    if !enable.flag() {
        let what = "must be true: sharing.servers[0].tls_cert_file makes the gateway speak TLS";
        findings.errors.push(enable.problem(what));
        return;
    }
    let chain = at.child("client_pem_path");
    if tls.client_ca.is_some() && chain.filled_text().is_none() {
        let what = "empty is not allowed: sharing.servers[0].tls_client_ca_file asks for one";
        findings.errors.push(chain.problem(what));
    }
}

fn tls(at: &At<'_>, host: &str, findings: &mut Findings) -> Option<GatewayTls> {
    let chain = at.child("client_pem_path");
    let key = at.child("client_key_path");
    let identity = access::key_pair(&chain, &key, findings);
    let files = ClientTls {
        ca: at.child("ca_pem_path").filled_text().map(PathBuf::from),
        identity,
        insecure_skip_verify: at.child("insecure_skip_verify").flag(),
    };
    let server_name = at.child("server_name").filled_text();
    let is_on = at.child("enable_tls").flag();
    if !is_on {
        check_unused(at, findings);
    }
    is_on.then(|| GatewayTls {
        files,
        server_name: server_name.unwrap_or_else(|| host.to_owned()),
    })
}

/// Who names certificates does not mean plain text.
fn check_unused(at: &At<'_>, findings: &mut Findings) {
    for name in ["ca_pem_path", "client_pem_path", "client_key_path"] {
        let file = at.child(name);
        if let Some(path) = file.filled_text() {
            let what = format!("{path:?} needs enable_tls: true");
            findings.errors.push(file.problem(what));
        }
    }
}

fn texts(list: &At<'_>) -> Vec<String> {
    let items = list.items().into_iter();
    items
        .map(|item| item.text())
        .filter(|text| !text.is_empty())
        .collect()
}

/// Read where processes are found; here only as far as it is a value. Who may be captured may be looked
/// at, and nobody else.
fn discovery(at: &At<'_>, permitted: &AccessSettings) -> Json {
    let mut tree = Node::map();
    let place = tree.entry("capture").entry("discovery");
    if let Some(node) = at.node().filter(|node| !node.is_null()) {
        *place = node.clone();
    }
    render::add_absent(&mut tree, |key| key.path.starts_with("capture.discovery."));
    let section = tree.entry("capture").entry("discovery");
    let mut section = render::json_of(at.path(), section);
    if let Some(section) = section.as_object_mut() {
        let access = json!({"allow": permitted.allow, "deny": permitted.deny});
        section.insert("access".to_owned(), access);
    }
    section
}

/// Templates and conditions are known only where they are used.
fn check_discovery(at: &At<'_>, section: &Json, findings: &mut Findings) {
    let read = serde_json::from_value(section.clone()).map_err(|error| error.to_string());
    let checked =
        read.and_then(|settings| Discovery::check(&settings).map_err(|error| error.to_string()));
    if let Err(what) = checked {
        findings.errors.push(at.problem(what));
    }
}
