//! What a client does whose connection is refused: grpcio, on which the Python agent and
//! OpenTelemetry's SDK stand.

use std::process::Command;

use perigee_loadtest::process::Running;
use perigee_loadtest::scenario::{Client, Scenario, segment};
use perigee_loadtest::segment::METHOD;

use crate::{ARRIVES_WITHIN, lines_of, prepared, said, source};

/// Deadline of the refused call.
const DEADLINE: f64 = 5.0;

/// SETTINGS and GOAWAY on the way out would make a connect that has succeeded of it, and the client
/// would try again without a pause until the deadline.
#[test]
fn a_refused_call_of_grpcio_fails_at_once_and_costs_next_to_nothing() {
    let Some(directory) = prepared("otel") else {
        return;
    };
    let scenario = Scenario::start(1, |config| config.connection_count = 1).unwrap();
    let gateway = &scenario.gateway;
    let address = gateway.address();
    let open = "grpc_server_connection_count";
    gateway
        .await_metric(open, &[], ARRIVES_WITHIN, |open| open == 0.0)
        .unwrap();
    let mut only = Client::connect(address).unwrap();
    only.call(METHOD, &[segment("only", 100)]).unwrap();

    let mut program = Command::new(directory.join("bin/python"));
    program
        .arg(source("otel/refused.py"))
        .args([address.to_string(), DEADLINE.to_string()]);
    let lines = lines_of(Running::start("refused", &mut program).unwrap());
    let number = |word| said(&lines, word)[0].parse::<f64>().unwrap();
    assert_eq!(said(&lines, "code"), ["UNAVAILABLE"], "{lines:?}");
    assert!(number("seconds") < DEADLINE / 2.0, "{lines:?}");
    assert!(number("cpu") < 1.0, "{lines:?}");
    let name = "perigee_connection_errors_total";
    let refused = gateway.metric(name, &["reason=\"limit\""]).unwrap();
    assert!((1.0..10.0).contains(&refused), "{refused}");
}
