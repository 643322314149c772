//! Misbehaviour, resets, and lost connections.

use std::future::poll_fn;

use super::super::fault::{CodeName, Fault};
use super::super::state::State;
use super::*;

#[tokio::test]
async fn a_stalled_sink_takes_one_window_and_goes_on_when_lifted() {
    let sink = start();
    sink.set_fault(Fault {
        stall: true,
        ..Fault::default()
    });
    let (answer, mut body) = raw_call(&sink, SEGMENTS).await;
    soon(sink.wait_until(|state| state.methods.contains_key(SEGMENTS))).await;

    let mut rest = framed(&segment("a", &"s".repeat(3 << 20)));
    let window = 1 << 20;
    send(&mut body, &mut rest, window).await;
    body.reserve_capacity(1);
    assert_eq!(body.capacity(), 0, "the window is spent");
    assert_eq!(sink.snapshot().total_messages, 0);

    sink.set_fault(Fault::default());
    let length = rest.len();
    send(&mut body, &mut rest, length).await;
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(soon(answer).await.unwrap().status(), 200);
    assert_eq!(sink.snapshot().total_messages, 1);
}

async fn send(body: &mut h2::SendStream<Bytes>, rest: &mut Bytes, mut amount: usize) {
    while amount > 0 {
        body.reserve_capacity(amount);
        let room = soon(poll_fn(|cx| body.poll_capacity(cx)))
            .await
            .unwrap()
            .unwrap();
        let part = rest.split_to(room.min(amount));
        amount -= part.len();
        body.send_data(part, false).unwrap();
    }
}

#[tokio::test]
async fn a_fault_for_one_path_leaves_the_others_alone() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    sink.set_fault(Fault {
        path: Some("Trace".to_owned()),
        refuse: Some(CodeName(Code::ResourceExhausted)),
        ..Fault::default()
    });
    let refused = client.call(SEGMENTS, vec![segment("a", "s")]).await;
    assert_code(refused, Code::ResourceExhausted);
    client.call(KEEP_ALIVE, vec![ping("a")]).await.unwrap();
    assert_eq!(sink.snapshot().messages(SEGMENTS), 0);
}

#[tokio::test]
async fn a_refusal_also_meets_messages_on_open_streams() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let (messages, answers) = client.open(SEGMENTS).await;
    let answers = tokio::spawn(answers);
    messages.send(segment("a", "s")).await.unwrap();
    soon(sink.wait_until(|state| state.total_messages == 1)).await;
    sink.set_fault(Fault {
        refuse: Some(CodeName(Code::Unavailable)),
        ..Fault::default()
    });
    messages.send(segment("b", "s")).await.unwrap();
    assert_code(soon(answers).await.unwrap().map(|_| ()), Code::Unavailable);
    assert_eq!(sink.snapshot().total_messages, 1);
}

#[tokio::test]
async fn every_third_message_ends_its_call() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    sink.set_fault(Fault {
        fail_after: Some(3),
        fail_code: Some(CodeName(Code::Internal)),
        ..Fault::default()
    });
    for _ in 0..2 {
        let two = vec![segment("a", "s"), segment("b", "s")];
        client.call(SEGMENTS, two.clone()).await.unwrap();
        assert_code(client.call(SEGMENTS, two).await, Code::Internal);
    }
    assert_eq!(sink.snapshot().total_messages, 6);
}

#[tokio::test]
async fn an_answer_may_be_late() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    sink.set_fault(Fault {
        delay_ms: 150,
        ..Fault::default()
    });
    let before = std::time::Instant::now();
    client.call(KEEP_ALIVE, vec![ping("a")]).await.unwrap();
    assert!(before.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_reset_call_is_cut_and_the_connection_goes_on() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let (messages, answers) = client.open(SEGMENTS).await;
    let answers = tokio::spawn(answers);
    messages.send(segment("a", "s")).await.unwrap();
    soon(sink.wait_until(|state| state.total_messages == 1)).await;
    answers.abort();
    let state = soon(sink.wait_until(|state| state.methods[SEGMENTS].open == 0)).await;
    assert_eq!(state.methods[SEGMENTS].cut, 1);
    client.call(KEEP_ALIVE, vec![ping("a")]).await.unwrap();
    assert_eq!(sink.snapshot().accepted_connections, 1);
}

#[tokio::test]
async fn a_lost_connection_cuts_its_calls() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let (messages, answers) = client.open(SEGMENTS).await;
    let answers = tokio::spawn(answers);
    messages.send(segment("a", "s")).await.unwrap();
    soon(sink.wait_until(|state| state.total_messages == 1)).await;
    answers.abort();
    drop(client);
    // A call hears of its connection's end after the connection itself.
    let over = |state: &State| state.connections == 0 && state.methods[SEGMENTS].open == 0;
    let state = soon(sink.wait_until(over)).await;
    assert_eq!(state.methods[SEGMENTS].cut, 1);
}

#[tokio::test]
async fn a_sink_that_shuts_down_ends_open_calls_and_frees_its_address() {
    let sink = start();
    let mut client = Client::of(&sink).await;
    let (messages, answers) = client.open(SEGMENTS).await;
    let answers = tokio::spawn(answers);
    messages.send(segment("a", "s")).await.unwrap();
    soon(sink.wait_until(|state| state.total_messages == 1)).await;
    let listen = sink.listen();
    sink.shutdown().unwrap();
    assert!(soon(answers).await.unwrap().is_err());
    let again = start_with(SinkOptions {
        listen,
        ..SinkOptions::default()
    });
    assert_eq!(again.listen(), listen);
}
