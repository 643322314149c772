//! Choosing how to capture: the best way that this machine allows.

use std::sync::Arc;

use super::{Capture, Kernel, ProcessEvent, Refused, Sampling, Settings};
use crate::bpf::programs::Walker;
use crate::doctor;
use crate::profile::Kind;
use crate::tier::{self, Step, Tier};

/// A way to capture.
#[derive(Clone)]
pub struct Opened {
    /// Starts sessions.
    pub capture: Arc<dyn Capture>,
    /// How samples are taken.
    pub on_cpu: Tier,
    /// How waits are counted.
    pub off_cpu: Tier,
    kernel: Option<Kernel>,
}

impl Opened {
    /// Starts and ends of processes from now on, where the kernel tells of them.
    #[must_use]
    pub fn watch(&self) -> Option<crossbeam_channel::Receiver<ProcessEvent>> {
        self.kernel.as_ref().map(Kernel::watch)
    }

    /// Stops all captures at once, or lets them go on.
    pub fn pause(&self, paused: bool) {
        if let Some(kernel) = &self.kernel {
            kernel.pause(paused);
        }
    }
}

/// Tries what the machine allows and begins with the best of it. Each step down is logged with its reason.
///
/// # Errors
/// Nothing works; the reason is that of the last step.
pub fn open(settings: &Settings) -> Result<Opened, Refused> {
    let report = doctor::examine();
    let (mut on_cpu, mut steps) = Tier::choose(&report, Kind::OnCpu);
    let (mut off_cpu, mut off_steps) = Tier::choose(&report, Kind::OffCpu);
    let mut opened = None;
    while opened.is_none() && on_cpu != Tier::Off {
        match attempt(settings, on_cpu) {
            Ok(it) => opened = Some(it),
            Err(refused) => {
                let reason = refused.to_string();
                steps.push(Step {
                    tier: on_cpu,
                    reason,
                });
                on_cpu = below(on_cpu);
            }
        }
    }
    let (capture, kernel) = opened.unzip();
    let kernel = kernel.flatten();
    if kernel.is_none() && off_cpu != Tier::Off {
        off_steps.push(Step {
            tier: off_cpu,
            reason: "samples are not taken by BPF".into(),
        });
        off_cpu = Tier::Off;
    }
    tier::announce(Kind::OnCpu, on_cpu, &steps);
    tier::announce(Kind::OffCpu, off_cpu, &off_steps);
    let capture = capture.ok_or_else(|| Refused {
        what: "profiling".into(),
        because: steps
            .pop()
            .map_or_else(|| "nothing works here".into(), |it| it.reason),
        missing: None,
    })?;
    Ok(Opened {
        capture,
        on_cpu,
        off_cpu,
        kernel,
    })
}

type Attempt = (Arc<dyn Capture>, Option<Kernel>);

fn attempt(settings: &Settings, tier: Tier) -> Result<Attempt, Refused> {
    let walker = match tier {
        Tier::Tables => Walker::Tables,
        Tier::FramePointers => Walker::FramePointers,
        Tier::PerfRing | Tier::OwnProcesses | Tier::Off => {
            return Ok((Arc::new(Sampling::open(settings.clone(), tier)?), None));
        }
    };
    let kernel = Kernel::open(settings.clone(), walker)?;
    Ok((Arc::new(kernel.clone()), Some(kernel)))
}

fn below(tier: Tier) -> Tier {
    match tier {
        Tier::Tables => Tier::FramePointers,
        Tier::FramePointers => Tier::PerfRing,
        Tier::PerfRing => Tier::OwnProcesses,
        Tier::OwnProcesses | Tier::Off => Tier::Off,
    }
}
