//! Calls that an OAP answers itself.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use perigee::engine::Code;
use perigee::sink::fault::Fault;
use perigee::sink::task::{Task, TaskKind};
use perigee::telemetry::books::Refusal;
use perigee_proto::skywalking::{v3 as sw, v10};
use prost::Message;
use tokio::net::TcpSocket;

use crate::client::{Client, soon};
use crate::gateway::{Gateway, settings};
use crate::messages::*;
use crate::node::{FIRST_WORD, LAST_WORD, Manner, Node};
use crate::uploads::{JFR, begun_jfr};

/// A gateway in front of bare nodes.
async fn gateway_of(nodes: &[SocketAddr]) -> Gateway {
    let app = perigee::app::App::start(settings(nodes)).await.unwrap();
    Gateway {
        app,
        sinks: Vec::new(),
    }
}

fn stalled() -> Fault {
    Fault {
        stall: true,
        ..Fault::default()
    }
}

#[tokio::test]
async fn a_configuration_poll_gets_the_oaps_answer_byte_for_byte() {
    let gateway = Gateway::start(1).await;
    let request = configuration_request("shop");
    let directly = Client::of(gateway.sink().listen()).await;
    let directly = directly.unary(CONFIGURATIONS, &request).await;
    let through = gateway.client().await;
    let through = through.unary(CONFIGURATIONS, &request).await;
    assert!(through.ok().len() > EMPTY.len());
    assert_eq!(through.ok(), directly.ok());
}

/// A poll of a kind by somebody of this name.
fn poll(kind: TaskKind, name: &str) -> (&'static str, Vec<u8>) {
    let (service, service_instance) = (name.to_owned(), format!("{name}-1"));
    match kind {
        TaskKind::Profile => {
            let query = sw::ProfileTaskCommandQuery {
                service,
                service_instance,
                last_command_time: 0,
            };
            let path = "/skywalking.v3.ProfileTask/getProfileTaskCommands";
            (path, query.encode_to_vec())
        }
        TaskKind::Async => {
            let query = v10::AsyncProfilerTaskCommandQuery {
                service,
                service_instance,
                last_command_time: 0,
            };
            let path = "/skywalking.v10.AsyncProfilerTask/getAsyncProfilerTaskCommands";
            (path, query.encode_to_vec())
        }
        TaskKind::Pprof => {
            let query = v10::PprofTaskCommandQuery {
                service,
                service_instance,
                last_command_time: 0,
            };
            let path = "/skywalking.v10.PprofTask/getPprofTaskCommands";
            (path, query.encode_to_vec())
        }
        TaskKind::Ebpf => {
            let query = sw::EbpfProfilingTaskQuery {
                rover_instance_id: service,
                latest_update_time: 0,
            };
            let path = "/skywalking.v3.EBPFProfilingService/queryTasks";
            (path, query.encode_to_vec())
        }
        TaskKind::Continuous => {
            let query = sw::ContinuousProfilingPolicyQuery {
                policies: vec![sw::ContinuousProfilingServicePolicyQuery {
                    service_name: service,
                    uuid: String::new(),
                }],
            };
            let path = "/skywalking.v3.ContinuousProfilingService/queryPolicies";
            (path, query.encode_to_vec())
        }
    }
}

