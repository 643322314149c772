//! The measurement: CPU of the gateway against CPU of a byte relay, and against that of its own
//! segments, in one run on one machine.
//!
//! # Decisions
//! Only ratios inside one table compare: numbers of this kind drift by 15 % between runs. So
//! subjects and payloads take turns, and medians are shown. All payloads pass the same processes,
//! whose resident memory is that of all. The subject has core 1 for itself, the load and the sink
//! have core 0. CPU time is the scheduler's, user and system, of all threads (performance.md
//! section 1).

mod stage;
mod stall;
mod table;
mod usage;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::generate::Load;
use crate::payload::Payload;
use crate::scenario::{ALL_PIPES, GatewayConfig, GatewayProcess, PipeNames};
use stage::Stage;
use table::{Series, Subject};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `perigee` to measure; `None`: the relay alone.
    pub gateway: Option<PathBuf>,
    /// Messages of a timed round.
    pub messages: u64,
    /// Timed rounds of each payload, subject and shape.
    pub rounds: usize,
    /// Whether to stall the upstream afterwards.
    pub stall: bool,
}

/// Messages of each payload that are sent before the first timed round.
const WARM_UP: u64 = 50_000;
/// Longest time of one load.
const LOAD_WITHIN: Duration = Duration::from_secs(120);
/// Bytes of a message.
const SIZE: usize = 1024;

/// The pipes of [`Payload::ALL`].
const PIPES: &[PipeNames] = &[ALL_PIPES[0], ALL_PIPES[2], ALL_PIPES[11]];

/// A way in which agents send.
#[derive(Clone, Copy, Debug)]
struct Shape {
    name: &'static str,
    connections: usize,
    streams: usize,
    messages: u64,
}

const SHAPES: [Shape; 2] = [
    Shape {
        name: "long",
        connections: 4,
        streams: 4,
        messages: 1000,
    },
    Shape {
        name: "short",
        connections: 50,
        streams: 1,
        messages: 10,
    },
];

impl Shape {
    /// At least `messages` messages in this shape.
    fn load(&self, payload: Payload, messages: u64) -> Load {
        let round = self.connections as u64 * self.streams as u64 * self.messages;
        Load {
            payload,
            connections: self.connections,
            streams: self.streams,
            messages: self.messages,
            rounds: messages.div_ceil(round),
            size: SIZE,
            rate: None,
            within: LOAD_WITHIN,
        }
    }
}

/// Measures and prints the table; whether nothing was lost and no call failed.
///
/// # Errors
/// A process does not start or does not end in time.
pub fn run(plan: &Plan, out: &mut dyn Write) -> Result<bool> {
    writeln!(out, "{}", table::HEAD)?;
    let mut sound = true;
    for shape in SHAPES {
        let all = measure(plan, &shape)?;
        for series in &all {
            writeln!(out, "{}", series.row(shape.name, &all))?;
            sound &= series.is_sound();
        }
    }
    if let (true, Some(gateway)) = (plan.stall, &plan.gateway) {
        sound &= stall::run(gateway, out)?;
    }
    Ok(sound)
}

fn measure(plan: &Plan, shape: &Shape) -> Result<Vec<Series>> {
    let stage = Stage::start()?;
    let relay = stage.relay()?;
    let gateway = plan.gateway.as_deref();
    let gateway = gateway.map(|binary| start(binary, &stage)).transpose()?;
    let mut subjects = vec![(Subject::Relay, relay.1, relay.0.id())];
    if let Some(gateway) = &gateway {
        subjects.push((Subject::Perigee, gateway.address(), gateway.id()));
    }
    let mut all = Vec::new();
    for payload in Payload::ALL {
        for (subject, address, pid) in &subjects {
            let series = Series::new(payload, *subject);
            let warm = stage.send(*address, *pid, &shape.load(payload, WARM_UP));
            warm.with_context(|| format!("warm up {subject} with {}", payload.name()))?;
            all.push((series, *address, *pid));
        }
    }
    for _ in 0..plan.rounds {
        for (series, address, pid) in &mut all {
            let load = shape.load(series.payload, plan.messages);
            series.rounds.push(stage.send(*address, *pid, &load)?);
        }
    }
    Ok(all.into_iter().map(|(series, _, _)| series).collect())
}

/// A gateway with the pipes' settings of Satellite's stock file, on the subject's core.
fn start(binary: &Path, stage: &Stage) -> Result<GatewayProcess> {
    let mut config = GatewayConfig::towards(vec![stage.address])?;
    config.pipes = PIPES;
    config.stock();
    config.log_level = "warn".to_owned();
    config.core = stage.core;
    GatewayProcess::start(binary, config)
}
