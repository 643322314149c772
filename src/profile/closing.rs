//! What is said of a profile once it is written.

use std::fmt;
use std::time::Duration;

use perigee_ebpf_profiler::profile::{Kind, Profile};

/// One line: how much, how good, and what it cost.
pub(super) struct Closing<'a>(pub(super) &'a Profile);

impl fmt::Display for Closing<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let summary = &self.0.summary;
        let counted = match self.0.kind {
            Kind::OnCpu => "samples",
            Kind::OffCpu => "waits",
        };
        let incomplete = percent(summary.incomplete as f64, summary.samples as f64);
        write!(out, "{} {counted}", summary.samples)?;
        if let Some(rate) = rate(self.0) {
            write!(out, " at {rate} Hz")?;
        }
        write!(
            out,
            ", {} lost, {} incomplete stacks ({incomplete} %)",
            summary.lost, summary.incomplete
        )?;
        let own = summary.own_cpu;
        let all = own + summary.kernel_cpu.unwrap_or_default();
        let overhead = percent(all.as_secs_f64(), self.0.duration.as_secs_f64());
        write!(
            out,
            ", overhead {overhead} % of a core (our CPU {}, kernel ",
            millis(own)
        )?;
        match summary.kernel_cpu {
            Some(kernel) => write!(out, "{})", millis(kernel)),
            None => out.write_str("not measured: kernel.bpf_stats_enabled is 0)"),
        }
    }
}

/// Samples a second of each CPU, as they were taken at last: the budget may have made them fewer.
fn rate(profile: &Profile) -> Option<String> {
    let is_sampled = profile.kind == Kind::OnCpu && !profile.period.is_zero();
    let rate = is_sampled.then(|| profile.period.as_secs_f64().recip())?;
    Some(match rate < 9.95 {
        true => format!("{rate:.1}"),
        false => format!("{rate:.0}"),
    })
}

/// With two digits, so that a share below a thousandth is not nothing.
fn percent(part: f64, whole: f64) -> String {
    match whole > 0.0 {
        true => format!("{:.2}", part / whole * 100.0),
        false => "0.00".to_owned(),
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::tests::profile;

    #[test]
    fn shares_are_of_the_samples_and_of_a_core() {
        let mut profile = profile(Kind::OnCpu);
        profile.duration = Duration::from_secs(10);
        profile.period = Duration::from_secs(1) / 99;
        profile.summary.samples = 2_000;
        profile.summary.lost = 3;
        profile.summary.incomplete = 5;
        profile.summary.own_cpu = Duration::from_millis(9);
        profile.summary.kernel_cpu = Some(Duration::from_micros(4_600));
        assert_eq!(
            Closing(&profile).to_string(),
            "2000 samples at 99 Hz, 3 lost, 5 incomplete stacks (0.25 %), \
             overhead 0.14 % of a core (our CPU 9.0 ms, kernel 4.6 ms)"
        );
    }

    #[test]
    fn a_rate_that_had_to_give_way_is_the_one_named() {
        let mut profile = profile(Kind::OnCpu);
        profile.period = Duration::from_millis(80);
        assert_eq!(rate(&profile).as_deref(), Some("12"));
        profile.period = Duration::from_millis(400);
        assert_eq!(rate(&profile).as_deref(), Some("2.5"));
        profile.period = Duration::ZERO;
        assert_eq!(rate(&profile), None);
    }

    #[test]
    fn nothing_is_no_share_and_what_was_not_measured_is_said() {
        let mut profile = profile(Kind::OffCpu);
        profile.duration = Duration::ZERO;
        assert_eq!(
            Closing(&profile).to_string(),
            "0 waits, 0 lost, 0 incomplete stacks (0.00 %), overhead 0.00 % of a core \
             (our CPU 0.0 ms, kernel not measured: kernel.bpf_stats_enabled is 0)"
        );
    }
}
