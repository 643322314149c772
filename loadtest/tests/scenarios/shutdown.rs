//! How the gateway ends.

use std::time::{Duration, Instant};

use perigee_loadtest::process::Signal;
use perigee_loadtest::scenario::{Client, Scenario, SinkProcess, Stopped, Traffic, segment};
use perigee_loadtest::segment::METHOD;

use super::{SIZE, SOON, assert_arrived, await_count, await_delivered, ids, pipe, report};

/// Scenario: SIGTERM while agents report.
/// Guarantees: everything that was acknowledged, and whatever else was received, is delivered;
/// the exit code is 0; the last line says so in numbers.
#[test]
fn everything_received_is_delivered_before_the_end() {
    let mut scenario = Scenario::start(3, |_| {}).unwrap();
    let traffic = Traffic {
        clients: 6,
        messages: 40,
        rate: 1500,
        size: SIZE,
    };
    let traffic = traffic.start(scenario.gateway.address());
    for sink in &scenario.sinks {
        await_count(sink, 200);
    }

    let status = scenario.gateway.stop(SOON).unwrap();
    let sent = traffic.end().unwrap();

    let stopped = scenario.gateway.stopped().unwrap();
    assert_eq!(status.code(), Some(0), "{}", scenario.gateway.log());
    let arrived = scenario
        .await_ids(METHOD, &sent.acknowledged, SOON)
        .unwrap();
    let all = arrived.len() as u64;
    let expected = Stopped {
        received: all,
        delivered: all,
        dropped: 0,
        not_delivered: 0,
        by_pipe: String::new(),
    };
    assert_eq!(stopped, expected);
    let of_acknowledged = arrived
        .iter()
        .filter(|one| sent.acknowledged.contains(&one.id));
    assert_eq!(
        of_acknowledged.count(),
        sent.acknowledged.len(),
        "duplicates"
    );
    let unknown = arrived
        .iter()
        .find(|one| !sent.acknowledged.contains(&one.id) && !sent.unanswered.contains(&one.id));
    assert_eq!(unknown, None);
}

/// Scenario: SIGTERM with every node down, some messages delivered before, some acknowledged since,
/// some of a call that is still open.
/// Guarantees: the gateway ends within the hook time, exit code 0, and says exactly how many
/// messages are not delivered.
#[test]
fn an_end_without_nodes_is_in_time_and_says_what_is_lost() {
    const HOOK: u32 = 3;
    let mut scenario = Scenario::start(3, |config| config.hook_seconds = Some(HOOK)).unwrap();
    report(&scenario, &ids("delivered", 90));
    await_delivered(&scenario, SOON);
    scenario.sinks.iter_mut().for_each(SinkProcess::kill);
    report(&scenario, &ids("acknowledged", 70));
    let mut client = Client::connect(scenario.gateway.address()).unwrap();
    let mut call = client.open(METHOD).unwrap();
    for id in ids("open", 30) {
        call.send(&segment(&id, SIZE)).unwrap();
    }
    let labels = ["pipe=\"tracingpipe\""];
    let gateway = &mut scenario.gateway;
    let name = "perigee_received_messages_total";
    gateway
        .await_metric(name, &labels, SOON, |received| received == 190.0)
        .unwrap();

    let began = Instant::now();
    let status = gateway.stop(SOON).unwrap();
    let took = began.elapsed();

    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    assert!(took < Duration::from_secs(HOOK.into()), "it took {took:?}");
    let expected = Stopped {
        received: 190,
        delivered: 90,
        dropped: 0,
        not_delivered: 100,
        by_pipe: "tracingpipe 100".to_owned(),
    };
    assert_eq!(gateway.stopped().unwrap(), expected);
}

/// Scenario: SIGTERM twice, with a node down and a minute to go.
/// Guarantees: the second one ends the gateway at once, with a shell's code for SIGTERM.
#[test]
fn a_second_signal_ends_at_once() {
    let mut scenario = Scenario::start(1, |config| config.hook_seconds = Some(60)).unwrap();
    scenario.sinks[0].kill();
    report(&scenario, &ids("left", 10));
    scenario.gateway.signal(Signal::TERM).unwrap();
    scenario.gateway.await_log("told to stop", SOON).unwrap();
    let status = scenario.gateway.stop(Duration::from_secs(5)).unwrap();
    assert_eq!(status.code(), Some(143), "{}", scenario.gateway.log());
}

/// Scenario: SIGHUP, as a closing terminal or a log rotation sends it.
/// Guarantees: the gateway says that it ignores it, and goes on, the open call included.
#[test]
fn a_hangup_is_ignored() {
    let scenario = Scenario::start(1, |_| {}).unwrap();
    let mut client = Client::connect(scenario.gateway.address()).unwrap();
    let mut call = client.open(METHOD).unwrap();
    call.send(&segment("hangup-0", SIZE)).unwrap();
    scenario.gateway.signal(Signal::HUP).unwrap();
    scenario.gateway.await_log("SIGHUP ignored", SOON).unwrap();
    call.send(&segment("hangup-1", SIZE)).unwrap();
    call.finish().unwrap();
    assert_arrived(&scenario, &ids("hangup", 2), 0.0);
    assert_eq!(pipe(&scenario, "perigee_acknowledged_messages_total"), 2.0);
}
