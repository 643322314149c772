//! `perigee capture doctor`: what this machine lets us do.

use std::io::Write;
use std::process::ExitCode;

use serde_json::json;

use super::module::{Examination, Finding};
use crate::cli::check;

/// Arguments of `perigee capture doctor`.
#[derive(clap::Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(args: &DoctorArgs) -> ExitCode {
    let found = super::module::examine();
    let text = if args.json {
        as_json(&found)
    } else {
        as_lines(&found)
    };
    if let Err(error) = std::io::stdout().lock().write_all(text.as_bytes()) {
        return check::give_up(&error);
    }
    match found.level {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}

/// One line each, the verdicts below each other.
fn as_lines(found: &Examination) -> String {
    let names = found
        .findings
        .iter()
        .map(|finding| finding.thing.chars().count());
    let width = names.max().unwrap_or_default();
    let mut text = String::new();
    for finding in &found.findings {
        let name = &finding.thing;
        text.push_str(&format!("{name:width$}  {}\n", verdict(finding)));
    }
    let level = found
        .level
        .as_deref()
        .unwrap_or("nothing, profiling is off");
    text.push_str(&format!("would use: {level}\n"));
    text
}

fn verdict(finding: &Finding) -> String {
    let mut text = String::from(if finding.works {
        "works"
    } else {
        "does not work"
    });
    for (word, more) in [(": ", &finding.because), ("; grant ", &finding.grant)] {
        if let Some(more) = more {
            text.push_str(word);
            text.push_str(more);
        }
    }
    text
}

fn as_json(found: &Examination) -> String {
    let findings: Vec<_> = found
        .findings
        .iter()
        .map(|finding| {
            json!({
                "thing": finding.thing,
                "works": finding.works,
                "because": finding.because,
                "grant": finding.grant,
            })
        })
        .collect();
    let object = json!({"findings": findings, "level": found.level});
    format!("{object:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examination() -> Examination {
        Examination {
            findings: vec![
                Finding {
                    thing: "BTF".to_owned(),
                    works: true,
                    because: None,
                    grant: None,
                },
                Finding {
                    thing: "perf events".to_owned(),
                    works: false,
                    because: Some("EACCES".to_owned()),
                    grant: Some("CAP_PERFMON".to_owned()),
                },
            ],
            level: Some("own processes only".to_owned()),
        }
    }

    #[test]
    fn verdicts_stand_below_each_other_and_the_level_stands_last() {
        assert_eq!(
            as_lines(&examination()),
            "BTF          works\n\
             perf events  does not work: EACCES; grant CAP_PERFMON\n\
             would use: own processes only\n"
        );
        let off = Examination {
            level: None,
            ..examination()
        };
        assert!(as_lines(&off).ends_with("\nwould use: nothing, profiling is off\n"));
    }

    #[test]
    fn json_has_the_same_for_scripts() {
        let object: serde_json::Value = serde_json::from_str(&as_json(&examination())).unwrap();
        assert_eq!(object["findings"][0]["works"], true);
        assert_eq!(object["findings"][0]["because"], serde_json::Value::Null);
        assert_eq!(object["findings"][1]["grant"], "CAP_PERFMON");
        assert_eq!(object["level"], "own processes only");
    }
}
