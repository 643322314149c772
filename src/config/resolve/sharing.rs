//! The one client and the one server that pipes share.

use super::access;
use crate::config::at::At;
use crate::config::check::{Findings, nearest};
use crate::config::settings::{Balance, Client, Server, ServerAddr};
use crate::config::tree::Value;
use crate::config::units;

const NOT_BUILT: &[&str] = &["kafka-client", "http-server"];

/// The client towards the OAP.
pub(super) fn client(clients: &At<'_>, findings: &mut Findings) -> Option<Client> {
    let at = the_one(clients, "grpc-client", findings)?;
    if at.child("finder_type").choice() == "kubernetes" {
        findings.errors.push(at.child("finder_type").problem(
            "\"kubernetes\" is not built yet; allowed is static, with a DNS name in server_addr",
        ));
    }
    let balance = match at.child("balance").choice().as_str() {
        "least_in_flight" => Balance::LeastInFlight,
        _ => Balance::RoundRobin,
    };
    Some(Client {
        servers: servers(&at.child("server_addr"), findings),
        tls: access::client_tls(&at, findings),
        check_period: at.child("check_period").seconds(),
        authentication: access::token(&at.child("authentication"), findings),
        unary_timeout: at.child("timeout.unary").duration(),
        stream_timeout: at.child("timeout.stream").duration(),
        balance,
        max_in_flight: at.child("max_in_flight").whole()?,
    })
}

/// The server that agents connect to.
pub(super) fn server(servers: &At<'_>, findings: &mut Findings) -> Option<Server> {
    let at = the_one(servers, "grpc-server", findings)?;
    let tls = access::server_tls(&at, findings);
    let authentication = access::token_check(&at, findings);
    Some(Server {
        address: at
            .child("address")
            .read(|scalar| units::listen_address(&scalar.text))?,
        max_recv_msg_size: usize::try_from(at.child("max_recv_msg_size").bytes()?).ok()?,
        max_concurrent_streams: at.child("max_concurrent_streams").whole()?,
        tls,
        authentication,
        max_connections: at.child("accept_limit.connection_count").whole()?,
        max_cpu_percent: at.child("accept_limit.cpu_utilization").whole()?,
        max_connections_per_source: at.child("accept_limit.connections_per_source").whole(),
        forward_unknown_methods: at.child("forward_unknown_methods").flag(),
    })
}

/// The entry of the one plug-in that there is for a place.
fn the_one<'a>(list: &At<'a>, plugin: &str, findings: &mut Findings) -> Option<At<'a>> {
    let mut found = None;
    for entry in list.items() {
        let name = entry.child("plugin_name");
        match name.text() {
            text if text == plugin && found.is_none() => found = Some(entry),
            text if text == plugin => {
                let what = format!("{plugin:?} stands twice; one is allowed");
                findings.errors.push(name.problem(what));
            }
            text if NOT_BUILT.contains(&text.as_str()) => {
                let what = format!("{text:?} is not built yet; allowed is {plugin}");
                findings.errors.push(name.problem(what));
            }
            text => findings
                .errors
                .push(name.problem(format!("{text:?} is not {plugin}"))),
        }
    }
    if found.is_none() && list.items().is_empty() {
        let what = format!("nothing is not a list with one entry of plugin_name: {plugin}");
        findings.errors.push(list.problem(what));
    }
    found
}

/// The names that a pipe may use, for `server_name` and `client_name`.
pub(super) fn names(list: &At<'_>) -> Vec<String> {
    let name = |entry: At<'_>| entry.child("plugin_name").text();
    list.items().into_iter().map(name).collect()
}

/// Reports a reference to something that `sharing` does not have.
pub(super) fn check_reference(at: &At<'_>, known: &[String], findings: &mut Findings) {
    let name = at.text();
    if known.contains(&name) {
        return;
    }
    let hint = nearest(&name, known.iter().map(String::as_str))
        .map_or_else(String::new, |known| format!("; did you mean {known}?"));
    let what = format!("{name:?} is not a plugin_name under sharing{hint}");
    findings.errors.push(at.problem(what));
}

fn servers(at: &At<'_>, findings: &mut Findings) -> Vec<ServerAddr> {
    if !matches!(at.node().map(|node| &node.value), Some(Value::List(_))) {
        let list = |text: &str| text.split(',').map(units::server_address).collect();
        return at.read(|scalar| list(&scalar.text)).unwrap_or_default();
    }
    if at.items().is_empty() {
        findings
            .errors
            .push(at.problem("an empty list is not a list of address and weight"));
    }
    let entries = at.items().into_iter();
    entries
        .filter_map(|entry| weighted(&entry, findings))
        .collect()
}

fn weighted(entry: &At<'_>, findings: &mut Findings) -> Option<ServerAddr> {
    if let Some(scalar) = entry.node().and_then(|node| node.scalar()) {
        return units::server_address(&scalar.text);
    }
    let address = entry.child("address");
    if !address.is_present() {
        let what = "nothing is not host:port (port 1 to 65535, IPv6 in brackets)";
        findings.errors.push(address.problem(what));
    }
    let server = address.read(|scalar| units::server_address(&scalar.text))?;
    let weight = entry.child("weight").whole()?;
    Some(ServerAddr { weight, ..server })
}
