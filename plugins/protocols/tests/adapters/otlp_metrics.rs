//! OTLP metrics (`protocols.md` T13, `decisions.md` 30).

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::opentelemetry::proto::collector::metrics::v1::ExportMetricsServiceRequest;
use perigee_proto::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use perigee_proto::opentelemetry::proto::metrics::v1::ResourceMetrics;
use perigee_proto::opentelemetry::proto::resource::v1::Resource;
use perigee_protocols::adapter::Loss;
use proptest::prelude::*;
use prost::Message;

use super::queue::{Call, cuts};

const LABELS: [&str; 2] = ["host.name", "service.name"];

fn resource(attributes: &[(&str, &str)], number: usize) -> ResourceMetrics {
    let attributes = attributes.iter().map(|(key, value)| KeyValue {
        key: (*key).into(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue((*value).into())),
        }),
    });
    ResourceMetrics {
        resource: Some(Resource {
            attributes: attributes.collect(),
            ..Default::default()
        }),
        schema_url: number.to_string(),
        ..Default::default()
    }
}

fn request(resources: &[ResourceMetrics]) -> Vec<u8> {
    let request = ExportMetricsServiceRequest {
        resource_metrics: resources.to_vec(),
    };
    request.encode_to_vec()
}

fn of(message: &[u8]) -> Call {
    let mut call = Call::with_labels(Adapter::OtlpMetrics, &LABELS);
    call.take(message);
    call.end()
}

fn decode(message: &[u8]) -> Vec<ResourceMetrics> {
    ExportMetricsServiceRequest::decode(message)
        .unwrap()
        .resource_metrics
}

/// What a resource is known by.
fn key(resource: &ResourceMetrics) -> [String; 2] {
    let attributes = &resource.resource.as_ref().unwrap().attributes;
    LABELS.map(|label| {
        let own = attributes.iter().rfind(|attribute| attribute.key == label);
        own.map_or_else(String::new, |own| {
            match own.value.as_ref().unwrap().value.as_ref() {
                Some(any_value::Value::StringValue(text)) => text.clone(),
                _ => unreachable!("only text was sent"),
            }
        })
    })
}

proptest! {
    #[test]
    fn every_resource_arrives_once_and_with_none_of_another_key(
        requests in prop::collection::vec(prop::collection::vec(("[ab]?", "[cd]?", "[ef]"), 0..8), 1..4),
        cuts in cuts(),
    ) {
        let requests: Vec<Vec<ResourceMetrics>> = requests.iter().enumerate().map(|(request, resources)| {
            resources.iter().enumerate().map(|(number, (host, service, other))| {
                let attributes = [("other", &**other), ("service.name", service), ("host.name", host)];
                resource(&attributes, 100 * request + number)
            }).collect()
        }).collect();
        let queued: Vec<Call> = requests.iter().map(|resources| of(&request(resources))).collect();
        for call in &queued {
            for one in &call.queued {
                let resources = decode(one.message());
                prop_assert!(resources.windows(2).all(|pair| key(&pair[0]) == key(&pair[1])));
                let has_key = resources.first().is_some_and(|first| key(first).concat() != "");
                prop_assert_eq!(one.lane.route.is_some(), has_key);
            }
        }
        // One lane is one key.
        let all: Vec<_> = queued.iter().flat_map(|call| &call.queued).collect();
        for (one, other) in all.iter().zip(all.iter().skip(1)) {
            let [own, others] = [one, other].map(|one| decode(one.message()).first().map(key));
            if let (Some(own), Some(others)) = (own, others) {
                prop_assert_eq!(own == others, one.lane == other.lane);
            }
        }
        let upstream = cuts.upstream_calls(Adapter::OtlpMetrics, &queued);
        let number = |resource: &ResourceMetrics| resource.schema_url.parse::<usize>().unwrap();
        let mut found: Vec<_> = upstream.iter().flatten().flat_map(|message| decode(message)).collect();
        found.sort_by_key(number);
        prop_assert_eq!(found, requests.concat());
    }
}

#[test]
fn a_request_of_one_key_goes_on_as_it_came() {
    let resources = [
        resource(&[("service.name", "a")], 0),
        resource(&[("service.name", "a")], 1),
    ];
    let message = [b"\xba\x3e\x03new".to_vec(), request(&resources)].concat();
    let call = of(&message);
    assert_eq!(call.queued.len(), 1);
    assert_eq!(call.queued[0].message(), message);
}

#[test]
fn what_nobody_knows_goes_along_once() {
    let resources = [
        resource(&[("service.name", "a")], 0),
        resource(&[("service.name", "b")], 1),
    ];
    // At the resources' number too, as a number.
    let message = [request(&resources), b"\xba\x3e\x03new\x08\x05".to_vec()].concat();
    let call = of(&message);
    let with =
        |queued: &&super::queue::Queued| queued.message().ends_with(b"\xba\x3e\x03new\x08\x05");
    assert_eq!(
        (call.queued.len(), call.queued.iter().filter(with).count()),
        (2, 1)
    );
}

#[test]
fn resources_without_a_key_go_anywhere_and_none_is_dropped() {
    let nothing = ResourceMetrics::default();
    let resources = [
        nothing,
        resource(&[("other", "a")], 1),
        resource(&[("service.name", "")], 2),
    ];
    let call = of(&request(&resources));
    assert_eq!(call.queued.len(), 1);
    assert_eq!(call.queued[0].lane.route, None);
    assert_eq!(
        of(b"").queued.len(),
        1,
        "empty requests are an OAP's matter"
    );
}

#[test]
fn labels_that_are_split_differently_are_different_keys() {
    let ab_c = resource(&[("host.name", "ab"), ("service.name", "c")], 0);
    let a_bc = resource(&[("host.name", "a"), ("service.name", "bc")], 1);
    let only_host = resource(&[("host.name", "x")], 2);
    let only_service = resource(&[("service.name", "x")], 3);
    assert_eq!(
        of(&request(&[ab_c, a_bc, only_host, only_service]))
            .queued
            .len(),
        4
    );
}

#[test]
fn a_request_that_does_not_decode_is_refused_as_by_an_oap() {
    let call = of(b"\x0a\x05");
    assert_eq!(call.losses, [(Loss::Malformed, 1)]);
    assert!(call.complaint().is_some());
    assert!(of(b"").complaint().is_none());
}