#[tokio::test]
async fn t21_every_task_poll_gets_the_oaps_answer_byte_for_byte_and_is_made_once() {
    let gateway = Gateway::start(1).await;
    let directly = Client::of(gateway.sink().listen()).await;
    let through = gateway.client().await;
    for kind in [
        TaskKind::Profile,
        TaskKind::Async,
        TaskKind::Pprof,
        TaskKind::Ebpf,
        TaskKind::Continuous,
    ] {
        gateway.sink().hand_out(Task {
            kind,
            service: None,
            instance: None,
            process: None,
            // An eBPF task for no process goes to whom has reported one.
            args: [("ProcessId".to_owned(), "p".to_owned())].into(),
            unchecked: false,
        });
        // A task is handed to each asker once.
        let (path, request) = poll(kind, "direct");
        let direct = directly.unary(path, &request).await;
        let (path, request) = poll(kind, "through");
        let passed = through.unary(path, &request).await;
        assert!(passed.ok().len() > EMPTY.len(), "{kind:?}");
        assert_eq!(passed.ok(), direct.ok(), "{kind:?}");
        assert_eq!(gateway.sink().snapshot().methods[path].calls, 2, "{kind:?}");
        assert_eq!(through.unary(path, &request).await.ok(), EMPTY, "{kind:?}");
    }
}

#[tokio::test]
async fn t18_both_directions_of_an_unknown_method_are_copied_as_they_are() {
    let node = Node::start(Manner::Echo).await;
    let gateway = gateway_of(&[node.address]).await;
    let client = gateway.client().await;
    let headers = [
        ("grpc-encoding", "zstd"),
        ("agent-version", "9.8"),
        ("x-secret", "1"),
    ];
    let mut call = client.open_with("/new.v1.Service/bidi", &headers).await;
    assert_eq!(call.head().await["x-node"], "head");
    assert_eq!(call.message().await.unwrap(), FIRST_WORD);
    // No frame of gRPC, and cut anywhere: it is not looked at.
    for part in [&b"\x07\xff"[..], b"\0\0\0\x0bhello", b" world"] {
        call.send(part.to_vec()).await.unwrap();
    }
    call.half_close();
    let answer = call.answer().await;
    let echoed = [&b"\x07\xff\0\0\0\x0bhello world"[..], LAST_WORD].concat();
    assert_eq!(answer.ok(), echoed);
    assert_eq!(answer.trailers["x-node"], "trailer");
    let seen = node.seen().remove(0);
    assert_eq!(seen.path, "/new.v1.Service/bidi");
    assert_eq!(seen.authority, node.address.to_string());
    assert_eq!(seen.headers["grpc-encoding"], "zstd");
    assert_eq!(seen.headers["agent-version"], "9.8");
    assert_eq!(seen.headers.get("x-secret"), None);
    assert_eq!(seen.headers["te"], "trailers");
}

#[tokio::test]
async fn an_answer_of_headers_alone_keeps_its_fields() {
    let node = Node::start(Manner::HeadersOnly).await;
    let gateway = gateway_of(&[node.address]).await;
    let client = gateway.client().await;
    let answer = client.unary("/new.v1.Service/unary", b"x").await;
    assert_eq!(answer.refused(Code::NotFound), "not here");
    assert_eq!(answer.headers["x-node"], "head");
}

#[tokio::test]
async fn unknown_methods_are_unimplemented_where_they_are_not_forwarded() {
    let gateway = Gateway::start_with(1, |settings| {
        settings.server.forward_unknown_methods = false;
    })
    .await;
    let client = gateway.client().await;
    let answer = client.unary("/new.v1.Service/unary", b"x").await;
    answer.refused(Code::Unimplemented);
    assert_eq!(gateway.refusals(Refusal::UnknownMethod), 1);
    assert!(gateway.sink().snapshot().methods.is_empty());
}

#[tokio::test]
async fn a_callers_deadline_reaches_the_oap_shortened() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let request = configuration_request("shop");
    let timeout = [("grpc-timeout", "29596483u")];
    client
        .unary_with(CONFIGURATIONS, &timeout, &request)
        .await
        .ok();
    let seen = gateway.headers_at_sink(CONFIGURATIONS).await;
    let left: u64 = seen["grpc-timeout"]
        .strip_suffix('u')
        .unwrap()
        .parse()
        .unwrap();
    assert!((20_000_000..29_596_483).contains(&left), "{left}");
    client.unary(CONFIGURATIONS, &request).await.ok();
    let seen = gateway.headers_at_sink(CONFIGURATIONS).await;
    assert_eq!(seen.get("grpc-timeout"), None);
}

