//! What calls get.

use super::*;

#[tokio::test]
async fn a_stream_is_answered_at_its_half_close_with_empty_commands() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let (messages, answers) = client.open(SEGMENTS).await;
    let answers = tokio::spawn(answers);
    messages.send(segment("a", "s")).await.unwrap();
    soon(sink.wait_until(|state| state.messages(SEGMENTS) == 1)).await;
    assert!(!answers.is_finished());
    assert_eq!(sink.snapshot().methods[SEGMENTS].open, 1);
    drop(messages);
    let answers = collect(soon(answers).await.unwrap().unwrap())
        .await
        .unwrap();
    assert_eq!(answers, [Bytes::new()]);
    let state = soon(sink.wait_until(|state| state.methods[SEGMENTS].open == 0)).await;
    assert_eq!(state.methods[SEGMENTS].cut, 0);
    assert_eq!(state.services["s/s-1"][SEGMENTS], 1);
}

#[tokio::test]
async fn an_empty_stream_is_normal_and_an_empty_unary_call_is_not() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    assert_eq!(client.call(SEGMENTS, vec![]).await.unwrap(), [Bytes::new()]);
    assert_code(client.call(KEEP_ALIVE, vec![]).await, Code::Internal);
    assert_code(
        client.call(KEEP_ALIVE, vec![ping("a"), ping("b")]).await,
        Code::Internal,
    );
    assert_eq!(
        client
            .call(KEEP_ALIVE, vec![ping("a")])
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn undecodable_bytes_end_the_stream_and_what_came_before_counts() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let messages = vec![segment("a", "s"), undecodable(), segment("b", "s")];
    let text = assert_code(client.call(SEGMENTS, messages).await, Code::Unknown);
    assert_eq!(text, "Application error processing RPC");
    assert_code(
        client.call(KEEP_ALIVE, vec![undecodable()]).await,
        Code::Unknown,
    );
    let state = sink.snapshot();
    assert_eq!(state.total_messages, 1);
    assert_eq!(state.errors["UNKNOWN"], 2);
    assert_eq!(sink.ids(SEGMENTS)[0].id, "a");
}

#[tokio::test]
async fn an_event_without_layer_ends_the_stream_and_an_unknown_layer_passes() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let event = |uuid: &str, layer: &str| {
        encoded(&sw::Event {
            uuid: uuid.to_owned(),
            layer: layer.to_owned(),
            ..Default::default()
        })
    };
    let messages = vec![
        event("1", "GENERAL"),
        event("2", "NEWER"),
        event("3", ""),
        event("4", "X"),
    ];
    let text = assert_code(client.call(EVENTS, messages).await, Code::InvalidArgument);
    assert_eq!(text, "layer is required");
    let ids: Vec<_> = sink.ids(EVENTS).into_iter().map(|id| id.id).collect();
    assert_eq!(ids, ["1", "2"]);
}

#[tokio::test]
async fn a_message_above_50_mib_is_refused_and_one_below_is_not() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let of_size = |bytes: usize| {
        encoded(&sw::SegmentObject {
            trace_id: "x".repeat(bytes),
            ..Default::default()
        })
    };
    client
        .call(SEGMENTS, vec![of_size(49 << 20)])
        .await
        .unwrap();
    let text = assert_code(
        client.call(SEGMENTS, vec![of_size(51 << 20)]).await,
        Code::ResourceExhausted,
    );
    assert!(text.contains("exceeds maximum size 52428800"), "{text}");
    assert_eq!(sink.snapshot().total_messages, 1);
}

#[tokio::test]
async fn unknown_methods_are_unimplemented_and_health_is_always_good() {
    let sink = start_with(SinkOptions {
        token: Some("t".to_owned()),
        ..SinkOptions::default()
    });
    let mut client = Client::of(&sink).await;
    for path in [
        "/no.such.Service/method",
        "/skywalking.v3.EventService/other",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/RemoteService/call",
    ] {
        assert_code(
            client.call(path, vec![Bytes::new()]).await,
            Code::Unimplemented,
        );
    }
    let health = client
        .call("/grpc.health.v1.Health/Check", vec![Bytes::new()])
        .await;
    assert_eq!(health.unwrap(), [Bytes::from_static(&[8, 1])]);
    assert_eq!(sink.snapshot().total_messages, 0);
}

