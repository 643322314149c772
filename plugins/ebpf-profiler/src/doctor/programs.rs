//! Trials of BPF.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::capability::{Capabilities, Capability};
use super::files::BTF;
use super::{Finding, Thing, btf};
use crate::bpf::errno::Failure;
use crate::bpf::{perf, trial};

/// To load programs, which all sample or read memory.
const TO_LOAD: [Capability; 2] = [Capability::Bpf, Capability::Perfmon];
const TO_STORE: [Capability; 1] = [Capability::Bpf];

pub(super) fn examine(held: &Capabilities) -> Vec<Finding> {
    let types = fs::read(BTF).map_err(|error| Failure::of(BTF, &error));
    let tracepoint = |thing, event| match &types {
        Ok(types) => tracepoint(thing, types, event, held),
        Err(failure) => Finding::fails(thing, failure.to_string(), Some(NEEDS_BTF.to_owned())),
    };
    vec![
        tried(
            Thing::PerfEventProgram,
            trial::load_perf_event().err(),
            held,
            &TO_LOAD,
        ),
        tried(Thing::Loop, trial::load_loop().err(), held, &TO_LOAD),
        tried(
            Thing::RingBuffer,
            trial::Map::RingBuffer.create().err(),
            held,
            &TO_STORE,
        ),
        maps(held),
        at_perf_event(held),
        tracepoint(Thing::Switches, "sched_switch"),
        tracepoint(Thing::ProcessEvents, "sched_process_exec"),
    ]
}

pub(super) const NEEDS_BTF: &str = "a kernel with BTF (CONFIG_DEBUG_INFO_BTF), /sys mounted";

fn tried(
    thing: Thing,
    failure: Option<Failure>,
    held: &Capabilities,
    asked: &[Capability],
) -> Finding {
    let Some(failure) = failure else {
        return Finding::works(thing);
    };
    Finding::fails(thing, failure.to_string(), Some(held.grant(failure, asked)))
}

fn maps(held: &Capabilities) -> Finding {
    let mut failures = Vec::new();
    for map in trial::Map::STORES {
        if let Err(failure) = map.create() {
            failures.push((map, failure));
        }
    }
    let Some((_, first)) = failures.first() else {
        return Finding::works(Thing::Maps);
    };
    let grant = held.grant(*first, &TO_STORE);
    let each = |(map, failure): &(trial::Map, Failure)| format!("{failure} ({})", map.name());
    let because = if failures.len() == trial::Map::STORES.len() {
        format!("{first} (all types)")
    } else {
        failures.iter().map(each).collect::<Vec<_>>().join(", ")
    };
    Finding::fails(Thing::Maps, because, Some(grant))
}

fn at_perf_event(held: &Capabilities) -> Finding {
    let attached = || {
        let program = trial::load_perf_event()?;
        let opened = perf::online_cpus().and_then(|cpus| {
            let first = cpus.first().copied().unwrap_or(0);
            perf::open_cpu_clock(first, Duration::from_secs(1))
        });
        let clock = opened.map_err(|error| Failure::of("perf_event_open", &error))?;
        let attached = perf::attach(clock.as_fd(), program.as_fd());
        attached.map_err(|error| Failure::of("ioctl(PERF_EVENT_IOC_SET_BPF)", &error))
    };
    tried(Thing::PerfEventAttach, attached().err(), held, &TO_LOAD)
}

fn tracepoint(thing: Thing, types: &[u8], event: &str, held: &Capabilities) -> Finding {
    let Some(id) = btf::tracepoint(types, event) else {
        let because = format!("{BTF} does not know btf_trace_{event}");
        return Finding::fails(thing, because, Some("a kernel that has it".to_owned()));
    };
    let attached = || -> Result<OwnedFd, Failure> {
        let program = trial::load_tracepoint(id)?;
        trial::attach_tracepoint(program.as_fd())
    };
    tried(thing, attached().err(), held, &TO_LOAD)
}

/// Before memory control groups counted maps, the limit of locked memory did. An array above the limit
/// tells.
pub(super) fn locked_memory(before: &[Finding]) -> Finding {
    /// Limits above are no hindrance, and not worth the memory.
    const ENOUGH: u64 = 64 << 20;
    const THING: Thing = Thing::LockedMemory;
    let Some(limit) = getrlimit(Resource::Memlock).current else {
        return Finding::works(THING).because("there is no limit");
    };
    if limit >= ENOUGH {
        return Finding::works(THING).because(format!("the limit (ulimit -l) is {limit} bytes"));
    }
    if let Some(maps) = before
        .iter()
        .find(|it| it.thing == Thing::Maps && !it.works)
    {
        let because = maps.because.clone().unwrap_or_default();
        let because = format!("not tried, no map can be made ({because})");
        return Finding::fails(THING, because, maps.grant.clone());
    }
    // A half more, since the kernel that counts it counts pages and its own structures too.
    let bytes = u32::try_from(limit + limit / 2 + 4096).unwrap_or(u32::MAX);
    match trial::create_array(bytes) {
        Ok(_) => Finding::works(THING).because(format!(
            "tried; the limit (ulimit -l) of {limit} bytes does not hold for them"
        )),
        Err(failure) => {
            let because = format!("{failure} for {bytes} bytes; the limit is {limit}");
            let grant = "LimitMEMLOCK=infinity (ulimit -l unlimited) or CAP_SYS_RESOURCE";
            Finding::fails(THING, because, Some(grant.to_owned()))
        }
    }
}
