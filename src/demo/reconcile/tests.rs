//! Made-up numbers.

use super::*;
use crate::telemetry::books::DropReason;

fn books(received: u64, delivered: u64) -> PipeSnapshot {
    PipeSnapshot {
        received,
        acknowledged: received,
        delivered,
        ..PipeSnapshot::default()
    }
}

fn queued() -> Line {
    Line {
        pipe: "logpipe".to_owned(),
        queued: Some(Queued {
            sent: 90,
            acknowledged: 90,
            books: books(90, 90),
            nodes: [30, 31, 29],
        }),
        live: None,
    }
}

fn live() -> Line {
    Line {
        pipe: "cdspipe".to_owned(),
        queued: None,
        live: Some(Live {
            calls: 3,
            answered: 3,
            sent: 3,
            booked: 3,
            failures: 0,
            nodes: [1, 1, 1],
            arrived: [1, 1, 1],
        }),
    }
}

fn good() -> Outcome {
    Outcome {
        lines: vec![queued(), live()],
        rows: vec![Row {
            path: "/a/b",
            sent: 90,
            arrived: 90,
            failure: None,
        }],
        probes: vec![Probe {
            what: "unknown method",
            calls: 2,
            as_expected: 2,
            at_sinks: (2, 2),
            failure: None,
        }],
        unkeyed: [30, 31, 29],
        instances: (6, 0),
        files: (2, 2),
    }
}

/// The differences after a change to numbers that agree.
fn after(change: impl FnOnce(&mut Outcome)) -> Vec<String> {
    let mut outcome = good();
    change(&mut outcome);
    outcome.differences()
}

fn after_queued(change: impl FnOnce(&mut Queued)) -> Vec<String> {
    after(|outcome| change(outcome.lines[0].queued.as_mut().unwrap()))
}

fn after_live(change: impl FnOnce(&mut Live)) -> Vec<String> {
    after(|outcome| change(outcome.lines[1].live.as_mut().unwrap()))
}

#[test]
fn numbers_that_agree_have_no_differences() {
    assert_eq!(good().differences(), Vec::<String>::new());
}

#[test]
fn each_side_that_counts_otherwise_is_named() {
    let lost = after_queued(|queued| queued.nodes = [30, 30, 29]);
    assert_eq!(
        lost,
        ["logpipe: delivered 90, but accepted by the sinks 89"]
    );
    let twice = after_queued(|queued| queued.nodes = [30, 31, 30]);
    assert_eq!(
        twice,
        ["logpipe: delivered 90, but accepted by the sinks 91"]
    );
    let unread = after_queued(|queued| {
        queued.sent = 91;
        queued.acknowledged = 91;
    });
    assert_eq!(
        unread,
        [
            "logpipe: sent 91, but received by the gateway 90",
            "logpipe: acknowledged 91, but acknowledged by the gateway's books 90"
        ]
    );
    let unanswered = after_queued(|queued| {
        queued.acknowledged = 80;
        queued.books.acknowledged = 80;
    });
    assert_eq!(unanswered, ["logpipe: sent 90, but acknowledged 80"]);
    let queued = after_queued(|queued| {
        queued.books.delivered = 89;
        queued.nodes = [30, 30, 29];
    });
    assert_eq!(
        queued,
        ["logpipe: received 90, but delivered + merged + dropped 89"]
    );
}

#[test]
fn what_was_dropped_and_booked_adds_up() {
    let found = after_queued(|queued| {
        queued.books.delivered = 88;
        queued.books.dropped[DropReason::Expired as usize] = 1;
        queued.books.merged = 1;
        queued.nodes = [30, 30, 28];
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn what_was_sent_again_may_arrive_twice() {
    let found = after_queued(|queued| {
        queued.books.resent = 5;
        queued.nodes = [30, 31, 34];
    });
    assert_eq!(found, Vec::<String>::new());
    let found = after_queued(|queued| {
        queued.books.resent = 4;
        queued.nodes = [30, 31, 34];
    });
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn live_calls_are_compared_by_calls_and_messages() {
    let found = after_live(|live| live.nodes = [1, 1, 2]);
    assert_eq!(found, ["cdspipe: calls 3, but calls at the sinks 4"]);
    let found = after_live(|live| live.arrived = [1, 1, 0]);
    assert_eq!(found, ["cdspipe: sent 3, but accepted by the sinks 2"]);
    let found = after_live(|live| live.failures = 1);
    assert_eq!(
        found,
        ["cdspipe: failed calls in the gateway's books 1, but none 0"]
    );
}

#[test]
fn every_row_has_to_move() {
    let found = after(|outcome| outcome.rows[0].arrived = 0);
    assert_eq!(found, ["/a/b did not move: 90 sent, 0 at the sinks"]);
}

#[test]
fn probes_files_and_instances_count() {
    let found = after(|outcome| outcome.probes[0].as_expected = 1);
    assert_eq!(
        found,
        ["unknown method: 2 calls, 1 as expected, 2 of 2 at the sinks (none failed)"]
    );
    let found = after(|outcome| outcome.files = (2, 1));
    assert_eq!(found, ["files: 1 of 2 arrived as they were"]);
    let found = after(|outcome| outcome.instances = (6, 1));
    assert_eq!(
        found,
        ["meters: 1 of 6 instances were not kept on one node"]
    );
}

#[test]
fn shares_may_be_a_tenth_of_the_mean_apart() {
    let found = after(|outcome| outcome.unkeyed = [105, 100, 95]);
    assert_eq!(found, Vec::<String>::new());
    let found = after(|outcome| outcome.unkeyed = [106, 100, 94]);
    assert_eq!(
        found,
        ["shares of unkeyed data: [106, 100, 94] are 12.0 % apart"]
    );
    assert_eq!(after(|outcome| outcome.unkeyed = [0; 3]).len(), 1);
}
