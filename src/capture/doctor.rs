//! `perigee capture doctor`: what this machine lets us do.

use std::io::Write;
use std::process::ExitCode;

use perigee_ebpf_profiler::doctor::{self, Finding, Report};
use perigee_ebpf_profiler::profile::Kind;
use perigee_ebpf_profiler::tier::Tier;
use serde_json::json;

use crate::cli::check;

/// Arguments of `perigee capture doctor`.
#[derive(clap::Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &DoctorArgs) -> ExitCode {
    let report = doctor::examine();
    let text = match args.json {
        true => as_json(&report),
        false => as_lines(&report),
    };
    if let Err(error) = std::io::stdout().lock().write_all(text.as_bytes()) {
        return check::give_up(&error);
    }
    match tiers(&report) {
        [(.., Tier::Off), (.., Tier::Off)] => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}

/// What a capture would use.
fn tiers(report: &Report) -> [(&'static str, Kind, Tier); 2] {
    [("on-CPU", Kind::OnCpu), ("off-CPU", Kind::OffCpu)]
        .map(|(name, kind)| (name, kind, Tier::choose(report, kind).0))
}

/// One line each, the verdicts below each other.
fn as_lines(report: &Report) -> String {
    let names = report.findings.iter().map(|it| it.thing.name().len());
    let width = names.max().unwrap_or_default();
    let lines = report.findings.iter().map(|finding| {
        let name = finding.thing.name();
        format!("{name:width$}  {}\n", finding.verdict())
    });
    lines.collect::<String>() + &conclusion(report)
}

/// Which step of the ladder is taken, a line for each kind.
fn conclusion(report: &Report) -> String {
    let lines = tiers(report).map(|(name, kind, tier)| {
        let (step, best, means) = (tier.rank(), Tier::Tables.rank(), tier.means(kind));
        format!("would use for {name}: step {step} of {best}, {tier}: {means}\n")
    });
    lines.concat()
}

fn as_json(report: &Report) -> String {
    let [(.., on_cpu), (.., off_cpu)] = tiers(report);
    let finding = |finding: &Finding| {
        json!({
            "thing": finding.thing,
            "works": finding.works,
            "needed": finding.thing.lost_without().is_some(),
            "because": finding.because,
            "grant": finding.grant,
        })
    };
    let object = json!({
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "on_cpu": on_cpu.to_string(),
        "off_cpu": off_cpu.to_string(),
    });
    format!("{object:#}\n")
}

#[cfg(test)]
mod tests {
    use perigee_ebpf_profiler::doctor::Thing;

    use super::*;

    fn report() -> Report {
        let finding = |thing, because: Option<&str>, grant: Option<&str>| Finding {
            thing,
            works: because.is_none(),
            because: because.map(str::to_owned),
            grant: grant.map(str::to_owned),
        };
        Report {
            findings: vec![
                finding(Thing::OwnProcesses, None, None),
                finding(Thing::Tracefs, Some("EACCES"), Some("CAP_DAC_READ_SEARCH")),
            ],
        }
    }

    #[test]
    fn verdicts_stand_below_each_other_and_what_would_be_used_stands_last() {
        let own = Tier::OwnProcesses;
        let of_own = own.means(Kind::OnCpu);
        assert_eq!(
            as_lines(&report()),
            format!(
                "CPU clock of our user's processes  works\n\
                 tracefs                            does not work and is not needed: EACCES\n\
                 would use for on-CPU: step 1 of 4, {own}: {of_own}\n\
                 would use for off-CPU: step 0 of 4, off: waits are not seen, they take BPF\n"
            )
        );
    }

    #[test]
    fn json_has_the_same_for_scripts() {
        let object: serde_json::Value = serde_json::from_str(&as_json(&report())).unwrap();
        assert_eq!(object["findings"][0]["works"], true);
        assert_eq!(object["findings"][0]["because"], serde_json::Value::Null);
        assert_eq!(object["findings"][0]["needed"], true);
        assert_eq!(object["findings"][1]["thing"], "tracefs");
        assert_eq!(object["findings"][1]["needed"], false);
        assert_eq!(object["findings"][1]["grant"], "CAP_DAC_READ_SEARCH");
        assert_eq!(object["off_cpu"], Tier::Off.to_string());
    }
}
