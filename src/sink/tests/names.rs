//! Under which names messages are filed.

use perigee_proto::envoy::config::core::v3::Node;
use perigee_proto::envoy::service::accesslog::v3::{
    StreamAccessLogsMessage, stream_access_logs_message::Identifier,
};
use perigee_proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use perigee_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value::Value};
use perigee_proto::opentelemetry::proto::metrics::v1::ResourceMetrics;
use perigee_proto::opentelemetry::proto::resource::v1::Resource;

use super::*;

async fn filed(path: &'static str, messages: Vec<Bytes>) -> Vec<(String, String)> {
    let sink = start();
    Client::of(&sink).await.call(path, messages).await.unwrap();
    let ids = sink.ids(path);
    ids.into_iter()
        .map(|id| (id.service, id.instance))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(service, instance): &(&str, &str)| ((*service).into(), (*instance).into());
    expected.iter().map(owned).collect()
}

#[tokio::test]
async fn logs_are_filed_under_the_first_service_of_their_stream() {
    let log = |service: &str, instance: &str| {
        encoded(&sw::LogData {
            service: service.to_owned(),
            service_instance: instance.to_owned(),
            ..Default::default()
        })
    };
    let messages = vec![log("", "0"), log("a", "1"), log("b", "2"), log("", "")];
    let names = filed("/skywalking.v3.LogReportService/collect", messages).await;
    assert_eq!(
        names,
        pairs(&[("", "0"), ("a", "1"), ("a", "2"), ("a", "")])
    );
}

#[tokio::test]
async fn meters_are_named_by_the_latest_of_a_stream_or_the_first_of_a_batch() {
    let meter = |service: &str| sw::MeterData {
        service: service.to_owned(),
        ..Default::default()
    };
    let messages = [meter("a"), meter(""), meter("b")];
    let names = filed(
        "/skywalking.v3.MeterReportService/collect",
        messages.iter().map(encoded).collect(),
    )
    .await;
    assert_eq!(names, pairs(&[("a", ""), ("a", ""), ("b", "")]));
    let batch = |meters: &[sw::MeterData]| {
        encoded(&sw::MeterDataCollection {
            meter_data: meters.to_vec(),
        })
    };
    let names = filed(
        "/skywalking.v3.MeterReportService/collectBatch",
        vec![batch(&messages[..2]), batch(&messages[1..2])],
    )
    .await;
    assert_eq!(names, pairs(&[("a", ""), ("", "")]));
}

#[tokio::test]
async fn access_logs_belong_to_the_first_node_except_on_the_proxies_variant() {
    let log = |node: Option<&str>| {
        encoded(&StreamAccessLogsMessage {
            identifier: node.map(|id| Identifier {
                node: Some(Node {
                    id: id.to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        })
    };
    let messages = vec![log(Some("a")), log(None), log(Some("b")), log(None)];
    for path in [
        "/envoy.service.accesslog.v2.AccessLogService/StreamAccessLogs",
        "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
    ] {
        let names = filed(path, messages.clone()).await;
        assert_eq!(names, pairs(&[("a", ""); 4]), "{path}");
    }
    let names = filed(
        "/satellite.envoy.accesslog.v3.SatelliteAccessLogService/StreamAccessLogs",
        messages,
    )
    .await;
    assert_eq!(names, pairs(&[("a", ""), ("a", ""), ("b", ""), ("b", "")]));
}

#[tokio::test]
async fn opentelemetry_resources_name_themselves() {
    let attribute = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![
                    attribute("service.instance.id", "i"),
                    attribute("service.name", "s"),
                ],
                ..Default::default()
            }),
            ..Default::default()
        }],
    };
    let path = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    assert_eq!(
        filed(path, vec![encoded(&request)]).await,
        pairs(&[("s", "i")])
    );
}

#[tokio::test]
async fn a_collection_is_one_message_and_an_id_for_each_segment() {
    let sink = start();
    let path = "/skywalking.v3.TraceSegmentReportService/collectInSync";
    let collection = sw::SegmentCollection {
        segments: vec![segment_of("1", "a"), segment_of("2", "b")],
    };
    let mut client = Client::of(&sink).await;
    client.call(path, vec![encoded(&collection)]).await.unwrap();
    let ids: Vec<_> = sink
        .ids(path)
        .into_iter()
        .map(|id| (id.id, id.service))
        .collect();
    assert_eq!(ids, pairs(&[("1", "a"), ("2", "b")]));
    assert_eq!(sink.snapshot().total_messages, 1);
}
