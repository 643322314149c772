//! What is served, and what is refused.

use perigee::engine::Code;
use perigee::telemetry::books::Refusal;

use crate::gateway::{Gateway, TRACING, http_get};
use crate::messages::*;

#[tokio::test]
async fn t18_services_of_oap_nodes_and_of_operators_are_refused() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    for (path, code) in [
        ("/RemoteService/call", Code::PermissionDenied),
        (
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            Code::Unimplemented,
        ),
        (
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            Code::Unimplemented,
        ),
        ("/grpc.health.v1.Health/Watch", Code::Unimplemented),
        ("/grpc.health.v1.Health/List", Code::Unimplemented),
    ] {
        client.unary(path, b"").await.refused(code);
    }
    assert_eq!(gateway.refusals(Refusal::Disabled), 1);
    assert_eq!(gateway.refusals(Refusal::UnknownMethod), 4);
    assert!(gateway.sink().snapshot().methods.is_empty());
}

#[tokio::test]
async fn health_is_answered_by_the_gateway_itself() {
    let gateway = Gateway::start(0).await;
    let client = gateway.client().await;
    let answer = client.unary(HEALTH, b"").await;
    assert_eq!(answer.ok(), framed(&[0x08, 1]));
}

#[tokio::test]
async fn a_pipe_that_is_switched_off_is_unimplemented() {
    let gateway = Gateway::start_with(1, |settings| {
        settings
            .pipes
            .retain(|pipe| pipe.protocol.receiver != TRACING);
    })
    .await;
    let client = gateway.client().await;
    for path in [SEGMENTS, SEGMENTS_IN_SYNC] {
        client.unary(path, b"").await.refused(Code::Unimplemented);
    }
    assert_eq!(gateway.refusals(Refusal::Disabled), 2);
    let metrics = http_get(gateway.app.admin_address.unwrap(), "/metrics").await;
    let line = metrics
        .lines()
        .find(|line| line.contains("perigee_refusals_total{") && line.contains("\"disabled\""));
    assert!(line.unwrap().ends_with(" 2"), "{line:?}");
}
