//! Envoy's access logs and metrics (`protocols.md` T9, T10).

use std::sync::Arc;
use std::time::Instant;

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::envoy::config::core::v3::{Extension, Node};
use perigee_proto::envoy::data::accesslog::v3::{AccessLogCommon, HttpAccessLogEntry};
use perigee_proto::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use perigee_proto::envoy::service::accesslog::v3::stream_access_logs_message::{
    HttpAccessLogEntries, Identifier, LogEntries,
};
use perigee_proto::envoy::service::metrics::v3::{StreamMetricsMessage, stream_metrics_message};
use perigee_proto::io::prometheus::client::MetricFamily;
use perigee_protocols::adapter::{Loss, Options, Outbox, inbound};
use proptest::prelude::*;
use prost::Message;

use super::queue::{Call, cuts, sent, taken};

/// The Envoy of this name: its id, and behind it what else tells it from others.
fn node(name: &str) -> Node {
    Node {
        user_agent_name: "envoy".into(),
        extensions: vec![Extension::default(); 3],
        client_features: vec!["f".into()],
        ..lean(name)
    }
}

/// What is kept of it.
fn lean(name: &str) -> Node {
    let id = name.trim_end_matches(char::is_numeric);
    Node {
        id: id.into(),
        cluster: name[id.len()..].into(),
        ..Default::default()
    }
}

/// Entries of requests with these numbers, from an Envoy or from whoever it was before.
fn logs(id: Option<&str>, requests: &[u8]) -> StreamAccessLogsMessage {
    let log_entry = requests.iter().map(|request| HttpAccessLogEntry {
        common_properties: Some(AccessLogCommon {
            upstream_cluster: request.to_string(),
            ..Default::default()
        }),
        ..Default::default()
    });
    StreamAccessLogsMessage {
        identifier: id.map(|id| Identifier {
            node: Some(node(id)),
            log_name: "log".into(),
        }),
        log_entries: (!requests.is_empty()).then(|| {
            LogEntries::HttpLogs(HttpAccessLogEntries {
                log_entry: log_entry.collect(),
            })
        }),
    }
}

/// An OAP's method for proxies: the latest identifier of the call. An entry and whose it is.
fn access_logs_at_oap(call: &[Vec<u8>]) -> Vec<(Node, String)> {
    let mut identifier = Identifier::default();
    let mut found = Vec::new();
    for message in call {
        let message = StreamAccessLogsMessage::decode(&**message).unwrap();
        identifier = message.identifier.unwrap_or(identifier);
        if let Some(LogEntries::HttpLogs(logs)) = message.log_entries {
            let node = identifier.node.clone().unwrap_or_default();
            found.extend(logs.log_entry.into_iter().map(|entry| {
                let common = entry.common_properties.unwrap();
                (node.clone(), common.upstream_cluster)
            }));
        }
    }
    found
}

fn metrics(id: Option<&str>, names: &[u8]) -> StreamMetricsMessage {
    StreamMetricsMessage {
        identifier: id.map(|id| stream_metrics_message::Identifier {
            node: Some(node(id)),
        }),
        envoy_metrics: names
            .iter()
            .map(|name| MetricFamily {
                name: Some(name.to_string()),
                ..Default::default()
            })
            .collect(),
    }
}

/// The identifier of the call's first message, and no other.
fn metrics_at_oap(call: &[Vec<u8>]) -> Vec<(Node, String)> {
    let decode = |message: &Vec<u8>| StreamMetricsMessage::decode(&**message).unwrap();
    let Some(first) = call.first().map(decode) else {
        return Vec::new();
    };
    let node = first
        .identifier
        .unwrap_or_default()
        .node
        .unwrap_or_default();
    let families = call
        .iter()
        .map(decode)
        .flat_map(|message| message.envoy_metrics);
    families
        .map(|family| (node.clone(), family.name.unwrap()))
        .collect()
}

/// Whether a message says who it is from, and what is in it.
type Step = (Option<String>, Vec<u8>);

