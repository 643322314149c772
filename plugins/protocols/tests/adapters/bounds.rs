//! What an adapter keeps for a call, and makes of a message, whatever the client sends.

use std::time::Duration;

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use perigee_proto::opentelemetry::proto::common::v1 as common;
use perigee_proto::opentelemetry::proto::metrics::v1::ResourceMetrics;
use perigee_proto::opentelemetry::proto::resource::v1::Resource;
use perigee_proto::skywalking::v3 as sw;
use perigee_protocols::adapter::Loss;
use prost::Message;

use super::queue::Call;

const MIB: usize = 1 << 20;

fn chunk(task: &str, is_last: bool) -> Vec<u8> {
    let data = sw::GoProfileData {
        task_id: task.to_owned(),
        payload: b"some of it".to_vec(),
        is_last,
    };
    data.encode_to_vec()
}

#[test]
fn the_name_of_a_task_that_was_given_up_is_not_held_for_ever() {
    let mut call = Call::new(Adapter::GoProfiles);
    for number in 0..4 {
        call.take(&chunk(&format!("{number}{}", "x".repeat(33 * MIB)), false));
    }
    call.pass(Duration::from_secs(24 * 3600));
    assert_eq!(call.held(), 0);
    assert_eq!(call.losses, [(Loss::Oversized, 1); 4]);
}

#[test]
fn a_task_that_had_to_make_room_does_not_go_on_without_its_beginning() {
    let mut call = Call::new(Adapter::GoProfiles);
    for number in 0..17 {
        call.take(&chunk(&format!("t{number}"), false));
    }
    call.take(&chunk("t0", true));
    assert_eq!(call.queued.len(), 0);
    call.take(&chunk("t0", true));
    assert_eq!(call.queued.len(), 1, "another task of the same name");
}

#[test]
fn where_there_is_no_room_a_profile_is_given_up_whole_and_a_set_goes_on() {
    let mut call = Call::new(Adapter::GoProfiles);
    call.take(&chunk("t", false));
    call.release();
    call.take(&chunk("t", true));
    assert_eq!(call.losses, [(Loss::NoRoom, 1), (Loss::NoRoom, 1)]);
    assert_eq!((call.queued.len(), call.held()), (0, 0));

    let mut call = Call::new(Adapter::Meters);
    let meter = sw::MeterData {
        service: "s".to_owned(),
        ..Default::default()
    };
    call.take(&meter.encode_to_vec());
    assert!(call.held() > 0);
    call.release();
    assert_eq!((call.queued.len(), call.held()), (1, 0));
}

#[test]
fn a_long_key_is_kept_as_its_hash() {
    let batch = |service: &str| {
        let meter = sw::MeterData {
            service: service.to_owned(),
            ..Default::default()
        };
        let batch = sw::MeterDataCollection {
            meter_data: vec![meter],
        };
        batch.encode_to_vec()
    };
    let mut call = Call::new(Adapter::Keyed(&[&[1, 3], &[1, 4]]));
    for service in ["x".repeat(MIB), "x".repeat(MIB), "x".repeat(MIB + 1)] {
        call.take(&batch(&service));
    }
    let keys: Vec<_> = call
        .queued
        .iter()
        .map(|one| one.lane.route.clone())
        .collect();
    assert_eq!(keys[0].as_ref().map(|key| key.len()), Some(16));
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
}

#[test]
fn a_request_of_very_many_keys_makes_not_so_many_calls() {
    let resource = |number: usize| ResourceMetrics {
        resource: Some(Resource {
            attributes: vec![common::KeyValue {
                key: "job".to_owned(),
                value: Some(common::AnyValue {
                    value: Some(common::any_value::Value::StringValue(number.to_string())),
                }),
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: (0..5000).map(resource).collect(),
    };
    let mut call = Call::with_labels(Adapter::OtlpMetrics, &["job"]);
    call.take(&request.encode_to_vec());
    assert_eq!(call.queued.len(), 1025);
    let all = call.queued.iter().map(|one| {
        let part = ExportMetricsServiceRequest::decode(one.message()).unwrap();
        part.resource_metrics.len()
    });
    assert_eq!(all.sum::<usize>(), 5000);
    let keyless = call.queued.iter().filter(|one| one.lane.route.is_none());
    assert_eq!(keyless.count(), 1);
}

#[test]
fn what_a_silent_call_inherits_is_charged() {
    let mut call = Call::new(Adapter::EbpfAccessLogs);
    let message = sw::EbpfAccessLogMessage {
        node: Some(sw::EbpfAccessLogNodeInfo {
            name: "n".repeat(40_000),
            ..Default::default()
        }),
        connection: Some(sw::AccessLogConnection::default()),
        ..Default::default()
    };
    call.take(&message.encode_to_vec());
    assert!(
        call.held() > 2 * 40_000,
        "the context, and what its lane is known by"
    );
    call.release();
    assert_eq!(call.held(), 0);
    call.take(b"");
    assert_eq!(call.losses, [(Loss::Unattributed, 1)]);
}
