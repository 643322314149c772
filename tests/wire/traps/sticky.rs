//! Where keys are, and where they go when nodes go.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use perigee::sink::{Sink, SinkHandle, SinkOptions};

use crate::gateway::Gateway;
use crate::messages::{METER_BATCHES, framed, meter_batch};

const INSTANCES: usize = 40;

/// Reports once for each instance and waits until all has arrived.
async fn report(gateway: &Gateway) {
    let before = gateway.app.books.totals().delivered;
    let client = gateway.client().await;
    let mut call = client.open(METER_BATCHES).await;
    for instance in 0..INSTANCES {
        let batch = meter_batch("shop", &format!("i{instance}"));
        call.send(framed(&batch)).await.unwrap();
    }
    call.half_close();
    call.answer().await.ok();
    gateway
        .wait_for("delivered", |gateway| {
            gateway.app.books.totals().delivered == before + INSTANCES as u64
        })
        .await;
}

/// Which sink has seen which instance since the last call.
fn places<'a>(sinks: impl IntoIterator<Item = &'a SinkHandle>) -> BTreeMap<String, SocketAddr> {
    let mut places = BTreeMap::new();
    for sink in sinks {
        for name in sink.snapshot().services.into_keys() {
            let other = places.insert(name.clone(), sink.listen());
            assert_eq!(other, None, "{name} is on two nodes");
        }
        sink.reset();
    }
    assert_eq!(places.len(), INSTANCES);
    places
}

async fn all_nodes_ready(gateway: &Gateway, count: usize) {
    gateway
        .wait_for("nodes ready", |gateway| {
            let nodes = gateway.app.books.nodes();
            let ready = nodes
                .iter()
                .filter(|(_, node)| node.ready_connections.value() == 2);
            ready.count() == count
        })
        .await;
}

#[tokio::test]
async fn two_gateways_with_cold_caches_place_every_key_alike() {
    let one = Gateway::start(3).await;
    let nodes: Vec<_> = one.sinks.iter().map(SinkHandle::listen).collect();
    let two = Gateway::over(Vec::new(), |settings| {
        *settings = crate::gateway::settings(&nodes);
    })
    .await;
    all_nodes_ready(&one, 3).await;
    all_nodes_ready(&two, 3).await;
    report(&one).await;
    let placed = places(&one.sinks);
    report(&two).await;
    assert_eq!(places(&one.sinks), placed);
}

#[tokio::test]
async fn a_lost_node_moves_only_its_keys_and_they_stay_when_it_returns() {
    let mut gateway = Gateway::start(3).await;
    all_nodes_ready(&gateway, 3).await;
    report(&gateway).await;
    let before = places(&gateway.sinks);
    let lost = gateway.sinks.remove(0);
    let address = lost.listen();
    lost.shutdown().unwrap();
    all_nodes_ready(&gateway, 2).await;
    report(&gateway).await;
    let without = places(&gateway.sinks);
    for (name, node) in &before {
        if *node == address {
            assert_ne!(without[name], address);
        } else {
            assert_eq!(without[name], *node, "{name} had no reason to move");
        }
    }
    let returned = Sink::start(SinkOptions {
        listen: address,
        keep_ids: 1_000_000,
        ..SinkOptions::default()
    });
    gateway.sinks.push(returned.unwrap());
    all_nodes_ready(&gateway, 3).await;
    report(&gateway).await;
    assert_eq!(places(&gateway.sinks), without);
}