fn calls() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = (
        prop::option::weighted(0.3, "[xy]?[12]"),
        prop::collection::vec(any::<u8>(), 0..3),
    );
    prop::collection::vec(prop::collection::vec(step, 0..12), 1..4)
}

/// Whose everything is. What comes before anybody has said so is nobody's.
fn meant(calls: &[Vec<Step>]) -> Vec<(Node, String)> {
    let mut all = Vec::new();
    for call in calls {
        let mut latest = None;
        for (id, contents) in call {
            latest = id.as_deref().or(latest);
            let Some(id) = latest else { continue };
            all.extend(contents.iter().map(|one| (lean(id), one.to_string())));
        }
    }
    all
}

fn unattributed(call: &[Step]) -> usize {
    call.iter().take_while(|(id, _)| id.is_none()).count()
}

fn sorted(mut found: Vec<(Node, String)>) -> Vec<(String, String, Vec<u8>)> {
    found.sort_by_key(|(node, one)| (node.encode_to_vec(), one.clone()));
    let plain = found
        .into_iter()
        .map(|(node, one)| (node.id.clone(), one, node.encode_to_vec()));
    plain.collect()
}

fn queued<M: Message>(
    adapter: Adapter,
    calls: &[Vec<Step>],
    message: fn(Option<&str>, &[u8]) -> M,
) -> Vec<Call> {
    let message = |(id, contents): &Step| message(id.as_deref(), contents).encode_to_vec();
    let bytes = |call: &Vec<Step>| call.iter().map(message).collect::<Vec<_>>();
    calls
        .iter()
        .map(|call| taken(adapter, &bytes(call)))
        .collect()
}

