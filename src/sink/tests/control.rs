//! The control API, tasks, and the record.

use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use super::*;

fn controlled() -> SinkHandle {
    start_with(SinkOptions {
        control: Some(([127, 0, 0, 1], 0).into()),
        keep_ids: 2,
        ..SinkOptions::default()
    })
}

async fn ask(sink: &SinkHandle, method: &str, target: &str, body: &str) -> (u16, Value) {
    let stream = tokio::net::TcpStream::connect(sink.control().unwrap())
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder()
        .method(method)
        .uri(target)
        .header("host", "sink")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap();
    let response = soon(sender.send_request(request)).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn state_ids_and_headers_can_be_read() {
    let sink = controlled();
    let mut client = Client::of(&sink).await;
    let messages = vec![segment("a", "s"), segment("b", "s"), segment("c", "s")];
    let bytes: usize = messages.iter().map(Bytes::len).sum();
    client.call(SEGMENTS, messages).await.unwrap();
    soon(sink.wait_until(|state| state.methods[SEGMENTS].open == 0)).await;
    let (status, state) = ask(&sink, "GET", "/state", "").await;
    assert_eq!(status, 200);
    assert_eq!(
        state,
        json!({
            "methods": { SEGMENTS: { "calls": 1, "messages": 3, "bytes": bytes, "open": 0, "cut": 0,
                "unnamed": 0, "repeated": 0, "unfinished": 0 } },
            "services": { "s/s-1": { SEGMENTS: 3 } },
            "total_messages": 3,
            "errors": {},
            "uploads": [],
            "connections": 1,
            "accepted_connections": 1,
            "ids_dropped": 1
        })
    );
    let escaped = SEGMENTS.replace('/', "%2F");
    let (_, ids) = ask(&sink, "GET", &format!("/ids?method={escaped}"), "").await;
    let id = |id| json!({ "id": id, "service": "s", "instance": "s-1" });
    assert_eq!(ids, json!([id("a"), id("b")]));
    let (_, headers) = ask(&sink, "GET", &format!("/headers?method={SEGMENTS}"), "").await;
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(headers[":authority"], sink.listen().to_string());
    assert_eq!(
        ask(&sink, "GET", "/headers?method=/x", "").await.1,
        Value::Null
    );
}

#[tokio::test]
async fn a_test_can_wait_for_messages() {
    let sink = controlled();
    let (status, error) = ask(&sink, "GET", "/wait?messages=1&seconds=0", "").await;
    assert_eq!(status, 504, "{error}");
    let target = format!("/wait?messages=2&method={SEGMENTS}");
    let sending = async {
        let mut client = Client::of(&sink).await;
        client
            .call(SEGMENTS, vec![segment("a", "s"), segment("b", "s")])
            .await
    };
    let (waited, sent) = tokio::join!(ask(&sink, "GET", &target, ""), sending);
    sent.unwrap();
    assert_eq!(waited.0, 200);
    assert_eq!(waited.1["total_messages"], 2);
}

#[tokio::test]
async fn faults_are_set_and_reset_forgets_counts() {
    let sink = controlled();
    let mut client = Client::of(&sink).await;
    let set = ask(
        &sink,
        "POST",
        "/fault",
        r#"{"refuse":"UNAVAILABLE","path":"keepAlive"}"#,
    )
    .await;
    assert_eq!(set, (200, json!({ "ok": true })));
    assert_code(
        client.call(KEEP_ALIVE, vec![ping("a")]).await,
        Code::Unavailable,
    );
    assert_eq!(
        ask(&sink, "POST", "/fault", r#"{"refuse":"NO"}"#).await.0,
        400
    );
    assert_eq!(
        ask(&sink, "POST", "/fault", r#"{"refuze":"OK"}"#).await.0,
        400
    );
    assert_eq!(ask(&sink, "POST", "/fault", "{}").await.0, 200);
    client.call(KEEP_ALIVE, vec![ping("a")]).await.unwrap();
    soon(sink.wait_until(|state| state.methods[KEEP_ALIVE].open == 0)).await;
    assert_eq!(ask(&sink, "POST", "/reset", "").await.0, 200);
    let (_, state) = ask(&sink, "GET", "/state", "").await;
    assert_eq!(state["methods"], json!({}));
    assert_eq!(state["connections"], 1);
    assert_eq!(ask(&sink, "GET", "/nothing", "").await.0, 404);
    assert_eq!(ask(&sink, "GET", "/ids", "").await.0, 400);
}

#[tokio::test]
async fn a_task_is_handed_to_each_asker_once() {
    let sink = controlled();
    let mut client = Client::of(&sink).await;
    let task = r#"{"kind":"profile","service":"s","args":{"TaskId":"t1","EndpointName":"/x"}}"#;
    assert_eq!(ask(&sink, "POST", "/task", task).await.0, 200);
    let path = "/skywalking.v3.ProfileTask/getProfileTaskCommands";
    let query = |service: &str, instance: &str| {
        encoded(&sw::ProfileTaskCommandQuery {
            service: service.to_owned(),
            service_instance: instance.to_owned(),
            last_command_time: 0,
        })
    };
    for (service, instance, due) in [
        ("s", "1", true),
        ("s", "1", false),
        ("s", "2", true),
        ("other", "1", false),
    ] {
        let answers = client
            .call(path, vec![query(service, instance)])
            .await
            .unwrap();
        let commands = sw::Commands::decode(answers[0].clone()).unwrap().commands;
        assert_eq!(commands.len(), usize::from(due), "{service} {instance}");
        for command in commands {
            assert_eq!(command.command, "ProfileTaskQuery");
            let arg = |key: &str| {
                let arg = command.args.iter().find(|arg| arg.key == key);
                arg.map(|arg| arg.value.as_str())
            };
            assert_eq!(arg("TaskId"), Some("t1"));
            assert_eq!(arg("EndpointName"), Some("/x"));
            assert!(arg("SerialNumber").is_some() && arg("CreateTime") != Some("now"));
        }
    }
    assert_eq!(ask(&sink, "POST", "/task", r#"{"kind":"x"}"#).await.0, 400);
}

#[tokio::test]
async fn every_poll_gets_its_kind_of_task() {
    let sink = controlled();
    let mut client = Client::of(&sink).await;
    for (kind, path, command) in [
        (
            "async",
            "/skywalking.v10.AsyncProfilerTask/getAsyncProfilerTaskCommands",
            "AsyncProfilerTaskQuery",
        ),
        (
            "pprof",
            "/skywalking.v10.PprofTask/getPprofTaskCommands",
            "PprofTaskQuery",
        ),
        (
            "ebpf",
            "/skywalking.v3.EBPFProfilingService/queryTasks",
            "EBPFProfilingTaskQuery",
        ),
        (
            "continuous",
            "/skywalking.v3.ContinuousProfilingService/queryPolicies",
            "ContinuousProfilingPolicyQuery",
        ),
    ] {
        assert_eq!(
            client.call(path, vec![Bytes::new()]).await.unwrap(),
            [Bytes::new()]
        );
        let task = json!({ "kind": kind, "args": { "ProcessId": "p" } });
        sink.hand_out(task.to_string().parse().unwrap());
        let answers = client.call(path, vec![Bytes::new()]).await.unwrap();
        let commands = sw::Commands::decode(answers[0].clone()).unwrap().commands;
        assert_eq!(commands[0].command, command);
    }
}

#[tokio::test]
async fn a_task_that_nobody_can_run_is_refused_with_a_reason() {
    let sink = controlled();
    let post = |text: &str| {
        let (text, sink) = (text.to_owned(), &sink);
        async move { ask(sink, "POST", "/task", &text).await }
    };
    let bad = r#"{"kind":"ebpf","args":{"TargetType":"HEAP"}}"#;
    let error = "args.TargetType: \"HEAP\" is not ON_CPU, OFF_CPU or NETWORK";
    assert_eq!(post(bad).await, (400, json!({ "error": error })));
    let unchecked = r#"{"kind":"ebpf","unchecked":true,"args":{"TargetType":"HEAP"}}"#;
    assert_eq!(post(unchecked).await.0, 200);
    // Nobody has reported anything: it is for those who come.
    let shopp = r#"{"kind":"ebpf","service":"shopp"}"#;
    assert_eq!(post(shopp).await.0, 200);
    let mut client = Client::of(&sink).await;
    ebpf::report(&mut client, "rover", "shop", "one").await;
    let error = "args.ProcessId is missing, and no process that is reported has service \"shopp\"; there are shop/host/one";
    assert_eq!(post(shopp).await, (400, json!({ "error": error })));
    assert_eq!(post(r#"{"kind":"ebpf","service":"shop"}"#).await.0, 200);
    let by_id = r#"{"kind":"ebpf","service":"shopp","args":{"ProcessId":"p"}}"#;
    assert_eq!(post(by_id).await.0, 200);
}

#[tokio::test]
async fn the_record_has_a_line_for_each_entry_before_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("record");
    let sink = start_with(SinkOptions {
        record: Some(file.clone()),
        ..SinkOptions::default()
    });
    let mut client = Client::of(&sink).await;
    let messages = vec![segment("a", "s"), undecodable()];
    assert_code(client.call(SEGMENTS, messages).await, Code::Unknown);
    client
        .call(KEEP_ALIVE, vec![ping("odd\tname\n")])
        .await
        .unwrap();
    let hash = super::super::decode::hash(&ping("odd\tname\n"));
    let record = std::fs::read_to_string(&file).unwrap();
    let expected = format!("{SEGMENTS}\ts\ts-1\ta\n{KEEP_ALIVE}\todd name \ti\t{hash}\n");
    assert_eq!(record, expected);
}

#[tokio::test]
async fn stacks_of_profiling_tasks_can_be_read() {
    let sink = controlled();
    let mut client = Client::of(&sink).await;
    let data = sw::EbpfProfilingData {
        task: Some(sw::EbpfProfilingTaskMetadata {
            task_id: "t".to_owned(),
            process_id: "p".to_owned(),
            profiling_start_time: 1,
            current_time: 2,
        }),
        profiling: Some(sw::ebpf_profiling_data::Profiling::OnCpu(
            sw::EbpfOnCpuProfiling {
                stacks: vec![sw::EbpfProfilingStackMetadata {
                    stack_type: 1,
                    stack_id: 1,
                    stack_symbols: vec!["leaf".to_owned(), "main".to_owned()],
                }],
                dump_count: 3,
            },
        )),
    };
    let path = "/skywalking.v3.EBPFProfilingService/collectProfilingData";
    client.call(path, vec![encoded(&data)]).await.unwrap();
    let (status, stacks) = ask(&sink, "GET", "/stacks", "").await;
    assert_eq!(status, 200);
    let stack = json!({ "kernel": [], "user": ["leaf", "main"], "count": 3, "nanos": 0 });
    let task = json!({
        "task": "t", "process": "p", "target": "ON_CPU", "started_ms": 1, "latest_ms": 2,
        "uploads": 1, "stacks": [stack], "redefined": 0
    });
    assert_eq!(stacks, json!({ "tasks": [task], "dropped": 0 }));
}
