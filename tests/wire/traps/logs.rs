//! T2, T3: the service stands on the first record only, and the stream never ends.

use perigee_proto::skywalking::v3 as sw;
use prost::Message;

use super::{names, send_each};
use crate::gateway::Gateway;
use crate::messages::EMPTY;

const LOGS: &str = "/skywalking.v3.LogReportService/collect";

fn log(service: &str, text: &str) -> Vec<u8> {
    let text = sw::TextLog {
        text: text.to_owned(),
    };
    let log = sw::LogData {
        service: service.to_owned(),
        service_instance: "i".to_owned(),
        body: Some(sw::LogDataBody {
            content: Some(sw::log_data_body::Content::Text(text)),
            ..Default::default()
        }),
        ..Default::default()
    };
    log.encode_to_vec()
}

#[tokio::test]
async fn t02_two_services_that_alternate_on_one_stream_keep_their_records() {
    let gateway = Gateway::start(3).await;
    let client = gateway.client().await;
    let mut call = client.open(LOGS).await;
    let records = (0..20).map(|number| {
        let service = ["cart", "shop"][number % 2];
        log(service, &format!("{number}"))
    });
    send_each(&mut call, records).await;
    let filed = gateway.wait_for_entries(LOGS, 20).await;
    let of = |name: &str| {
        let mut numbers: Vec<u32> = filed[name].iter().map(|id| id.parse().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(of("cart/i"), (0..20).step_by(2).collect::<Vec<_>>());
    assert_eq!(of("shop/i"), (1..20).step_by(2).collect::<Vec<_>>());
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY);
    assert_eq!(gateway.stop().await.delivered, 20);
}

/// As Java sends it, cut into many upstream calls on three nodes.
#[tokio::test]
async fn t02_a_record_without_service_belongs_to_the_one_before() {
    const EACH: usize = 300;
    let gateway = Gateway::start_with(3, |settings| {
        crate::gateway::pipe(settings, "grpc-native-log-receiver")
            .sender
            .max_buffer_size = 7;
    })
    .await;
    let client = gateway.client().await;
    let mut calls = Vec::new();
    for service in ["cart", "shop", "user"] {
        let mut call = client.open(LOGS).await;
        let first = log(service, &format!("{service}0"));
        let others = (1..EACH).map(|number| log("", &format!("{service}{number}")));
        send_each(&mut call, std::iter::once(first).chain(others)).await;
        calls.push(call);
    }
    let filed = gateway.wait_for_entries(LOGS, 3 * EACH).await;
    for service in ["cart", "shop", "user"] {
        let mut filed = filed[&format!("{service}/i")].clone();
        filed.sort_unstable();
        let mut expected = names(0..EACH, service);
        expected.sort_unstable();
        assert_eq!(filed, expected);
    }
    gateway.assert_nothing_unfiled();
}

/// Go, Rust and Python's asyncio mode never end it.
#[tokio::test]
async fn t03_a_stream_that_never_ends_is_forwarded_as_it_comes() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let mut call = client.open(LOGS).await;
    for round in 0..5 {
        send_each(&mut call, [log("shop", &format!("{round}"))]).await;
        let filed = gateway.wait_for_entries(LOGS, round + 1).await;
        assert_eq!(filed["shop/i"], names(0..round + 1, ""));
    }
    assert!(!call.is_answered().await, "the client may have more to say");
}
