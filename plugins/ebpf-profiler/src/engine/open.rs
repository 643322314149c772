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
    kernel: Option<Kernel>,
}

impl Opened {
    /// Starts and ends of processes from now on, where the kernel tells of them.
    #[must_use]
    pub fn watch(&self) -> Option<crossbeam_channel::Receiver<ProcessEvent>> {
        self.kernel.as_ref().map(Kernel::watch)
    }

    /// Tries how waits can be counted, and says so as [`open`] does of samples.
    pub fn announce_off_cpu(&self) -> Tier {
        let tried = match &self.kernel {
            Some(kernel) => kernel.try_off_cpu(),
            None => Err(Refused {
                what: "off-CPU profiling".into(),
                because: "samples are not taken by BPF".into(),
                missing: None,
            }),
        };
        let (tier, steps) = match tried {
            Ok(()) => (self.on_cpu, Vec::new()),
            Err(refused) => {
                let step = Step {
                    tier: Tier::FramePointers,
                    reason: refused.to_string(),
                };
                (Tier::Off, vec![step])
            }
        };
        tier::announce(Kind::OffCpu, tier, &steps);
        tier
    }
}

/// Begins with the best that works. Each step down is logged with its reason.
///
/// # Errors
/// Nothing works; the reason is that of the last step.
pub fn open(settings: &Settings) -> Result<Opened, Refused> {
    // What everything is tried for takes longer than what is needed in the good case.
    let mut steps = Vec::new();
    let mut tier = Tier::Tables;
    let opened = loop {
        match attempt(settings, tier) {
            Ok(opened) => break Some(opened),
            Err(refused) => steps.push(Step {
                tier,
                reason: refused.to_string(),
            }),
        }
        tier = below(tier);
        if tier == Tier::Off {
            break None;
        }
        // It knows better why, and what cannot work either.
        let (possible, reasons) = Tier::choose(&doctor::examine(), Kind::OnCpu);
        if possible < tier {
            tier = possible;
            steps = reasons;
        }
        if tier == Tier::Off {
            break None;
        }
    };
    tier::announce(Kind::OnCpu, tier, &steps);
    let (capture, kernel) = opened.ok_or_else(|| Refused {
        what: "profiling".into(),
        because: steps
            .pop()
            .map_or_else(|| "nothing works here".into(), |it| it.reason),
        missing: None,
    })?;
    Ok(Opened {
        capture,
        on_cpu: tier,
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
