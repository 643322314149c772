//! T9, T10: who an Envoy is stands in the first message only, and is most of it.

use perigee_proto::envoy::config::core::v3 as core;
use perigee_proto::envoy::data::accesslog::v3 as data;
use perigee_proto::envoy::service::accesslog::v3 as als;
use perigee_proto::envoy::service::metrics::v3 as metrics;
use perigee_proto::io::prometheus::client as prometheus;
use prost::Message;

use super::{names, send_each};
use crate::gateway::{Gateway, pipe};

const ALS: &str = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs";
const ALS_V2: &str = "/envoy.service.accesslog.v2.AccessLogService/StreamAccessLogs";
const PROXIED: &str = "/satellite.envoy.accesslog.v3.SatelliteAccessLogService/StreamAccessLogs";
const METRICS: &str = "/envoy.service.metrics.v3.MetricsService/StreamMetrics";

fn node(id: &str) -> core::Node {
    let extension = |number| core::Extension {
        name: format!("envoy.filters.http.extension-number-{number}"),
        category: "envoy.filters.http".repeat(4),
        ..Default::default()
    };
    core::Node {
        id: id.to_owned(),
        cluster: "mesh".to_owned(),
        user_agent_name: "envoy".to_owned(),
        extensions: (0..516).map(extension).collect(),
        client_features: vec!["envoy.lb.does_not_support_overprovisioning".to_owned()],
        ..Default::default()
    }
}

fn access_log(id: Option<&str>, path: &str) -> Vec<u8> {
    let request = data::HttpRequestProperties {
        path: path.to_owned(),
        ..Default::default()
    };
    let entry = data::HttpAccessLogEntry {
        request: Some(request),
        ..Default::default()
    };
    let logs = als::stream_access_logs_message::HttpAccessLogEntries {
        log_entry: vec![entry],
    };
    let message = als::StreamAccessLogsMessage {
        identifier: id.map(|id| als::stream_access_logs_message::Identifier {
            node: Some(node(id)),
            log_name: "als".to_owned(),
        }),
        log_entries: Some(als::stream_access_logs_message::LogEntries::HttpLogs(logs)),
    };
    message.encode_to_vec()
}

#[tokio::test]
async fn t09_three_envoys_at_once_keep_their_entries() {
    const EACH: usize = 200;
    let gateway = Gateway::start_with(3, |settings| {
        pipe(settings, "grpc-envoy-als-v3-receiver")
            .sender
            .max_buffer_size = 7;
    })
    .await;
    let client = gateway.client().await;
    let ids = ["egress", "ingress", "sidecar"];
    let mut calls = Vec::new();
    for id in ids {
        let mut call = client.open(ALS).await;
        let first = access_log(Some(id), &format!("/{id}0"));
        send_each(&mut call, [first]).await;
        calls.push(call);
    }
    for number in 1..EACH {
        for (id, call) in ids.into_iter().zip(&mut calls) {
            let message = access_log(None, &format!("/{id}{number}"));
            send_each(call, [message]).await;
        }
    }
    let filed = gateway.wait_for_entries(PROXIED, 3 * EACH).await;
    for id in ids {
        let mut filed = filed[&format!("{id}/mesh")].clone();
        filed.sort_unstable();
        let mut expected = names(0..EACH, &format!("/{id}"));
        expected.sort_unstable();
        assert_eq!(filed, expected);
    }
    gateway.assert_nothing_unfiled();
    let bytes: u64 = gateway
        .sinks
        .iter()
        .map(|sink| sink.snapshot().methods[PROXIED].bytes)
        .sum();
    // An identifier as an Envoy sends it is 60 KiB, and there are at least 600 / 7 calls.
    assert!(bytes < 200_000, "{bytes} bytes for 600 entries");
}

