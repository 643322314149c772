//! The sink and the load of a measurement, on a core of their own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::usage;
use crate::generate::{Load, Report};
use crate::process::{self, Running, Signal};
use crate::scenario::{READY_WITHIN, pinned};
use crate::sink::Counts;

/// Core of the load and the sink; the subject has the next one.
const OWN_CORE: usize = 0;
/// Longest wait for messages that were acknowledged but have not arrived.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);
/// Longest wait for the sink's counts.
const COUNT_WITHIN: Duration = Duration::from_secs(5);

/// A sink, and what it takes to send load.
pub(super) struct Stage {
    /// Where the sink serves gRPC.
    pub(super) address: SocketAddr,
    /// Core for the subject; `None` on a machine with one core.
    pub(super) core: Option<usize>,
    control: SocketAddr,
    sink: Running,
    program: PathBuf,
}

/// One timed load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) cpu_per_million: f64,
    pub(super) per_second: f64,
    pub(super) resident_bytes: u64,
    /// Sent but not arrived; negative when something arrived twice.
    pub(super) lost: i64,
    pub(super) errors: u64,
}

impl Stage {
    pub(super) fn start() -> Result<Self> {
        let program = std::env::current_exe()?;
        let two = std::thread::available_parallelism()?.get() > 1;
        let mut command = pinned(&program, two.then_some(OWN_CORE));
        let sink = Running::start("sink", command.arg("sink"))?;
        Ok(Self {
            address: sink.line_after("listening on ", READY_WITHIN)?.parse()?,
            control: sink.line_after("control on ", READY_WITHIN)?.parse()?,
            core: two.then_some(OWN_CORE + 1),
            sink,
            program,
        })
    }

    /// A relay in front of the sink, on the subject's core.
    pub(super) fn relay(&self) -> Result<(Running, SocketAddr)> {
        let mut command = pinned(&self.program, self.core);
        command
            .arg("relay")
            .arg("--upstream")
            .arg(self.address.to_string());
        let relay = Running::start("relay", &mut command)?;
        let address = relay.line_after("listening on ", READY_WITHIN)?.parse()?;
        Ok((relay, address))
    }

    /// Stalls and resumes the sink.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        self.sink.signal(signal)
    }

    pub(super) fn counts(&self) -> Result<Counts> {
        Counts::fetch(self.control, COUNT_WITHIN)
    }

    /// Sends `load` to `target` and measures process `pid` meanwhile, until all has arrived.
    pub(super) fn send(&self, target: SocketAddr, pid: u32, load: &Load) -> Result<Measured> {
        let before = self.counts()?.messages;
        let cpu = usage::cpu_nanoseconds(pid)?;
        let started = Instant::now();
        let report = finish(self.generator(target, load)?, load)?;
        let arrived = self.settle(before + report.sent)? - before;
        let seconds = started.elapsed().as_secs_f64();
        let cpu = usage::cpu_nanoseconds(pid)?.saturating_sub(cpu);
        Ok(Measured {
            cpu_per_million: cpu as f64 / 1e9 / (report.sent as f64 / 1e6),
            per_second: report.sent as f64 / seconds,
            resident_bytes: usage::resident_bytes(pid)?,
            lost: i64::try_from(report.sent)? - i64::try_from(arrived)?,
            errors: report.errors,
        })
    }

    /// Starts a load in a process of its own.
    pub(super) fn generator(&self, target: SocketAddr, load: &Load) -> Result<Running> {
        let mut command: Command = pinned(&self.program, self.core.map(|_| OWN_CORE));
        command
            .arg("generate")
            .arg("--target")
            .arg(target.to_string())
            .arg("--payload")
            .arg(load.payload.name());
        for (option, value) in [
            ("--connections", load.connections as u64),
            ("--streams", load.streams as u64),
            ("--messages", load.messages),
            ("--rounds", load.rounds),
            ("--size", load.size as u64),
            ("--within", load.within.as_secs()),
        ] {
            command.arg(option).arg(value.to_string());
        }
        Running::start("generate", &mut command)
    }

    /// Waits until `messages` have arrived or no more are coming; how many have.
    pub(super) fn settle(&self, messages: u64) -> Result<u64> {
        let arrived = process::poll_for("all messages", SETTLE_WITHIN, || {
            let counts = self.counts()?;
            Ok((counts.messages >= messages).then_some(counts.messages))
        });
        arrived.or_else(|_| Ok(self.counts()?.messages))
    }
}

/// Waits for a load's report.
pub(super) fn finish(mut generator: Running, load: &Load) -> Result<Report> {
    generator.wait(load.within + READY_WITHIN)?;
    let lines = generator.lines();
    let line = lines
        .last()
        .with_context(|| format!("no report: {}", generator.errors()))?;
    Report::from_json(line)
}
