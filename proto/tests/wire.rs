//! Bytes written by hand, where a definition is easily got wrong.

use std::fmt::Debug;

use perigee_proto::envoy::config::core::v3::{Node, node};
use perigee_proto::envoy::service::accesslog::v3::StreamAccessLogsMessage;
use perigee_proto::io::prometheus::client::{Gauge, MetricFamily, MetricType};
use perigee_proto::skywalking::v3;
use perigee_proto::skywalking::{v3::meter_data, v10, v10::pprof_data};
use prost::Message;

#[expect(clippy::unwrap_used, reason = "a test may end here")]
fn assert_wire<M: Message + Default + PartialEq + Debug>(message: &M, bytes: &[u8]) {
    assert_eq!(message.encode_to_vec(), bytes);
    assert_eq!(&M::decode(bytes).unwrap(), message);
}

#[test]
fn resource_type_of_a_browser_resource_is_field_8_and_its_protocol_field_9() {
    let message = v3::BrowserResourcePerfData {
        service: "s".into(),
        size: 1,
        resource_type: "css".into(),
        protocol: "h2".into(),
        ..Default::default()
    };
    assert_wire(
        &message,
        b"\x0a\x01s\x38\x01\x42\x03css\x4a\x02h2".as_slice(),
    );
}

#[test]
fn cpu_usage_is_field_2() {
    let message = v3::Cpu { usage_percent: 1.0 };
    assert_wire(&message, b"\x11\0\0\0\0\0\0\xf0\x3f");
}

#[test]
fn parameters_of_an_event_are_a_map() {
    let message = v3::Event {
        uuid: "u".into(),
        r#type: v3::Type::Error.into(),
        parameters: [("k".to_owned(), "v".to_owned())].into(),
        layer: "GENERAL".into(),
        ..Default::default()
    };
    assert_wire(
        &message,
        b"\x0a\x01u\x20\x01\x32\x06\x0a\x01k\x12\x01v\x4a\x07GENERAL",
    );
}

#[test]
fn a_meter_is_a_single_value_or_a_histogram() {
    let message = v3::MeterData {
        service: "s".into(),
        metric: Some(meter_data::Metric::SingleValue(v3::MeterSingleValue {
            name: "m".into(),
            ..Default::default()
        })),
        ..Default::default()
    };
    assert_wire(&message, b"\x0a\x03\x0a\x01m\x1a\x01s");

    let histogram = v3::MeterData::decode(b"\x12\x03\x0a\x01h".as_slice()).unwrap();
    assert!(matches!(
        histogram.metric,
        Some(meter_data::Metric::Histogram(_))
    ));
}

#[test]
fn an_empty_chunk_of_a_profile_is_still_content() {
    let message = v10::PprofData {
        metadata: None,
        result: Some(pprof_data::Result::Content(Vec::new())),
    };
    assert_wire(&message, b"\x1a\0");
}

#[test]
fn a_kernel_log_knows_its_operation_by_field_number() {
    let message = v3::AccessLogKernelLog::decode(b"\x2a\x02\x18\x07".as_slice()).unwrap();
    let Some(v3::access_log_kernel_log::Operation::Write(write)) = message.operation else {
        panic!("field 5 is a write, got {message:?}");
    };
    assert_eq!(write.syscall(), v3::AccessLogKernelWriteSyscall::SendFile64);
}

#[test]
fn a_span_layer_from_the_future_survives() {
    let bytes = b"\x48\x63";
    let span = v3::SpanObject::decode(bytes.as_slice()).unwrap();
    assert_eq!(span.span_layer, 99);
    assert_eq!(span.encode_to_vec(), bytes);
}

#[test]
fn an_envoy_node_gives_its_version_as_text_or_as_numbers() {
    let message = Node {
        id: "n".into(),
        user_agent_version_type: Some(node::UserAgentVersionType::UserAgentVersion("1".into())),
        ..Default::default()
    };
    assert_wire(&message, b"\x0a\x01n\x3a\x011");
}

#[test]
fn an_access_log_message_needs_no_identifier() {
    let message = StreamAccessLogsMessage::decode(b"\x12\x02\x0a\0".as_slice()).unwrap();
    assert_eq!(message.identifier, None);
    assert!(message.log_entries.is_some());
}

#[test]
fn a_prometheus_zero_stands_on_the_wire() {
    assert_wire(&Gauge { value: Some(0.0) }, b"\x09\0\0\0\0\0\0\0\0");
    let family = MetricFamily {
        r#type: Some(MetricType::Counter.into()),
        ..Default::default()
    };
    assert_wire(&family, b"\x18\0");
}
