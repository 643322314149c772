//! The load generator, the relay and the counting sink against each other.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use perigee_loadtest::generate::{self, Load};
use perigee_loadtest::http2::{self, PREFACE, kind};
use perigee_loadtest::payload::Payload;
use perigee_loadtest::process::{Running, Signal};
use perigee_loadtest::sink::Counts;

const WITHIN: Duration = Duration::from_secs(20);

fn start(arguments: &[&str]) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perigee-loadtest"));
    Running::start(arguments[0], command.args(arguments)).unwrap()
}

fn address(running: &Running, prefix: &str) -> SocketAddr {
    running.line_after(prefix, WITHIN).unwrap().parse().unwrap()
}

fn load() -> Load {
    Load {
        payload: Payload::Segments,
        connections: 3,
        streams: 4,
        messages: 100,
        rounds: 5,
        size: 1024,
        rate: None,
        within: WITHIN,
    }
}

#[test]
fn every_message_passes_the_relay_and_is_counted_and_acknowledged() {
    let sink = start(&["sink"]);
    let upstream = address(&sink, "listening on ").to_string();
    let relay = start(&["relay", "--upstream", &upstream]);
    let report = generate::run(address(&relay, "listening on "), &load()).unwrap();
    assert_eq!(
        (report.sent, report.acked, report.errors),
        (6000, 6000, 0),
        "{report:?}"
    );
    let counts = Counts::fetch(address(&sink, "control on "), WITHIN).unwrap();
    assert_eq!(
        counts,
        Counts {
            messages: 6000,
            streams: 60,
            connections: 3
        }
    );
}

#[test]
fn messages_longer_than_frames_and_windows_pass() {
    let sink = start(&["sink"]);
    let long = Load {
        size: 3 << 20,
        messages: 2,
        rounds: 1,
        ..load()
    };
    let report = generate::run(address(&sink, "listening on "), &long).unwrap();
    assert_eq!(
        (report.acked, report.errors),
        (long.total(), 0),
        "{report:?}"
    );
    let counts = Counts::fetch(address(&sink, "control on "), WITHIN).unwrap();
    assert_eq!(counts.messages, long.total());
}

#[test]
fn every_payload_is_counted_message_by_message() {
    for payload in Payload::ALL {
        let sink = start(&["sink"]);
        let load = Load { payload, ..load() };
        let report = generate::run(address(&sink, "listening on "), &load).unwrap();
        assert_eq!((report.acked, report.errors), (6000, 0), "{payload:?}");
        let counts = Counts::fetch(address(&sink, "control on "), WITHIN).unwrap();
        assert_eq!((counts.messages, counts.streams), (6000, 60), "{payload:?}");
    }
}

#[test]
fn a_call_goes_to_its_payloads_method_and_only_its_first_message_is_another() {
    let load = Load {
        payload: Payload::Logs,
        connections: 1,
        streams: 1,
        messages: 3,
        rounds: 1,
        within: Duration::from_millis(300),
        ..load()
    };
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = server.local_addr().unwrap();
    let sending = std::thread::spawn(move || generate::run(target, &load).unwrap());
    let (mut agent, mut sent) = (server.accept().unwrap().0, Vec::new());
    agent.read_to_end(&mut sent).unwrap();
    assert_eq!(sending.join().unwrap().sent, 3);
    let (mut frames, mut headers, mut data) = (&sent[PREFACE.len()..], vec![], vec![]);
    while let Some(frame) = http2::take_frame(&mut frames).unwrap() {
        match frame.kind {
            kind::HEADERS => headers.extend_from_slice(frame.payload),
            kind::DATA => data.extend_from_slice(frame.payload),
            _ => {}
        }
    }
    let method = load.payload.method().as_bytes();
    assert!(headers.windows(method.len()).any(|bytes| bytes == method));
    let call = load.payload.call(load.size, 0).unwrap();
    assert!(data == [&*call.first, &*call.following, &*call.following].concat());
}

#[test]
fn a_paced_load_takes_its_time() {
    let sink = start(&["sink"]);
    let paced = Load {
        rounds: 1,
        rate: Some(2400),
        ..load()
    };
    let report = generate::run(address(&sink, "listening on "), &paced).unwrap();
    assert_eq!(report.acked, 1200, "{report:?}");
    assert!(report.seconds >= 0.49, "{report:?}");
}

#[test]
fn a_stalled_sink_leaves_calls_unanswered_and_the_load_ends_in_time() {
    let sink = start(&["sink"]);
    let target = address(&sink, "listening on ");
    sink.signal(Signal::STOP).unwrap();
    let short = Load {
        rounds: 1,
        within: Duration::from_millis(300),
        ..load()
    };
    let report = generate::run(target, &short).unwrap();
    assert_eq!(
        (report.acked, report.errors, report.killed),
        (0, 12, 0),
        "{report:?}"
    );
}

#[test]
fn a_sink_that_goes_away_is_reported_as_killed_connections() {
    let mut sink = start(&["sink"]);
    let target = address(&sink, "listening on ");
    let control = address(&sink, "control on ");
    let paced = Load {
        rate: Some(100),
        ..load()
    };
    let sending = std::thread::spawn(move || generate::run(target, &paced).unwrap());
    while Counts::fetch(control, WITHIN).unwrap().messages == 0 {
        std::thread::yield_now();
    }
    sink.kill();
    let report = sending.join().unwrap();
    assert_eq!((report.killed, report.errors), (3, 60), "{report:?}");
}
