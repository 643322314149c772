//! T4, T5: a stream is one set, an OAP works it out at the end, and many clients never end it.

use std::time::{Duration, Instant};

use perigee_proto::skywalking::v3 as sw;
use prost::Message;

use super::{SILENCE, send_each};
use crate::gateway::Gateway;
use crate::messages::{EMPTY, METER_BATCHES};

const METERS: &str = "/skywalking.v3.MeterReportService/collect";

fn meter(name: &str, value: f64) -> sw::MeterData {
    sw::MeterData {
        metric: Some(sw::meter_data::Metric::SingleValue(sw::MeterSingleValue {
            name: name.to_owned(),
            labels: Vec::new(),
            value,
        })),
        ..Default::default()
    }
}

/// A meter that names its source and time.
fn named(meter: sw::MeterData, service: &str, timestamp: i64) -> sw::MeterData {
    sw::MeterData {
        service: service.to_owned(),
        service_instance: "i".to_owned(),
        timestamp,
        ..meter
    }
}

#[tokio::test]
async fn t04_a_stream_that_never_ends_is_at_the_node_within_two_seconds() {
    let gateway = Gateway::start(3).await;
    let client = gateway.client().await;
    let mut call = client.open(METERS).await;
    let set = [named(meter("cpu", 0.5), "shop", 7), meter("heap", 10.0)];
    send_each(&mut call, set.map(|meter| meter.encode_to_vec())).await;
    let sent = Instant::now();
    let filed = gateway.wait_for_entries(METER_BATCHES, 2).await;
    assert!(sent.elapsed() < Duration::from_secs(2));
    assert_eq!(filed["shop/i"], ["cpu=0.5@7", "heap=10@7"]);
    assert!(!call.is_answered().await);
    gateway.assert_nothing_unfiled();
}

/// The Rust agent reports every 20 s on one stream, and names itself each time.
#[tokio::test]
async fn t04_sets_are_cut_where_a_name_or_a_time_shows_that_a_new_one_begins() {
    let gateway = Gateway::start(3).await;
    let client = gateway.client().await;
    let mut call = client.open(METERS).await;
    let meters = [
        named(meter("cpu", 1.0), "shop", 7),
        meter("heap", 1.0),
        named(meter("cpu", 2.0), "shop", 7), // a name comes again
        meter("heap", 2.0),
        named(meter("threads", 3.0), "shop", 20_007), // another time
    ];
    let began = Instant::now();
    send_each(&mut call, meters.map(|meter| meter.encode_to_vec())).await;
    let filed = gateway.wait_for_entries(METER_BATCHES, 4).await;
    assert!(
        began.elapsed() < SILENCE,
        "only the last set has to wait for silence"
    );
    let values: Vec<&str> = filed["shop/i"]
        .iter()
        .map(|id| id.split_once('@').unwrap().0)
        .collect();
    assert_eq!(values, ["cpu=1", "heap=1", "cpu=2", "heap=2"]);
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY);
    let filed = gateway.wait_for_entries(METER_BATCHES, 5).await;
    assert_eq!(filed["shop/i"][4], "threads=3@20007");
    gateway.assert_nothing_unfiled();
    let totals = gateway.stop().await;
    assert_eq!(
        (totals.received, totals.delivered, totals.merged),
        (5, 3, 2)
    );
}

/// An OAP files a whole set under the name that it meets last.
#[tokio::test]
async fn t04_a_set_is_of_one_instance_and_names_it() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(METERS).await;
    let meters = [
        named(meter("cpu", 1.0), "shop", 7),
        meter("cpu", 2.0),                    // a set that names nobody
        named(meter("heap", 3.0), "cart", 7), // somebody else, and no name comes again
        meter("threads", 4.0),
    ];
    send_each(&mut call, meters.map(|meter| meter.encode_to_vec())).await;
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY);
    let filed = gateway.wait_for_entries(METER_BATCHES, 4).await;
    let of = |name: &str| -> Vec<&str> {
        let ids = filed[name].iter();
        ids.map(|id| id.split_once('@').unwrap().0).collect()
    };
    assert_eq!(of("shop/i"), ["cpu=1", "cpu=2"]);
    assert_eq!(of("cart/i"), ["heap=3", "threads=4"]);
    gateway.assert_nothing_unfiled();
}

/// T20: what is held when a client vanishes goes on.
#[tokio::test]
async fn t04_a_set_whose_stream_is_reset_goes_on() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(METERS).await;
    send_each(
        &mut call,
        [named(meter("cpu", 1.0), "shop", 7).encode_to_vec()],
    )
    .await;
    client.catch_up().await;
    call.reset();
    let filed = gateway.wait_for_entries(METER_BATCHES, 1).await;
    assert_eq!(filed["shop/i"], ["cpu=1@7"]);
    assert_eq!(gateway.stop().await.delivered, 1);
}

/// Sets of two instances on one connection, and of one instance on two, by both methods.
#[tokio::test]
async fn t05_sets_are_whole_and_an_instance_stays_on_one_node() {
    const ROUNDS: i64 = 20;
    let gateway = Gateway::start(3).await;
    let (one, two) = (gateway.client().await, gateway.client().await);
    for round in 1..=ROUNDS {
        for service in ["cart", "shop", "user"] {
            let set = [named(meter("a", 1.0), service, round), meter("b", 2.0)];
            let mut call = one.open(METERS).await;
            send_each(&mut call, set.clone().map(|meter| meter.encode_to_vec())).await;
            call.half_close();
            call.answer().await.ok();
            let batch = sw::MeterDataCollection {
                meter_data: set.into(),
            };
            two.unary(METER_BATCHES, &batch.encode_to_vec()).await.ok();
        }
    }
    let rounds = usize::try_from(ROUNDS).unwrap();
    gateway
        .wait_for_entries(METER_BATCHES, 3 * 2 * 2 * rounds)
        .await;
    for service in ["cart/i", "shop/i", "user/i"] {
        let nodes = gateway
            .sinks
            .iter()
            .filter(|sink| sink.snapshot().services.contains_key(service));
        assert_eq!(nodes.count(), 1, "{service}");
        let mut filed = gateway.filed(METER_BATCHES)[service].clone();
        filed.sort_unstable();
        let mut expected: Vec<String> = (1..=ROUNDS)
            .flat_map(|round| [format!("a=1@{round}"), format!("b=2@{round}")])
            .flat_map(|id| [id.clone(), id])
            .collect();
        expected.sort_unstable();
        assert_eq!(filed, expected);
    }
    gateway.assert_nothing_unfiled();
    let totals = gateway.stop().await;
    let sets = 3 * 2 * u64::try_from(ROUNDS).unwrap();
    assert_eq!((totals.delivered, totals.merged), (sets, sets / 2));
}
