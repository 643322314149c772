//! `authentication` on the way to the OAP (decision 23, T14).

use perigee::engine::Code;
use perigee::telemetry::books::DropReason;

use crate::gateway::{Gateway, TRACING, pipe, sink_with};
use crate::messages::*;
use crate::uploads::begun_jfr;

const THEIRS: [(&str, &str); 1] = [("authentication", "theirs")];

#[tokio::test]
async fn t14_our_own_token_is_on_every_call_instead_of_the_callers() {
    let gateway = Gateway::over(vec![sink_with(Some("ours"))], |settings| {
        settings.client.authentication = Some("ours".to_owned());
    })
    .await;
    let client = gateway.client().await;
    for headers in [&[][..], &THEIRS] {
        begun_jfr(&client, headers).await.reset();
        for (path, message) in [
            (SEGMENTS, segment("a", "shop")),
            (KEEP_ALIVE, ping("shop")),
            (METER_BATCHES, meter_batch("shop", "i")),
            (CONFIGURATIONS, configuration_request("shop")),
        ] {
            client.unary_with(path, headers, &message).await.ok();
            gateway.settled().await;
            let seen = gateway.headers_at_sink(path).await;
            assert_eq!(seen["authentication"], "ours", "{path}");
        }
    }
    let state = gateway.sink().snapshot();
    assert!(state.errors.is_empty(), "{:?}", state.errors);
}

#[tokio::test]
async fn t14_without_our_own_token_the_callers_travels() {
    let gateway = Gateway::over(vec![sink_with(Some("theirs"))], |_| {}).await;
    let client = gateway.client().await;
    begun_jfr(&client, &THEIRS).await.reset();
    for (path, message) in [
        (SEGMENTS, segment("a", "shop")),
        (KEEP_ALIVE, ping("shop")),
        (METER_BATCHES, meter_batch("shop", "i")),
    ] {
        client.unary_with(path, &THEIRS, &message).await.ok();
        gateway.arrived(path, 1).await;
    }
    let request = configuration_request("shop");
    client
        .unary_with(CONFIGURATIONS, &THEIRS, &request)
        .await
        .ok();
    let answer = client.unary(CONFIGURATIONS, &request).await;
    answer.refused(Code::PermissionDenied);
}

#[tokio::test]
async fn an_empty_token_is_none() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let none = [("authentication", "")];
    client
        .unary_with(KEEP_ALIVE, &none, &ping("shop"))
        .await
        .ok();
    gateway.arrived(KEEP_ALIVE, 1).await;
    let seen = gateway.headers_at_sink(KEEP_ALIVE).await;
    assert_eq!(seen.get("authentication"), None);
}

/// The sink takes one token only: whatever shared a call with the other caller's data would be
/// refused or let through with it.
#[tokio::test]
async fn callers_tokens_never_share_a_batch() {
    const EACH: usize = 200;
    let gateway = Gateway::over(vec![sink_with(Some("a"))], |settings| {
        let pipe = pipe(settings, TRACING);
        pipe.queue.as_mut().unwrap().partition = 1;
        pipe.retry.max_attempts = Some(2);
        pipe.retry.max_pause = std::time::Duration::from_millis(50);
    })
    .await;
    let client = gateway.client().await;
    let mut a = client.open_with(SEGMENTS, &[("authentication", "a")]).await;
    let mut b = client.open_with(SEGMENTS, &[("authentication", "b")]).await;
    for number in 0..EACH {
        let id = number.to_string();
        a.send(framed(&segment(&id, "a"))).await.unwrap();
        b.send(framed(&segment(&id, "b"))).await.unwrap();
    }
    a.half_close();
    b.half_close();
    a.answer().await.ok();
    b.answer().await.ok();
    gateway.settled().await;
    let services = gateway.sink().snapshot().services;
    assert_eq!(services[&filed_as("a")][SEGMENTS], EACH as u64);
    assert_eq!(services.get(&filed_as("b")), None);
    let totals = gateway.stop().await;
    assert_eq!(totals.delivered, EACH as u64);
    assert_eq!(totals.dropped_for(DropReason::Attempts), EACH as u64);
}
