//! T13: resources of one request may belong to several nodes.

use std::time::Duration;

use perigee::engine::Code;
use perigee::sink::fault::Fault;
use perigee::telemetry::books::DropReason;
use perigee_proto::opentelemetry::proto::collector::metrics::v1 as collector;
use perigee_proto::opentelemetry::proto::common::v1 as common;
use perigee_proto::opentelemetry::proto::metrics::v1 as metrics;
use perigee_proto::opentelemetry::proto::resource::v1 as resource;
use prost::Message;

use crate::gateway::{Gateway, pipe};
use crate::messages::{EMPTY, framed};

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

fn text(key: &str, value: &str) -> common::KeyValue {
    common::KeyValue {
        key: key.to_owned(),
        value: Some(common::AnyValue {
            value: Some(common::any_value::Value::StringValue(value.to_owned())),
        }),
    }
}

fn resource_metrics(attributes: Vec<common::KeyValue>, value: i64) -> metrics::ResourceMetrics {
    let point = metrics::NumberDataPoint {
        time_unix_nano: 7,
        value: Some(metrics::number_data_point::Value::AsInt(value)),
        ..Default::default()
    };
    let metric = metrics::Metric {
        name: "requests".to_owned(),
        data: Some(metrics::metric::Data::Gauge(metrics::Gauge {
            data_points: vec![point],
        })),
        ..Default::default()
    };
    metrics::ResourceMetrics {
        resource: Some(resource::Resource {
            attributes,
            ..Default::default()
        }),
        scope_metrics: vec![metrics::ScopeMetrics {
            metrics: vec![metric],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn request(resource_metrics: Vec<metrics::ResourceMetrics>) -> Vec<u8> {
    collector::ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

#[tokio::test]
async fn t13_each_resource_of_a_request_goes_to_its_own_node() {
    const ROUNDS: i64 = 20;
    let gateway = Gateway::start(3).await;
    let client = gateway.client().await;
    let services: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
    for round in 0..ROUNDS {
        let resources = services
            .iter()
            .map(|service| resource_metrics(vec![text("service.name", service)], round));
        let answer = client.unary(METRICS, &request(resources.collect())).await;
        assert_eq!(answer.ok(), EMPTY);
    }
    let rounds = usize::try_from(ROUNDS).unwrap();
    let filed = gateway
        .wait_for_entries(METRICS, services.len() * rounds)
        .await;
    let mut used = 0;
    for service in &services {
        let name = format!("{service}/");
        let expected: Vec<_> = (0..ROUNDS)
            .map(|round| format!("requests={round}@7"))
            .collect();
        assert_eq!(filed[&name], expected, "in order, which counters need");
        let of = |sink: &&perigee::sink::SinkHandle| sink.snapshot().services.contains_key(&name);
        assert_eq!(gateway.sinks.iter().filter(of).count(), 1, "{name}");
    }
    for sink in &gateway.sinks {
        used += usize::from(!sink.snapshot().services.is_empty());
    }
    assert!(used > 1, "twelve keys on one node");
}

/// Satellite drops it.
#[tokio::test]
async fn t13_a_request_without_a_key_goes_to_any_node() {
    let gateway = Gateway::start(3).await;
    let client = gateway.client().await;
    for value in 0..60 {
        let message = request(vec![resource_metrics(vec![text("color", "red")], value)]);
        assert_eq!(client.unary(METRICS, &message).await.ok(), EMPTY);
    }
    let filed = gateway.wait_for_entries(METRICS, 60).await;
    assert_eq!(filed["/"].len(), 60);
    for sink in &gateway.sinks {
        assert!(sink.snapshot().messages(METRICS) > 0);
    }
}

/// As the OTLP specification wants it: the client must not send it again.
#[tokio::test]
async fn t13_a_request_that_does_not_decode_is_refused() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let text = client
        .unary(METRICS, b"\x0a\x7f")
        .await
        .refused(Code::InvalidArgument);
    assert_eq!(text, "request does not decode");
    gateway.wait_for_dropped(DropReason::Malformed, 1).await;
}

fn of_services(services: &[&str], value: i64) -> Vec<u8> {
    let one = |service: &&str| resource_metrics(vec![text("service.name", service)], value);
    request(services.iter().map(one).collect())
}

/// Requests of one key leave one after the other: an OAP remembers counters.
#[tokio::test]
async fn t13_requests_of_one_key_stay_in_order_when_one_is_tried_again() {
    let gateway = Gateway::start(1).await;
    gateway.sink().set_fault(Fault {
        path: Some("MetricsService".to_owned()),
        fail_after: Some(5),
        ..Fault::default()
    });
    let client = gateway.client().await;
    for value in 0..40 {
        assert_eq!(
            client
                .unary(METRICS, &of_services(&["shop"], value))
                .await
                .ok(),
            EMPTY
        );
    }
    gateway.settled().await;
    let values: Vec<u32> = gateway
        .sink()
        .ids(METRICS)
        .iter()
        .map(|id| id.id.split(['=', '@']).nth(1).unwrap().parse().unwrap())
        .collect();
    assert!(values.is_sorted(), "{values:?}");
}

/// Decision 21: a call that goes away first is not enqueued.
#[tokio::test]
async fn t13_a_split_request_that_goes_away_leaves_nothing_behind() {
    let gateway = Gateway::start_with(1, |settings| {
        let queue = pipe(settings, "grpc-otlp-metrics-v1-receiver")
            .queue
            .as_mut()
            .unwrap();
        (queue.event_buffer_size, queue.partition) = (2, 2);
    })
    .await;
    gateway.sink().set_fault(Fault {
        path: Some("MetricsService".to_owned()),
        stall: true,
        ..Fault::default()
    });
    let client = gateway.client().await;
    let send = async |services: &[&str], value| {
        let mut call = client.open(METRICS).await;
        call.send(framed(&of_services(services, value)))
            .await
            .unwrap();
        call.half_close();
        client.catch_up().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let answered = call.is_answered().await;
        (call, answered)
    };
    let mut calls = Vec::new();
    while let (call, true) = send(&["a"], 1).await {
        calls.push(call);
    }
    let mut other = None;
    for name in ["b", "c", "d", "e", "f", "g"] {
        let (mut call, answered) = send(&[name], 2).await;
        if answered {
            other = Some(name);
            break;
        }
        call.reset();
    }
    let other = other.unwrap();
    let (mut call, answered) = send(&[other, "a"], 3).await;
    assert!(!answered);
    call.reset();
    client.catch_up().await;
    gateway.sink().set_fault(Fault::default());
    gateway.settled().await;
    let ids: Vec<_> = gateway
        .sink()
        .ids(METRICS)
        .into_iter()
        .map(|id| (id.service, id.id))
        .collect();
    assert!(ids.iter().all(|(_, id)| id != "requests=3@7"), "{ids:?}");
}
