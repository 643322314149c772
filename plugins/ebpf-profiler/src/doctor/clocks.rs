//! Trials of the CPU clock without BPF.

use std::fs;
use std::io;
use std::time::Duration;

use super::capability::{Capabilities, Capability};
use super::{Finding, Thing};
use crate::bpf::errno::Failure;
use crate::bpf::perf::{Clock, Whom, online_cpus};

const PARANOID: &str = "/proc/sys/kernel/perf_event_paranoid";

pub(super) fn examine(held: &Capabilities) -> Vec<Finding> {
    let own = Whom::Thread(std::process::id());
    // The levels from which on the kernel asks for CAP_PERFMON: Documentation/admin-guide/sysctl/kernel.rst.
    [
        (Thing::EveryCpu, Whom::Everyone, true, "0"),
        (Thing::EveryCpuUser, Whom::Everyone, false, "0"),
        (Thing::OwnProcesses, own, false, "2"),
    ]
    .into_iter()
    .map(|(thing, whom, kernel, level)| match open(whom, kernel) {
        Ok(()) => Finding::works(thing),
        Err(error) => fails(thing, &error, level, held),
    })
    .collect()
}

fn open(whom: Whom, kernel: bool) -> io::Result<()> {
    for cpu in online_cpus()? {
        let period = Duration::from_secs(1);
        Clock {
            whom,
            cpu: Some(cpu),
            period,
            kernel,
            stack: 8192,
        }
        .open()?;
    }
    Ok(())
}

fn fails(thing: Thing, error: &io::Error, level: &str, held: &Capabilities) -> Finding {
    let failure = Failure::of("perf_event_open", error);
    let paranoid = fs::read_to_string(PARANOID).unwrap_or_default();
    let because = match paranoid.trim() {
        "" => failure.to_string(),
        value => format!("{failure}; kernel.perf_event_paranoid is {value}"),
    };
    let mut grant = held.grant(failure, &[Capability::Perfmon]);
    if grant == Capability::Perfmon.name() {
        grant = format!("{grant} (or kernel.perf_event_paranoid={level})");
    }
    Finding::fails(thing, because, Some(grant))
}