#[tokio::test]
async fn t09_an_identity_is_repeated_only_where_it_changes() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(ALS).await;
    let messages = (0..100).map(|number| {
        let id = (number == 0).then_some("sidecar");
        access_log(id, &format!("/{number}"))
    });
    let plain: usize = (0..100)
        .map(|number| access_log(None, &format!("/{number}")).len())
        .sum();
    send_each(&mut call, messages).await;
    let filed = gateway.wait_for_entries(PROXIED, 100).await;
    assert_eq!(filed["sidecar/mesh"].len(), 100);
    let method = gateway.sink().snapshot().methods[PROXIED].clone();
    let identities = usize::try_from(method.bytes).unwrap() - plain;
    let calls = usize::try_from(method.calls).unwrap();
    // Id, cluster and name of the log, and the lengths around them.
    assert!(
        identities <= calls * 40,
        "{identities} bytes in {calls} calls"
    );
}

#[tokio::test]
async fn t09_the_old_service_leaves_by_the_one_for_proxies_too() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(ALS_V2).await;
    let messages = [access_log(Some("old"), "/a"), access_log(None, "/b")];
    send_each(&mut call, messages).await;
    call.half_close();
    call.answer().await.ok();
    let filed = gateway.wait_for_entries(PROXIED, 2).await;
    assert_eq!(filed["old/mesh"], ["/a", "/b"]);
}

/// Metrics of a node that says who it is, or not.
fn snapshot(node: Option<core::Node>, value: f64) -> Vec<u8> {
    let counter = prometheus::Metric {
        counter: Some(prometheus::Counter { value: Some(value) }),
        ..Default::default()
    };
    let family = prometheus::MetricFamily {
        name: Some("requests".to_owned()),
        r#type: Some(prometheus::MetricType::Counter.into()),
        metric: vec![counter],
        ..Default::default()
    };
    let message = metrics::StreamMetricsMessage {
        identifier: node
            .map(|node| metrics::stream_metrics_message::Identifier { node: Some(node) }),
        envoy_metrics: vec![family],
    };
    message.encode_to_vec()
}

#[tokio::test]
async fn t10_each_envoys_metrics_have_calls_of_their_own_and_one_node() {
    const ROUNDS: u32 = 40;
    let gateway = Gateway::start(3).await;
    let client = gateway.client().await;
    let ids = ["a", "b", "c", "d", "e", "f"];
    let mut calls = Vec::new();
    for id in ids {
        let mut call = client.open(METRICS).await;
        send_each(&mut call, [snapshot(Some(node(id)), 0.0)]).await;
        calls.push(call);
    }
    for round in 1..ROUNDS {
        for call in &mut calls {
            send_each(call, [snapshot(None, round.into())]).await;
        }
    }
    let all = ids.len() * usize::try_from(ROUNDS).unwrap();
    let filed = gateway.wait_for_entries(METRICS, all).await;
    for id in ids {
        let name = format!("{id}/mesh");
        let expected: Vec<String> = (0..ROUNDS)
            .map(|round| format!("requests={round}"))
            .collect();
        assert_eq!(filed[&name], expected, "in order, which counters need");
        let nodes = gateway
            .sinks
            .iter()
            .filter(|sink| sink.snapshot().services.contains_key(&name));
        assert_eq!(nodes.count(), 1, "{name}");
    }
    gateway.assert_nothing_unfiled();
}

/// An OAP reads the identifier of a call's first message only.
#[tokio::test]
async fn t10_envoys_of_one_id_have_calls_of_their_own_too() {
    const ROUNDS: u32 = 20;
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let clusters = ["east", "west"];
    let mut calls = Vec::new();
    for cluster in clusters {
        let node = core::Node {
            cluster: cluster.to_owned(),
            ..node("gate")
        };
        let mut call = client.open(METRICS).await;
        send_each(&mut call, [snapshot(Some(node), 0.0)]).await;
        calls.push(call);
    }
    for round in 1..ROUNDS {
        for call in &mut calls {
            send_each(call, [snapshot(None, round.into())]).await;
        }
    }
    let all = clusters.len() * usize::try_from(ROUNDS).unwrap();
    let filed = gateway.wait_for_entries(METRICS, all).await;
    let expected: Vec<_> = (0..ROUNDS)
        .map(|round| format!("requests={round}"))
        .collect();
    for cluster in clusters {
        assert_eq!(filed[&format!("gate/{cluster}")], expected);
    }
}
