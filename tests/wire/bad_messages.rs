//! Agents that break gRPC. Each loses the call that does so, and nothing else on its connection.

use bytes::Bytes;
use http::Request;
use perigee::engine::Code;
use perigee::telemetry::books::Refusal;

use crate::bystander::Bystander;
use crate::client::{Call, Client, soon};
use crate::gateway::{Gateway, http_get};
use crate::messages::*;

const GZIP: [(&str, &str); 1] = [("grpc-encoding", "gzip")];

/// A gateway, an innocent agent beside it, and a connection with an innocent call on it.
struct Scene {
    gateway: Gateway,
    bystander: Bystander,
    client: Client,
    neighbour: Call,
}

impl Scene {
    async fn set() -> Self {
        let gateway = Gateway::start(1).await;
        let bystander = Bystander::of(&gateway).await;
        let client = gateway.client().await;
        let mut neighbour = client.open(SEGMENTS).await;
        let first = framed(&segment("first", "neighbour"));
        neighbour.send(first).await.unwrap();
        Self {
            gateway,
            bystander,
            client,
            neighbour,
        }
    }

    /// Counted once and for this reason, and nobody else has noticed.
    async fn ends_well(mut self, why: Refusal) {
        let counted = Refusal::ALL.map(|reason| (reason, self.gateway.refusals(reason)));
        let wanted = Refusal::ALL.map(|reason| (reason, u64::from(reason == why)));
        assert_eq!(counted, wanted);
        let second = framed(&segment("second", "neighbour"));
        self.neighbour.send(second).await.unwrap();
        self.neighbour.half_close();
        assert_eq!(self.neighbour.answer().await.ok(), EMPTY);
        let neighbour = |state: &perigee::sink::state::State| {
            let methods = state.services.get(&filed_as("neighbour"));
            methods.is_some_and(|methods| methods[SEGMENTS] == 2)
        };
        soon(self.gateway.sink().wait_until(neighbour)).await;
        self.bystander.stays_unharmed(&self.gateway).await;
        let admin = self.gateway.app.admin_address.unwrap();
        let metrics = http_get(admin, "/metrics").await;
        let label = format!("reason=\"{}\"", why.label());
        let mut lines = metrics.lines();
        let line =
            lines.find(|line| line.starts_with("perigee_refusals_total{") && line.contains(&label));
        assert!(line.unwrap().ends_with(" 1"), "{line:?}");
        self.gateway.stop().await;
    }
}

/// A report call with this body, half-closed unless `endless`: refused with INTERNAL, whose text
/// is returned.
async fn refused(
    (path, headers): (&str, &[(&str, &str)]),
    body: impl Into<Bytes>,
    why: Refusal,
) -> String {
    let scene = Scene::set().await;
    let mut call = scene.client.open_with(path, headers).await;
    // The answer may come before everything is sent.
    if call.send(body).await.is_ok() {
        call.half_close();
    }
    let text = call.answer().await.refused(Code::Internal);
    scene.ends_well(why).await;
    text
}

#[tokio::test]
async fn a_flag_that_is_neither_0_nor_1_is_refused() {
    let body = flagged(2, &segment("a", "shop"));
    let text = refused((SEGMENTS, &[]), body, Refusal::BadFrame).await;
    assert!(text.contains("flag is 2"), "{text}");
}

#[tokio::test]
async fn good_messages_before_a_bad_one_are_delivered() {
    let scene = Scene::set().await;
    let mut call = scene.client.open(SEGMENTS).await;
    let good = framed(&segment("good", "shop"));
    let bad = flagged(9, &segment("bad", "shop"));
    call.send([&good[..], &good, &bad].concat()).await.unwrap();
    call.answer().await.refused(Code::Internal);
    let arrived = |state: &perigee::sink::state::State| {
        let methods = state.services.get(&filed_as("shop"));
        methods.is_some_and(|methods| methods[SEGMENTS] == 2)
    };
    soon(scene.gateway.sink().wait_until(arrived)).await;
    scene.ends_well(Refusal::BadFrame).await;
}