#[tokio::test]
async fn a_callers_deadline_is_kept_when_the_oap_does_not_answer() {
    let gateway = Gateway::start(1).await;
    gateway.sink().set_fault(stalled());
    let client = gateway.client().await;
    let began = Instant::now();
    let timeout = [("grpc-timeout", "300m")];
    let answer = client
        .unary_with(CONFIGURATIONS, &timeout, &configuration_request("shop"))
        .await;
    answer.refused(Code::DeadlineExceeded);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert_eq!(gateway.refusals(Refusal::Deadline), 1);
    let cut = |state: &perigee::sink::state::State| state.methods[CONFIGURATIONS].cut == 1;
    soon(gateway.sink().wait_until(cut)).await;
}

#[tokio::test]
async fn a_callers_deadline_resets_an_upload_that_was_answered_already() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    let call = begun_jfr(&client, &[("grpc-timeout", "1S")]).await;
    let reset = call.outcome().await.unwrap_err();
    assert_eq!(reset.reason(), Some(h2::Reason::CANCEL));
    assert_eq!(gateway.refusals(Refusal::Deadline), 1);
    let cut = |state: &perigee::sink::state::State| state.methods[JFR].cut == 1;
    soon(gateway.sink().wait_until(cut)).await;
}

/// Holds an address on which nobody listens.
fn nobody() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

#[tokio::test]
async fn without_a_ready_node_a_call_waits_for_its_deadline() {
    let nobody = nobody();
    let gateway = gateway_of(&[nobody.local_addr().unwrap()]).await;
    let client = gateway.client().await;
    let began = Instant::now();
    let timeout = [("grpc-timeout", "400m")];
    let answer = client.unary_with(CONFIGURATIONS, &timeout, b"").await;
    answer.refused(Code::DeadlineExceeded);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(400) && waited < Duration::from_secs(4));
}

#[tokio::test]
async fn without_a_ready_node_a_call_waits_five_seconds_at_most() {
    let nobody = nobody();
    let gateway = gateway_of(&[nobody.local_addr().unwrap()]).await;
    let client = gateway.client().await;
    let began = Instant::now();
    let timeout = [("grpc-timeout", "60S")];
    let (with, without) = tokio::join!(
        client.unary_with(CONFIGURATIONS, &timeout, b""),
        client.unary(CONFIGURATIONS, b""),
    );
    with.refused(Code::DeadlineExceeded);
    without.refused(Code::DeadlineExceeded);
    let waited = began.elapsed();
    assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(10));
    assert_eq!(gateway.refusals(Refusal::NoNode), 2);
}

#[tokio::test]
async fn a_node_lost_before_its_answer_is_internal() {
    let mut gateway = Gateway::start(1).await;
    gateway.sink().set_fault(stalled());
    let client = gateway.client().await;
    let mut call = client.open(CONFIGURATIONS).await;
    call.send(framed(&configuration_request("shop")))
        .await
        .unwrap();
    call.half_close();
    let sink = gateway.sinks.remove(0);
    let begun = |state: &perigee::sink::state::State| state.methods.contains_key(CONFIGURATIONS);
    soon(sink.wait_until(begun)).await;
    sink.shutdown().unwrap();
    call.answer().await.refused(Code::Internal);
}

#[tokio::test]
async fn no_status_that_stops_a_java_agent_is_relayed_on_a_poll() {
    let gateway = Gateway::start(1).await;
    let client = gateway.client().await;
    for code in ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "UNKNOWN"] {
        gateway.sink().set_fault(Fault {
            refuse: Some(code.parse().unwrap()),
            ..Fault::default()
        });
        let answer = client.unary(CONFIGURATIONS, b"").await;
        assert!(answer.refused(Code::Internal).contains(code));
    }
}
