//! Reports and heartbeats.

use std::time::Duration;

use perigee::sink::fault::{CodeName, Fault};
use perigee::sink::state::State;
use perigee_ebpf_profiler::oap::Settings;
use tonic::Code;

use crate::bench::*;
use crate::kernel::Kernel;

/// Rover says nothing for 20 s (rover.md 2.3).
#[tokio::test]
async fn processes_are_reported_and_pinged_at_once() {
    let sink = sink();
    let gateway = gateway(&sink, |_| {}).await;
    let agent = Running::start(
        settings(gateway.address),
        &Kernel::new(),
        &[entity(1, "web")],
    );
    let state = called(&sink, REPORT, 1).await;
    assert_eq!(state.services["shop/host-1"][REPORT], 1);
    called(&sink, PING, 1).await;
    called(&sink, QUERY, 1).await;
    agent.set(&[entity(1, "web"), entity(2, "db")]);
    called(&sink, REPORT, 2).await;
    called(&sink, PING, 2).await;
    agent.stop().await;
}

#[tokio::test]
async fn tasks_are_asked_for_when_an_oap_knows_a_process() {
    let sink = sink();
    sink.set_fault(Fault {
        path: Some("reportProcesses".to_owned()),
        refuse: Some(CodeName(Code::Unavailable)),
        ..Fault::default()
    });
    let agent = Running::start(settings(sink.listen()), &Kernel::new(), &[entity(1, "web")]);
    let refused = |state: &State| state.errors.get("UNAVAILABLE") >= Some(&4);
    let state = soon(sink.wait_until(refused)).await;
    assert_eq!(state.methods.keys().collect::<Vec<_>>(), [REPORT]);
    sink.set_fault(Fault::default());
    called(&sink, QUERY, 1).await;
    agent.stop().await;
}

#[tokio::test]
async fn heartbeats_ping_and_some_of_them_report_everything_again() {
    let sink = sink();
    let settings = Settings {
        heartbeat: Duration::from_millis(50),
        full_report: 3,
        ..settings(sink.listen())
    };
    let agent = Running::start(settings, &Kernel::new(), &[entity(1, "web")]);
    let state = called(&sink, REPORT, 4).await;
    // One with the first report, one with each heartbeat after what that reports.
    let (reports, pings) = (state.messages(REPORT), state.messages(PING));
    let beats = 3 * (reports - 1);
    assert!((beats..=beats + 3).contains(&pings), "{reports}, {pings}");
    agent.stop().await;
}
