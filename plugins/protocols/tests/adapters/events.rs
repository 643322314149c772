//! Events (`protocols.md` T8, `decisions.md` 18).

use perigee_plugin_api::protocol::Adapter;
use perigee_proto::skywalking::v3::Event;
use perigee_protocols::adapter::Loss;
use proptest::prelude::*;
use prost::Message;

use super::queue::{Call, cuts, taken};

fn event(uuid: &str, layer: &str) -> Event {
    Event {
        uuid: uuid.into(),
        layer: layer.into(),
        ..Default::default()
    }
}

/// A call is over at the first event without layer.
fn oap(call: &[Vec<u8>]) -> Vec<String> {
    let events = call.iter().map(|event| Event::decode(&**event).unwrap());
    let good = events.take_while(|event| !event.layer.is_empty());
    good.map(|event| event.uuid).collect()
}

proptest! {
    #[test]
    fn every_event_with_a_layer_arrives_however_the_queue_cuts(
        calls in prop::collection::vec(prop::collection::vec(("[a-z]{3}", "(K8S|new)?"), 0..10), 1..4),
        cuts in cuts(),
    ) {
        let queued: Vec<Call> = calls.iter().map(|call| {
            let bytes: Vec<_> = call.iter().map(|(uuid, layer)| event(uuid, layer).encode_to_vec()).collect();
            taken(Adapter::Events, &bytes)
        }).collect();
        let upstream = cuts.upstream_calls(Adapter::Events, &queued);
        let mut found: Vec<String> = upstream.iter().flat_map(|call| oap(call)).collect();
        let good = calls.iter().flatten().filter(|(_, layer)| !layer.is_empty());
        let mut good: Vec<String> = good.map(|(uuid, _)| uuid.clone()).collect();
        found.sort();
        good.sort();
        prop_assert_eq!(found, good);
        for (call, queued) in calls.iter().zip(&queued) {
            let layerless = call.iter().any(|(_, layer)| layer.is_empty());
            prop_assert_eq!(queued.complaint(), layerless.then_some("layer is required"));
        }
    }
}

#[test]
fn good_layerless_good_on_one_call_are_two() {
    let events = ["K8S", "", "K8S"].map(|layer| event("e", layer).encode_to_vec());
    let call = taken(Adapter::Events, &events);
    assert_eq!(call.queued.len(), 2);
    assert_eq!(call.losses, [(Loss::Layerless, 1)]);
}

#[test]
fn of_several_layers_in_an_event_the_last_counts() {
    let good = [event("e", "K8S").encode_to_vec(), b"\x4a\x00".to_vec()].concat();
    assert_eq!(taken(Adapter::Events, &[good]).lost(), 1);
    let bad = [b"\x4a\x00".to_vec(), event("e", "K8S").encode_to_vec()].concat();
    assert_eq!(
        taken(Adapter::Events, std::slice::from_ref(&bad)).queued[0].message(),
        bad
    );
}
