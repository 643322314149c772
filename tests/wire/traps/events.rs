//! T8: an event without layer ends an OAP's stream, and with it everybody's on it.

use perigee::engine::Code;
use perigee::telemetry::books::DropReason;
use perigee_proto::skywalking::v3 as sw;
use prost::Message;

use super::send_each;
use crate::gateway::Gateway;

const EVENTS: &str = "/skywalking.v3.EventService/collect";

fn event(id: &str, layer: &str) -> Vec<u8> {
    let event = sw::Event {
        uuid: id.to_owned(),
        layer: layer.to_owned(),
        source: Some(sw::Source {
            service: "shop".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    event.encode_to_vec()
}

#[tokio::test]
async fn t08_a_layerless_event_costs_itself_and_its_sender_is_told_at_the_end() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(EVENTS).await;
    let events = [
        event("good", "GENERAL"),
        event("bad", ""),
        event("fine", "UNHEARD_OF"),
    ];
    send_each(&mut call, events).await;
    let filed = gateway.wait_for_entries(EVENTS, 2).await;
    assert_eq!(filed["shop/"], ["good", "fine"]);
    client.catch_up().await;
    assert!(!call.is_answered().await, "the client may have more to say");
    call.half_close();
    let text = call.answer().await.refused(Code::InvalidArgument);
    assert_eq!(text, "layer is required");
    gateway.wait_for_dropped(DropReason::Layerless, 1).await;
    let failed = gateway.sink().snapshot().errors;
    assert!(failed.is_empty(), "it never reached the node: {failed:?}");
    let totals = gateway.stop().await;
    assert_eq!((totals.received, totals.delivered), (3, 2));
}

/// Twenty undecodable events of one client among two hundred good ones of others, which an OAP
/// answers with UNKNOWN for the whole stream.
#[tokio::test]
async fn t08_what_cannot_be_decoded_is_isolated() {
    let gateway = Gateway::start(3).await;
    let mut calls = Vec::new();
    for client in 0..4 {
        let connection = gateway.client().await;
        let mut call = connection.open(EVENTS).await;
        let good = (0..50).map(|number| event(&format!("{client}-{number}"), "GENERAL"));
        send_each(&mut call, good).await;
        calls.push((connection, call));
    }
    let connection = gateway.client().await;
    let mut call = connection.open(EVENTS).await;
    // A layer, so that it looks well from afar, and a uuid that is not UTF-8.
    let mut bad = b"\x0a\x02\xff\xfe".to_vec();
    bad.extend(event("", "GENERAL"));
    send_each(&mut call, std::iter::repeat_n(bad, 20)).await;
    gateway.wait_for_entries(EVENTS, 200).await;
    gateway.wait_for_dropped(DropReason::Rejected, 20).await;
    let mut filed = gateway.filed(EVENTS)["shop/"].clone();
    filed.sort_unstable();
    filed.dedup();
    assert_eq!(filed.len(), 200);
    let totals = gateway.stop().await;
    assert_eq!((totals.received, totals.delivered), (220, 200));
}
