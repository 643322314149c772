//! What is odd about the OAP nodes.

use std::net::{IpAddr, SocketAddr};

use crate::config::at::At;
use crate::config::check::Findings;
use crate::config::settings::ServerAddr;

/// Warns of the gateway's own address and of nodes that stand twice.
pub(super) fn check(
    clients: &At<'_>,
    nodes: &[ServerAddr],
    listening: SocketAddr,
    findings: &mut Findings,
) {
    let mut entries = clients.items().into_iter();
    let place = entries.find(|entry| entry.child("plugin_name").text() == "grpc-client");
    let Some(at) = place.map(|entry| entry.child("server_addr")) else {
        return;
    };
    // Satellite's stock file has our own address for as long as nobody has said where the OAP is;
    // it is a valid file, and the start tells.
    let scalar = at.node().and_then(|node| node.scalar());
    let is_said = at.is_present()
        && scalar.is_none_or(|scalar| scalar.variable.as_ref().is_none_or(|name| name.set));
    for (index, node) in nodes.iter().enumerate() {
        let ServerAddr { host, port, .. } = node;
        if is_said && is_ours(node, listening) {
            let what = format!("{host}:{port} is where this gateway listens; it is not used");
            findings.warnings.push(at.problem(what));
        }
        let is_same = |other: &ServerAddr| other.host == *host && other.port == *port;
        if nodes[..index].iter().filter(|other| is_same(other)).count() == 1 {
            let what = format!("{host}:{port} stands more than once");
            findings.warnings.push(at.problem(what));
        }
    }
}

fn is_ours(node: &ServerAddr, listening: SocketAddr) -> bool {
    let Ok(ip) = node
        .host
        .replace("localhost", "127.0.0.1")
        .parse::<IpAddr>()
    else {
        return false;
    };
    let same_host = ip == listening.ip() || (listening.ip().is_unspecified() && ip.is_loopback());
    same_host && node.port == listening.port()
}
