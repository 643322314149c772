//! The check of callers' tokens, and what travels on when it is made.

use std::time::Duration;

use perigee::config::settings::{Settings, TokenCheck};
use perigee::config::{Config, Host, Source};
use perigee::engine::Code;
use perigee::telemetry::books::{DropReason, Refusal};

use crate::client::Client;
use crate::gateway::{Gateway, TRACING, pipe, sink, sink_with};
use crate::messages::*;
use crate::uploads::{PPROF, pprof_metadata};

const OURS: [(&str, &str); 1] = [("authentication", "secret")];
const WRONG: [(&str, &str); 1] = [("authentication", "guess")];
const NONE: [&[(&str, &str)]; 2] = [&[], &[("authentication", "")]];

const PROFILE_TASKS: &str = "/skywalking.v3.ProfileTask/getProfileTaskCommands";
const PPROF_TASKS: &str = "/skywalking.v10.PprofTask/getPprofTaskCommands";

/// What a file with these exempt methods means.
fn check(exempt: &str) -> Option<TokenCheck> {
    let text = format!(
        "sharing:
  clients: [{{plugin_name: grpc-client}}]
  servers: [{{plugin_name: grpc-server, authentication: secret, authentication_exempt: '{exempt}'}}]
"
    );
    let host = Host {
        memory_limit: None,
        cores: 2,
    };
    let config = Config::parse(&text, Source::Embedded, &|_| None, &host).unwrap();
    config.settings.server.authentication
}

fn checked(exempt: &str) -> impl FnOnce(&mut Settings) + '_ {
    move |settings| settings.server.authentication = check(exempt)
}

#[tokio::test]
async fn a_call_without_the_token_ends_alone() {
    let gateway = Gateway::start_with(1, checked("")).await;
    let client = gateway.client().await;
    let mut good = client.open_with(SEGMENTS, &OURS).await;
    good.send(framed(&segment("a", "shop"))).await.unwrap();
    let mut refused = 0;
    for headers in [NONE[0], NONE[1], &WRONG] {
        for path in [
            SEGMENTS,
            KEEP_ALIVE,
            CONFIGURATIONS,
            PPROF,
            "/new.Service/method",
            "/RemoteService/call",
        ] {
            let answer = client.unary_with(path, headers, b"").await;
            answer.refused(Code::PermissionDenied);
            refused += 1;
        }
    }
    assert_eq!(gateway.refusals(Refusal::Authentication), refused);
    good.send(framed(&segment("b", "shop"))).await.unwrap();
    good.half_close();
    assert_eq!(good.answer().await.ok(), EMPTY);
    client
        .unary_with(CONFIGURATIONS, &OURS, &configuration_request("shop"))
        .await
        .ok();
    gateway.arrived(SEGMENTS, 2).await;
    let methods = gateway.sink().snapshot().methods;
    let reached: Vec<_> = methods.keys().map(String::as_str).collect();
    assert_eq!(reached, [CONFIGURATIONS, SEGMENTS]);
}

/// A refused stream is not read: its client may be in the middle of it.
#[tokio::test]
async fn an_endless_stream_without_the_token_is_ended_at_once() {
    let gateway = Gateway::start_with(1, checked("")).await;
    let client = gateway.client().await;
    for headers in [NONE[0], NONE[1], &WRONG] {
        let mut call = client.open_with(SEGMENTS, headers).await;
        // It may be over before we are.
        let _over = call.send(framed(&segment("a", "shop"))).await;
        call.answer().await.refused(Code::PermissionDenied);
    }
    assert_eq!(gateway.app.books.totals().received, 0);
}

#[tokio::test]
async fn health_needs_no_token() {
    let gateway = Gateway::start_with(1, checked("")).await;
    let client = gateway.client().await;
    for headers in [NONE[0], NONE[1], &WRONG] {
        client.unary_with(HEALTH, headers, b"").await.ok();
    }
}

async fn uploads(client: &Client, headers: &[(&str, &str)]) -> bool {
    let mut call = client.open_with(PPROF, headers).await;
    call.send(pprof_metadata(0, 1)).await.unwrap();
    call.message().await.is_some()
}