proptest! {
    #[test]
    fn every_access_log_keeps_its_envoy_however_the_queue_cuts(calls in calls(), cuts in cuts()) {
        let adapter = Adapter::EnvoyAccessLogs;
        let queued = queued(adapter, &calls, logs);
        let upstream = cuts.upstream_calls(adapter, &queued);
        let found = upstream.iter().flat_map(|call| access_logs_at_oap(call)).collect();
        prop_assert_eq!(sorted(found), sorted(meant(&calls)));
        for (call, queued) in calls.iter().zip(&queued) {
            prop_assert_eq!(queued.lost() as usize, unattributed(call));
            prop_assert!(queued.losses.iter().all(|(loss, _)| *loss == Loss::Unattributed));
        }
    }

    #[test]
    fn all_metrics_keep_their_envoy_however_the_queue_cuts(calls in calls(), cuts in cuts()) {
        let adapter = Adapter::EnvoyMetrics;
        let upstream = cuts.upstream_calls(adapter, &queued(adapter, &calls, metrics));
        let found = upstream.iter().flat_map(|call| metrics_at_oap(call)).collect();
        prop_assert_eq!(sorted(found), sorted(meant(&calls)));
    }

    #[test]
    fn an_identifier_is_said_only_where_it_changes(calls in calls(), cuts in cuts()) {
        let adapter = Adapter::EnvoyAccessLogs;
        for call in cuts.upstream_calls(adapter, &queued(adapter, &calls, logs)) {
            let decoded = call.iter().map(|message| StreamAccessLogsMessage::decode(&**message).unwrap());
            let said: Vec<_> = decoded.map(|message| message.identifier).collect();
            prop_assert!(said[0].is_some());
            let said: Vec<_> = said.into_iter().flatten().collect();
            prop_assert!(said.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}

#[test]
fn metrics_go_to_one_node_by_the_id_of_the_envoy() {
    let bytes = [metrics(Some("x"), &[1]), metrics(None, &[2])].map(|one| one.encode_to_vec());
    let call = taken(Adapter::EnvoyMetrics, &bytes);
    assert_eq!(call.queued.len(), 2);
    for queued in &call.queued {
        assert_eq!(queued.lane.route.as_deref(), Some(&b"x"[..]));
    }
}

#[test]
fn an_identifier_in_two_parts_is_one() {
    let one = StreamAccessLogsMessage {
        identifier: Some(Identifier {
            node: Some(Node {
                id: "x".into(),
                ..Default::default()
            }),
            log_name: String::new(),
        }),
        log_entries: None,
    };
    let mut other = logs(Some("y"), &[7]);
    other
        .identifier
        .as_mut()
        .unwrap()
        .node
        .as_mut()
        .unwrap()
        .id
        .clear();
    // The entries first, then one part and the other.
    let both = [
        logs(None, &[6]).encode_to_vec(),
        one.encode_to_vec(),
        other.encode_to_vec(),
    ]
    .concat();
    for adapter in [Adapter::EnvoyAccessLogs, Adapter::EnvoyMetrics] {
        let call = taken(adapter, &[both.clone(), logs(None, &[8]).encode_to_vec()]);
        let found = access_logs_at_oap(&sent(adapter, &call.queued[1..]));
        assert_eq!(found, [(lean("x"), "8".to_owned())]);
        let found = access_logs_at_oap(&sent(adapter, &call.queued));
        assert_eq!(found.len(), 3);
    }
    let call = taken(Adapter::EnvoyMetrics, &[both]);
    assert_eq!(call.queued[0].lane.route.as_deref(), Some(&b"x"[..]));
}

#[test]
fn what_nobody_knows_stays() {
    let first = [
        logs(Some("x"), &[]).encode_to_vec(),
        b"\xba\x3e\x03new".to_vec(),
    ]
    .concat();
    // The identifier's number as a number, then something new.
    let second = b"\x08\x05\xba\x3e\x03new".to_vec();
    let call = taken(Adapter::EnvoyAccessLogs, &[first, second.clone()]);
    let sent = sent(Adapter::EnvoyAccessLogs, &call.queued);
    assert!(sent[0].ends_with(b"\xba\x3e\x03new"));
    assert_eq!(sent[1], second);
}

#[test]
fn what_follows_an_identifier_that_nobody_can_read_is_not_of_the_one_before() {
    let first = logs(Some("x"), &[1]).encode_to_vec();
    let broken = b"\x0a\x03\x0a\x05x".to_vec();
    let without = logs(None, &[2]).encode_to_vec();
    let call = taken(
        Adapter::EnvoyAccessLogs,
        &[first.clone(), broken, without.clone()],
    );
    assert_eq!(call.losses, [(Loss::Malformed, 1), (Loss::Unattributed, 1)]);
    assert_eq!(call.queued.len(), 1);

    // One that says nothing about who it is from changes nothing.
    let call = taken(
        Adapter::EnvoyAccessLogs,
        &[first, b"\x12\x05x".to_vec(), without],
    );
    assert_eq!(call.losses, [(Loss::Malformed, 1)]);
    assert_eq!(
        access_logs_at_oap(&sent(Adapter::EnvoyAccessLogs, &call.queued)).len(),
        2
    );
}

#[test]
fn a_huge_identifier_is_not_repeated() {
    let mut huge = logs(Some("x"), &[1]);
    huge.identifier.as_mut().unwrap().log_name = "l".repeat(300 * 1024);
    let bytes = [logs(Some("y"), &[1]), huge, logs(None, &[2])].map(|one| one.encode_to_vec());
    let call = taken(Adapter::EnvoyAccessLogs, &bytes);
    assert_eq!(call.losses, [(Loss::Oversized, 1), (Loss::Unattributed, 1)]);
}

#[test]
fn what_a_run_of_small_messages_grows_to_is_passed_on_in_between() {
    let identifier = Identifier {
        log_name: "l".repeat(40 * 1024),
        ..Default::default()
    };
    let first = StreamAccessLogsMessage {
        identifier: Some(identifier),
        log_entries: None,
    };
    let options = Arc::new(Options::default());
    let mut adapter = inbound(Adapter::EnvoyAccessLogs, &options).unwrap();
    let mut out = Outbox::default();
    adapter.take(&first.encode_to_vec(), Instant::now(), &mut out);
    assert!(!out.is_full());
    adapter.take(b"", Instant::now(), &mut out);
    assert!(out.is_full());
    out.clear();
    assert!(!out.is_full());
}
