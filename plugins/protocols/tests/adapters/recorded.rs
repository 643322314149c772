//! What real clients have sent. See `tests/recorded/README.md`.

use std::path::Path;
use std::time::Duration;

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use perigee_proto::envoy::service::metrics::v3::StreamMetricsMessage;
use perigee_proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use perigee_proto::skywalking::v3::{LogData, MeterData, MeterDataCollection};
use prost::Message;

use super::queue::{Call, sent, split, taken};

fn recorded(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let framed = std::fs::read(path.join(name)).unwrap();
    split(&framed)
        .map(|message| message[5..].to_vec())
        .collect()
}

fn decoded<M: Message + Default>(messages: &[Vec<u8>]) -> Vec<M> {
    messages
        .iter()
        .map(|message| M::decode(&**message).unwrap())
        .collect()
}

#[test]
fn an_envoy_s_access_logs_each_carry_a_short_identifier() {
    let messages = recorded("envoy-http-access-logs");
    assert!(messages[0].len() > 60_000 && messages[1].len() < 1000);
    let call = taken(Adapter::EnvoyAccessLogs, &messages);
    assert_eq!((call.queued.len(), call.lost()), (3, 0));

    let before: Vec<StreamAccessLogsMessage> = decoded(&messages);
    for (queued, before) in call.queued.iter().zip(before) {
        assert!(queued.framed.len() < 1000, "{}", queued.framed.len());
        // Each of them alone, as the first of a call.
        let alone = sent(Adapter::EnvoyAccessLogs, std::slice::from_ref(queued));
        let alone = StreamAccessLogsMessage::decode(&*alone[0]).unwrap();
        let identifier = alone.identifier.unwrap();
        let node = identifier.node.unwrap();
        assert_eq!(
            (&*node.id, &*node.cluster, &*identifier.log_name),
            ("edge-1", "edge", "http")
        );
        assert!(node.metadata.unwrap().fields.contains_key("NAMESPACE"));
        assert!(node.extensions.is_empty() && node.user_agent_name.is_empty());
        assert_eq!(alone.log_entries, before.log_entries);
    }
    let together = sent(Adapter::EnvoyAccessLogs, &call.queued);
    assert_eq!(together[1..], messages[1..], "as Envoy sent them");
}

#[test]
fn two_logs_of_an_envoy_are_told_apart_in_one_call() {
    let [http, tcp] = ["envoy-http-access-logs", "envoy-tcp-access-logs"]
        .map(|name| taken(Adapter::EnvoyAccessLogs, &recorded(name)));
    let pairs = http.queued.iter().zip(&tcp.queued);
    let mixed: Vec<_> = pairs.flat_map(|(http, tcp)| [http, tcp]).cloned().collect();
    let sent: Vec<StreamAccessLogsMessage> = decoded(&sent(Adapter::EnvoyAccessLogs, &mixed));
    let names: Vec<_> = sent
        .into_iter()
        .map(|one| one.identifier.unwrap().log_name)
        .collect();
    assert_eq!(names, ["http", "tcp", "http", "tcp", "http", "tcp"]);
}

#[test]
fn an_envoy_s_metrics_go_to_one_node_and_each_says_whose_they_are() {
    let messages = recorded("envoy-metrics");
    let call = taken(Adapter::EnvoyMetrics, &messages);
    assert_eq!(call.queued.len(), 3);
    let before: Vec<StreamMetricsMessage> = decoded(&messages);
    for (queued, before) in call.queued.iter().zip(before) {
        assert_eq!(queued.lane.route.as_deref(), Some(&b"edge-1"[..]));
        let alone = sent(Adapter::EnvoyMetrics, std::slice::from_ref(queued));
        let message = decoded::<StreamMetricsMessage>(&alone).remove(0);
        assert_eq!(message.identifier.unwrap().node.unwrap().id, "edge-1");
        assert!(!message.envoy_metrics.is_empty());
        assert_eq!(message.envoy_metrics, before.envoy_metrics);
    }
    assert_eq!(
        sent(Adapter::EnvoyMetrics, &call.queued)[1..],
        messages[1..]
    );
}

#[test]
fn a_python_agent_s_reports_stay_whole_in_a_call_that_never_ends() {
    let messages = recorded("python-meters");
    let meters: Vec<MeterData> = decoded(&messages);
    let times: Vec<i64> = meters[..12].iter().map(|meter| meter.timestamp).collect();
    assert!(
        times.iter().any(|time| *time != times[0]),
        "each has its own time"
    );

    // At once, so that only what they say can tell the reports apart.
    let mut call = Call::new(Adapter::Meters);
    messages.iter().for_each(|message| call.take(message));
    call.pass(Duration::from_secs(1));
    assert_eq!((call.queued.len(), call.stood_for), (3, 36));
    for (queued, report) in call.queued.iter().zip(meters.chunks(12)) {
        let set = MeterDataCollection::decode(queued.message())
            .unwrap()
            .meter_data;
        let values = |meters: &[MeterData]| -> Vec<_> {
            meters.iter().map(|meter| meter.metric.clone()).collect()
        };
        assert_eq!(values(&set), values(report));
        assert!(
            set.iter()
                .all(|meter| meter.service == "shop" && meter.service_instance == "i-1")
        );
        assert_eq!(set[11].timestamp, report[11].timestamp);
    }
}

#[test]
fn a_python_agent_s_logs_go_on_as_they_came() {
    let messages = recorded("python-logs");
    let logs: Vec<LogData> = decoded(&messages);
    assert!(logs.iter().all(|log| log.service == "shop"));
    let call = taken(Adapter::Logs, &messages);
    let queued: Vec<_> = call
        .queued
        .iter()
        .map(|queued| queued.message().to_vec())
        .collect();
    assert_eq!(queued, messages);
    assert!(
        call.queued
            .iter()
            .all(|one| one.lane.group.as_deref() == Some(b"shop"))
    );
}

#[test]
fn a_request_of_opentelemetry_has_its_resource_s_key() {
    let messages = recorded("otel-python-metrics");
    let request = ExportMetricsServiceRequest::decode(&*messages[0]).unwrap();
    assert_eq!(request.resource_metrics.len(), 1);
    let lane = |labels: &[&str]| {
        let mut call = Call::with_labels(Adapter::OtlpMetrics, labels);
        call.take(&messages[0]);
        assert_eq!(call.queued[0].message(), messages[0]);
        call.queued[0].lane.route.clone()
    };
    let key = lane(&["net.host.name", "host.name", "job", "service.name"]).unwrap();
    let has = |text: &[u8]| key.windows(text.len()).any(|part| part == text);
    assert!(has(b"box") && has(b"shop"), "host.name and service.name");
    assert_eq!(lane(&["job"]), None);
}
