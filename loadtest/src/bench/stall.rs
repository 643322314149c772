//! The upstream stops for four seconds while many agents push: what does the gateway hold?
//!
//! performance.md section 2.9 and target vi: resident memory stays at the budget plus 64 MB, no
//! connection is killed, nothing is lost.

use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::stage::{self, Stage};
use super::usage;
use crate::generate::Load;
use crate::payload::Payload;
use crate::process::Signal;
use crate::scenario::{GatewayConfig, GatewayProcess, TRACING_PIPE};

/// `limits.memory_bytes` of the gateway.
const BUDGET: u64 = 64 << 20;
/// What a process may hold beside its budget.
const OVERHEAD: u64 = 64_000_000;
/// How long the sink is stopped.
const STALL: Duration = Duration::from_secs(4);
/// Time for the load to be under way before the stall.
const HEAD_START: Duration = Duration::from_millis(300);

/// Runs the test and prints one line; whether nothing was lost and memory stayed in bounds.
pub(super) fn run(binary: &Path, out: &mut dyn Write) -> Result<bool> {
    let stage = Stage::start()?;
    let mut config = GatewayConfig::towards(vec![stage.address])?;
    config.pipes = TRACING_PIPE;
    config.stock();
    // Bytes are to be the bound, not messages.
    config.event_buffer_size = 1_000_000;
    config.memory_bytes = Some(BUDGET);
    config.workers = Some(1);
    config.log_level = "warn".to_owned();
    config.core = stage.core;
    let gateway = GatewayProcess::start(binary, config)?;
    let idle = usage::resident_bytes(gateway.id())?;
    let load = Load {
        payload: Payload::Segments,
        connections: 100,
        streams: 4,
        messages: 2000,
        rounds: 1,
        size: super::SIZE,
        rate: None,
        within: Duration::from_secs(60),
    };
    // Stalled before the first byte: a fast gateway would have passed much of the load otherwise.
    stage.signal(Signal::STOP)?;
    let generator = stage.generator(gateway.address(), &load)?;
    thread::sleep(HEAD_START);
    let cpu = usage::cpu_nanoseconds(gateway.id())?;
    let stalled = Instant::now();
    let mut stalled_peak = 0;
    while stalled.elapsed() < STALL {
        stalled_peak = stalled_peak.max(usage::resident_bytes(gateway.id())?);
        thread::sleep(Duration::from_millis(50));
    }
    let cpu = usage::cpu_nanoseconds(gateway.id())?.saturating_sub(cpu);
    stage.signal(Signal::CONT)?;
    let report = stage::finish(generator, &load)?;
    let arrived = stage.settle(report.sent)?;
    let peak = usage::peak_resident_bytes(gateway.id())?;
    let lost = i64::try_from(load.total())? - i64::try_from(arrived)?;
    let bounded = peak <= BUDGET + OVERHEAD;
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    writeln!(
        out,
        "stall {} s, {} MB pushed: budget {:.1} MB, RSS idle {:.1} stalled {:.1} peak {:.1} MB ({}), \
         cpu {:.3} s while stalled, killed {}, errors {}, lost {lost}",
        STALL.as_secs(),
        load.total() * load.size as u64 / 1_000_000,
        megabytes(BUDGET),
        megabytes(idle),
        megabytes(stalled_peak),
        megabytes(peak),
        if bounded {
            "in bounds"
        } else {
            "OVER budget + 64 MB"
        },
        cpu as f64 / 1e9,
        report.killed,
        report.errors,
    )?;
    Ok(lost <= 0 && report.killed == 0 && report.errors == 0 && bounded)
}