#[tokio::test]
async fn a_wrong_token_is_denied_and_the_headers_are_kept() {
    let sink = start_with(SinkOptions {
        token: Some("secret".to_owned()),
        ..SinkOptions::default()
    });
    let mut client = Client::of(&sink).await;
    assert_code(
        client.call(KEEP_ALIVE, vec![ping("a")]).await,
        Code::PermissionDenied,
    );
    for (token, good) in [("wrong", false), ("secret", true)] {
        let mut request = Request::new(vec![ping("a")]);
        request
            .metadata_mut()
            .insert("authentication", token.parse().unwrap());
        let result = client.call_as(KEEP_ALIVE, request).await;
        assert_eq!(result.is_ok(), good, "{token}");
    }
    let state = sink.snapshot();
    assert_eq!(state.errors["PERMISSION_DENIED"], 2);
    assert_eq!(state.total_messages, 1);
    let headers = sink.shared.headers(KEEP_ALIVE).unwrap();
    assert_eq!(headers["authentication"], "secret");
}

#[tokio::test]
async fn gzip_is_accepted() {
    let sink = start();
    let mut client = Client::of(&sink).await.gzip();
    client
        .call(SEGMENTS, vec![segment("a", &"s".repeat(500))])
        .await
        .unwrap();
    assert_eq!(sink.ids(SEGMENTS)[0].id, "a");
    assert_eq!(
        sink.shared.headers(SEGMENTS).unwrap()["grpc-encoding"],
        "gzip"
    );
}

#[tokio::test]
async fn services_without_package_are_served() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let path = "/TraceSegmentReportService/collect";
    client.call(path, vec![segment("a", "s")]).await.unwrap();
    assert_eq!(sink.snapshot().messages(path), 1);
}

#[tokio::test]
async fn configurations_come_once() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let path = "/skywalking.v3.ConfigurationDiscoveryService/fetchConfigurations";
    let mut request = sw::ConfigurationSyncRequest {
        service: "s".to_owned(),
        uuid: String::new(),
    };
    let answers = client.call(path, vec![encoded(&request)]).await.unwrap();
    let commands = sw::Commands::decode(answers[0].clone()).unwrap().commands;
    assert_eq!(commands[0].command, "ConfigurationDiscoveryCommand");
    assert_eq!(commands[0].args[0].key, "SerialNumber");
    assert_eq!(commands[0].args[1].key, "UUID");
    request.uuid.clone_from(&commands[0].args[1].value);
    assert_eq!(
        client.call(path, vec![encoded(&request)]).await.unwrap(),
        [Bytes::new()]
    );
}

#[tokio::test]
async fn processes_get_ids_that_every_sink_agrees_on() {
    use sw::ebpf_process_downstream::Process;
    use sw::ebpf_process_properties::Metadata;
    let entity = sw::EbpfProcessEntityMetadata {
        service_name: "s".to_owned(),
        instance_name: "i".to_owned(),
        process_name: "p".to_owned(),
        ..Default::default()
    };
    let list = sw::EbpfProcessReportList {
        processes: vec![sw::EbpfProcessProperties {
            metadata: Some(Metadata::HostProcess(sw::EbpfHostProcessMetadata {
                entity: Some(entity.clone()),
                pid: 7,
                properties: vec![],
            })),
        }],
        ebpf_agent_id: "agent".to_owned(),
    };
    let mut given = Vec::new();
    for _ in 0..2 {
        let sink = start();
        let mut client = Client::of(&sink).await;
        let path = "/skywalking.v3.EBPFProcessService/reportProcesses";
        let answers = client.call(path, vec![encoded(&list)]).await.unwrap();
        let answer = sw::EbpfReportProcessDownstream::decode(answers[0].clone()).unwrap();
        let Some(Process::HostProcess(host)) = &answer.processes[0].process else {
            panic!("not a host process: {answer:?}");
        };
        assert_eq!(host.pid, 7);
        assert_eq!(host.entity_metadata.as_ref(), Some(&entity));
        assert_eq!(sink.snapshot().services["s/i"][path], 1);
        given.push(answer.processes[0].process_id.clone());
    }
    assert_eq!(given[0].len(), 64);
    assert_eq!(given[0], given[1]);
}

#[tokio::test]
async fn a_continuous_profiling_report_starts_a_new_task_each_time() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let path = "/skywalking.v3.ContinuousProfilingService/reportProfilingTask";
    let report = encoded(&sw::ContinuousProfilingReport::default());
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answers = client.call(path, vec![report.clone()]).await.unwrap();
        let command = sw::Commands::decode(answers[0].clone())
            .unwrap()
            .commands
            .remove(0);
        assert_eq!(command.command, "ContinuousProfilingReportTask");
        ids.push(command.args[1].clone());
    }
    assert_eq!(ids[0].key, "TaskId");
    assert_ne!(ids[0].value, ids[1].value);
}
