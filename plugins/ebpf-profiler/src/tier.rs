//! How well a machine lets us capture, and what stands in the way of better.

use std::fmt::{self, Display, Formatter};

use serde::{Serialize, Serializer};

use crate::doctor::{Report, Thing};
use crate::metrics;
use crate::profile::Kind;

/// Ways to capture, best last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Nothing is captured.
    Off,
    /// Samples of our own user's processes by perf rings, walked by us.
    OwnProcesses,
    /// Samples of all processes by perf rings, walked by us.
    PerfRing,
    /// BPF, stacks by frame pointers.
    FramePointers,
    /// BPF, stacks by unwind tables.
    Tables,
}

/// A tier that is not to be had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The tier that was passed over.
    pub tier: Tier,
    /// What stands in the way, and what to grant.
    pub reason: String,
}

impl Tier {
    /// The best tier that everything needed for works, and for each better one what does not. The
    /// first of them is the best tier there is.
    pub fn choose(report: &Report, kind: Kind) -> (Tier, Vec<Step>) {
        let mut steps = Vec::new();
        for (tier, needs) in ladder(kind) {
            match missing(report, needs) {
                None => return (*tier, steps),
                Some(reason) => steps.push(Step {
                    tier: *tier,
                    reason,
                }),
            }
        }
        (Tier::Off, steps)
    }

    /// What it means for what is captured, for somebody who has never heard of it.
    pub fn means(self, kind: Kind) -> &'static str {
        match (self, kind) {
            (Tier::Tables, Kind::OnCpu) => {
                "samples of all programs and the kernel, with whole stacks however they were compiled"
            }
            (Tier::FramePointers, Kind::OnCpu) => {
                "samples of all programs and the kernel; of programs compiled without frame pointers stacks are cut short"
            }
            (Tier::PerfRing, _) => {
                "samples of all programs, of the kernel where that is allowed; costs more, deep stacks are cut short"
            }
            (Tier::OwnProcesses, _) => {
                "samples of our own user's programs only, none of the kernel; costs more, deep stacks are cut short"
            }
            (Tier::Tables, Kind::OffCpu) => {
                "waits of all programs, with whole stacks however they were compiled"
            }
            (Tier::FramePointers, Kind::OffCpu) => {
                "waits of all programs; of those compiled without frame pointers stacks are cut short"
            }
            (Tier::Off, Kind::OnCpu) => "no samples are taken",
            (Tier::Off, Kind::OffCpu) => "waits are not seen, they take BPF",
        }
    }

    /// Its value in [`metrics::TIER`].
    pub fn rank(self) -> u8 {
        self as u8
    }
}

/// Tiers from the best on, each with all that it needs.
fn ladder(kind: Kind) -> &'static [(Tier, &'static [Thing])] {
    use Thing::{
        Btf, EveryCpu, EveryCpuUser, Lockdown, Loop, Maps, OwnProcesses, PerfEventAttach,
        PerfEventProgram, RingBuffer, Switches,
    };
    match kind {
        Kind::OnCpu => &[
            (
                Tier::Tables,
                &[
                    PerfEventProgram,
                    EveryCpu,
                    PerfEventAttach,
                    Maps,
                    RingBuffer,
                    Btf,
                    Lockdown,
                    Loop,
                ],
            ),
            (
                Tier::FramePointers,
                &[
                    PerfEventProgram,
                    EveryCpu,
                    PerfEventAttach,
                    Maps,
                    RingBuffer,
                ],
            ),
            // With the kernel's frames where those are allowed too.
            (Tier::PerfRing, &[EveryCpuUser]),
            (Tier::OwnProcesses, &[OwnProcesses]),
        ],
        // Waits are seen at the scheduler's tracepoint only, and never by rings.
        Kind::OffCpu => &[
            (Tier::Tables, &[Switches, Maps, RingBuffer, Lockdown, Loop]),
            (Tier::FramePointers, &[Switches, Maps, RingBuffer, Lockdown]),
        ],
    }
}

/// The first thing of these that does not work, in words.
fn missing(report: &Report, needs: &[Thing]) -> Option<String> {
    needs.iter().find_map(|&thing| match report.of(thing) {
        Some(finding) if finding.works => None,
        Some(finding) => Some(format!("{thing}: {}", finding.reason())),
        None => Some(format!("{thing}: not tried")),
    })
}

/// Says once which tier a kind of capture has and why no better one, and exports it.
pub fn announce(kind: Kind, tier: Tier, steps: &[Step]) {
    let name = kind_name(kind);
    for step in steps {
        tracing::warn!(kind = name, tier = %step.tier, reason = step.reason, "capture not by tier");
    }
    if tier == Tier::Off {
        tracing::warn!(kind = name, "capture off");
    } else {
        tracing::info!(kind = name, %tier, "capture by tier");
    }
    metrics::TIER.gauge(&[name]).set(f64::from(tier.rank()));
}

/// The value of the label.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::OnCpu => "on_cpu",
        Kind::OffCpu => "off_cpu",
    }
}

impl Display for Tier {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Tier::Tables => "BPF with unwind tables",
            Tier::FramePointers => "BPF with frame pointers",
            Tier::PerfRing => "perf rings",
            Tier::OwnProcesses => "perf rings of own processes",
            Tier::Off => "off",
        })
    }
}

impl Serialize for Tier {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
