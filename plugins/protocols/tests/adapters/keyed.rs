//! Messages that say themselves where they belong (`protocols.md` T5).

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::skywalking::v3::{MeterData, MeterDataCollection, MeterSingleValue, meter_data};
use prost::Message;

use super::queue::taken;

const COLLECT_BATCH: Adapter = Adapter::Keyed(&[&[1, 3], &[1, 4]]);

/// As Go's agent sends them: only the first says whose they all are.
fn collection(service: &str, instance: &str) -> Vec<u8> {
    let meter = |service: &str, instance: &str| MeterData {
        service: service.into(),
        service_instance: instance.into(),
        metric: Some(meter_data::Metric::SingleValue(MeterSingleValue::default())),
        ..Default::default()
    };
    let collection = MeterDataCollection {
        meter_data: vec![meter(service, instance), meter("", ""), meter("", "")],
    };
    collection.encode_to_vec()
}

#[test]
fn batches_go_on_as_they_came_and_by_their_first_meter() {
    let batches = [
        collection("s", "i"),
        collection("s", "j"),
        collection("s", "i"),
        collection("", ""),
        b"\x0a\x05".to_vec(),
    ];
    let call = taken(COLLECT_BATCH, &batches);
    let queued: Vec<_> = call
        .queued
        .iter()
        .map(|queued| queued.message().to_vec())
        .collect();
    assert_eq!(queued, batches);
    let routes: Vec<_> = call
        .queued
        .iter()
        .map(|queued| queued.lane.route.clone())
        .collect();
    assert!(routes[0].is_some());
    assert_ne!(routes[0], routes[1]);
    assert_eq!(routes[0], routes[2]);
    assert_eq!(
        [&routes[2]; 2],
        [&routes[3], &routes[4]],
        "one without goes with the one before"
    );
}

#[test]
fn an_instance_has_one_node_for_both_methods() {
    let meter = MeterData {
        service: "s".into(),
        service_instance: "i".into(),
        ..Default::default()
    };
    let single = taken(Adapter::Meters, &[meter.encode_to_vec()]);
    let batch = taken(COLLECT_BATCH, &[collection("s", "i")]);
    assert_eq!(single.queued[0].lane, batch.queued[0].lane);
}
