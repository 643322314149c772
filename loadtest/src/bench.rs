//! The measurement: CPU of the gateway against CPU of a byte relay, in one run on one machine.
//!
//! # Decisions
//! Only ratios inside one table compare: numbers of this kind drift by 15 % between runs. So relay
//! and gateway take turns, and medians are shown. The subject has core 1 for itself, the load and
//! the sink have core 0. CPU time is the scheduler's, user and system, of all threads
//! (performance.md section 1).

mod stage;
mod stall;
mod usage;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::generate::Load;
use crate::scenario::{GatewayConfig, GatewayProcess, TRACING_PIPE};
use stage::{Measured, Stage};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The `perigee` to measure; `None`: the relay alone.
    pub gateway: Option<PathBuf>,
    /// Messages of a timed round.
    pub messages: u64,
    /// Timed rounds of each subject and shape.
    pub rounds: usize,
    /// Whether to stall the upstream afterwards.
    pub stall: bool,
}

/// Messages sent before the first timed round.
const WARM_UP: u64 = 50_000;
/// Longest time of one load.
const LOAD_WITHIN: Duration = Duration::from_secs(120);
/// Bytes of a message.
const SIZE: usize = 1024;

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
    fn load(&self, messages: u64) -> Load {
        let round = self.connections as u64 * self.streams as u64 * self.messages;
        Load {
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
    writeln!(
        out,
        "{:<6} {:<8} {:>13} {:>7} {:>10} {:>6} {:>7} {:>7}   cpu s/1M of each round",
        "shape", "subject", "cpu s/1M msgs", "ratio", "msg/s", "lost", "errors", "RSS MB",
    )?;
    let mut sound = true;
    for shape in SHAPES {
        sound &= measure(plan, &shape, out)?;
    }
    if let (true, Some(gateway)) = (plan.stall, &plan.gateway) {
        sound &= stall::run(gateway, out)?;
    }
    Ok(sound)
}

fn measure(plan: &Plan, shape: &Shape, out: &mut dyn Write) -> Result<bool> {
    let stage = Stage::start()?;
    let relay = stage.relay()?;
    let gateway = match &plan.gateway {
        Some(binary) => {
            let mut config = GatewayConfig::towards(vec![stage.address])?;
            config.pipes = TRACING_PIPE;
            config.stock();
            config.log_level = "warn".to_owned();
            config.core = stage.core;
            Some(GatewayProcess::start(binary, config)?)
        }
        None => None,
    };
    let mut subjects = vec![("relay", relay.1, relay.0.id(), Vec::new())];
    if let Some(gateway) = &gateway {
        subjects.push(("perigee", gateway.address(), gateway.id(), Vec::new()));
    }
    for (name, address, pid, _) in &subjects {
        let warm = stage.send(*address, *pid, &shape.load(WARM_UP));
        anyhow::Context::with_context(warm, || format!("warm up {name}"))?;
    }
    for _ in 0..plan.rounds {
        for (_, address, pid, rounds) in &mut subjects {
            rounds.push(stage.send(*address, *pid, &shape.load(plan.messages))?);
        }
    }
    let mut floor = None;
    let mut sound = true;
    for (name, _, _, rounds) in &subjects {
        let cpu = median(rounds, |round| round.cpu_per_million);
        let floor = *floor.get_or_insert(cpu);
        let lost: i64 = rounds.iter().map(|round| round.lost).sum();
        let errors: u64 = rounds.iter().map(|round| round.errors).sum();
        let each: Vec<_> = rounds
            .iter()
            .map(|round| format!("{:.3}", round.cpu_per_million))
            .collect();
        sound &= lost <= 0 && errors == 0;
        writeln!(
            out,
            "{:<6} {name:<8} {cpu:>13.3} {:>7.2} {:>10.0} {lost:>6} {errors:>7} {:>7.1}   {}",
            shape.name,
            cpu / floor,
            median(rounds, |round| round.per_second),
            median(rounds, |round| round.resident_bytes as f64) / 1e6,
            each.join(" "),
        )?;
    }
    Ok(sound)
}

fn median(rounds: &[Measured], value: impl Fn(&Measured) -> f64) -> f64 {
    let mut values: Vec<f64> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