#[tokio::test]
async fn what_a_go_agent_calls_without_a_token_passes_by_its_preset() {
    let sink = sink_with(Some("ours"));
    let gateway = Gateway::over(vec![sink], |settings| {
        checked("go-agent")(settings);
        settings.client.authentication = Some("ours".to_owned());
    })
    .await;
    let client = gateway.client().await;
    for headers in [NONE[0], NONE[1], &OURS] {
        for path in [CONFIGURATIONS, PROFILE_TASKS, PPROF_TASKS] {
            client.unary_with(path, headers, b"").await.ok();
        }
        assert!(uploads(&client, headers).await);
    }
    for path in [CONFIGURATIONS, PROFILE_TASKS, PPROF_TASKS, PPROF] {
        let answer = client.unary_with(path, &WRONG, b"").await;
        answer.refused(Code::PermissionDenied);
        assert_eq!(
            gateway.headers_at_sink(path).await["authentication"],
            "ours"
        );
    }
    for headers in NONE {
        let report = client.unary_with(KEEP_ALIVE, headers, &ping("shop")).await;
        report.refused(Code::PermissionDenied);
    }
    assert_eq!(gateway.refusals(Refusal::Authentication), 6);
}

#[tokio::test]
async fn a_checked_callers_token_travels_where_we_have_none() {
    let gateway = Gateway::over(vec![sink()], checked("go-agent")).await;
    let client = gateway.client().await;
    let request = configuration_request("shop");
    client
        .unary_with(CONFIGURATIONS, &OURS, &request)
        .await
        .ok();
    let seen = gateway.headers_at_sink(CONFIGURATIONS).await;
    assert_eq!(seen["authentication"], "secret");
    client.unary(CONFIGURATIONS, &request).await.ok();
    let seen = gateway.headers_at_sink(CONFIGURATIONS).await;
    assert_eq!(seen.get("authentication"), None);
    client
        .unary_with(KEEP_ALIVE, &OURS, &ping("shop"))
        .await
        .ok();
    gateway.arrived(KEEP_ALIVE, 1).await;
    let seen = gateway.headers_at_sink(KEEP_ALIVE).await;
    assert_eq!(seen["authentication"], "secret");
}

/// Where reports are exempt, callers with and without a token meet in one queue partition. The sink
/// refuses the batches of those without.
#[tokio::test]
async fn exempt_reports_share_no_batch_with_those_that_have_the_token() {
    const EACH: usize = 100;
    let gateway = Gateway::over(vec![sink_with(Some("secret"))], |settings| {
        checked(SEGMENTS)(settings);
        let pipe = pipe(settings, TRACING);
        pipe.queue.as_mut().unwrap().partition = 1;
        pipe.retry.max_attempts = Some(2);
        pipe.retry.max_pause = Duration::from_millis(50);
    })
    .await;
    let client = gateway.client().await;
    let mut with = client.open_with(SEGMENTS, &OURS).await;
    let mut without = client.open(SEGMENTS).await;
    for number in 0..EACH {
        let id = number.to_string();
        with.send(framed(&segment(&id, "with"))).await.unwrap();
        without
            .send(framed(&segment(&id, "without")))
            .await
            .unwrap();
    }
    for mut call in [with, without] {
        call.half_close();
        call.answer().await.ok();
    }
    gateway.settled().await;
    let services = gateway.sink().snapshot().services;
    assert_eq!(services[&filed_as("with")][SEGMENTS], EACH as u64);
    assert_eq!(services.get(&filed_as("without")), None);
    let totals = gateway.stop().await;
    assert_eq!(totals.dropped_for(DropReason::Attempts), EACH as u64);
}

/// The empty one is none, so the caller is admitted by the other; that one has to travel.
#[tokio::test]
async fn the_token_by_which_a_call_is_admitted_travels_with_its_data() {
    let gateway = Gateway::over(vec![sink_with(Some("secret"))], checked("")).await;
    let client = gateway.client().await;
    let both = [("authentication", ""), OURS[0]];
    client
        .unary_with(KEEP_ALIVE, &both, &ping("shop"))
        .await
        .ok();
    gateway.arrived(KEEP_ALIVE, 1).await;
}