#[tokio::test]
async fn a_length_of_60_mib_is_refused_before_it_comes() {
    let scene = Scene::set().await;
    let mut call = scene.client.open(SEGMENTS).await;
    let prefix = [&[0][..], &(60_u32 << 20).to_be_bytes()].concat();
    call.send(prefix).await.unwrap();
    let text = call.answer().await.refused(Code::Internal);
    assert!(text.contains("exceeds maximum size 52428800"), "{text}");
    scene.ends_well(Refusal::Oversized).await;
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_message_is_refused() {
    let whole = framed(&segment("a", "shop"));
    let text = refused(
        (SEGMENTS, &[]),
        whole.slice(..whole.len() - 1),
        Refusal::Truncated,
    );
    assert!(text.await.contains("inside a message"));
}

#[tokio::test]
async fn a_stream_that_ends_inside_a_prefix_is_refused() {
    let body = [&framed(&segment("a", "shop"))[..], &[0, 0, 0]].concat();
    let text = refused((SEGMENTS, &[]), body, Refusal::Truncated).await;
    assert!(text.contains("after 3 bytes"), "{text}");
}

#[tokio::test]
async fn two_messages_on_a_unary_method_are_refused() {
    let body = framed(&ping("shop")).repeat(2);
    refused((KEEP_ALIVE, &[]), body, Refusal::WrongShape).await;
}

#[tokio::test]
async fn no_message_on_a_unary_method_is_refused() {
    refused((KEEP_ALIVE, &[]), Bytes::new(), Refusal::WrongShape).await;
}

#[tokio::test]
async fn a_compressed_message_without_an_encoding_is_refused() {
    let body = flagged(1, &segment("a", "shop"));
    refused((SEGMENTS, &[]), body, Refusal::BadFrame).await;
}

#[tokio::test]
async fn a_compressed_message_that_does_not_inflate_is_refused() {
    let body = flagged(1, b"not gzip at all");
    refused((SEGMENTS, &GZIP), body, Refusal::BadFrame).await;
}

#[tokio::test]
async fn an_empty_compressed_message_is_refused() {
    refused((SEGMENTS, &GZIP), flagged(1, b""), Refusal::BadFrame).await;
}

#[tokio::test]
async fn headers_above_8_kib_are_refused() {
    let scene = Scene::set().await;
    let long = "v".repeat(9 << 10);
    let call = scene.client.open_with(SEGMENTS, &[("x", &long)]).await;
    let text = call.answer().await.refused(Code::Internal);
    assert!(text.contains("at most 8192"), "{text}");
    scene.ends_well(Refusal::Metadata).await;
}

#[tokio::test]
async fn headers_that_an_oap_would_cut_the_connection_for_do_not_reach_it() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let long = "v".repeat(5 << 10);
    let headers = [("x", &*long), ("agent-version", &*long)];
    let request = configuration_request("shop");
    let answer = client
        .unary_with(CONFIGURATIONS, &headers[..1], &request)
        .await;
    answer.ok();
    let answer = client
        .unary_with(CONFIGURATIONS, &headers[1..], &request)
        .await;
    answer.ok();
    let seen = gateway.headers_at_sink(CONFIGURATIONS).await;
    assert_eq!(seen.get("agent-version"), None);
    assert_eq!(gateway.sink().snapshot().methods[CONFIGURATIONS].calls, 2);
}

/// An OAP ends the whole connection, which all agents share, for a header list of 16 KiB.
#[tokio::test]
async fn a_path_that_an_oap_would_cut_the_connection_for_does_not_reach_it() {
    let scene = Scene::set().await;
    let before = scene.gateway.sink().snapshot().accepted_connections;
    let path = format!("/new.v1.Service/{}", "m".repeat(16 << 10));
    let answer = scene.client.unary(&path, b"").await;
    answer.refused(Code::Unimplemented);
    let after = scene.gateway.sink().snapshot().accepted_connections;
    assert_eq!(after, before);
    scene.ends_well(Refusal::UnknownMethod).await;
}

/// A request that is no gRPC call: told so in HTTP, as gRPC has no word for it.
async fn unsupported(request: Request<()>) {
    let scene = Scene::set().await;
    let call = scene.client.request(request).await;
    assert_eq!(call.answer().await.http, 415);
    scene.ends_well(Refusal::ContentType).await;
}

#[tokio::test]
async fn a_wrong_content_type_is_http_415() {
    let request = Request::post(format!("http://gateway{SEGMENTS}"));
    let request = request.header("content-type", "application/json");
    unsupported(request.body(()).unwrap()).await;
}

#[tokio::test]
async fn a_get_is_http_415() {
    let request = Request::get(format!("http://gateway{SEGMENTS}"));
    let request = request.header("content-type", "application/grpc");
    unsupported(request.body(()).unwrap()).await;
}

#[tokio::test]
async fn any_subtype_of_grpc_is_accepted() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let request = Request::post(format!("http://gateway{SEGMENTS}"));
    let request = request.header("content-type", "application/grpc+proto");
    let mut call = client.request(request.body(()).unwrap()).await;
    call.send(framed(&segment("a", "shop"))).await.unwrap();
    call.half_close();
    assert_eq!(call.answer().await.ok(), EMPTY);
}
