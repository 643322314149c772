//! What the arguments of an eBPF task may say.

use std::collections::BTreeMap;

use super::{PROCESS_ID, TaskError, TaskKind};
use crate::sink::processes::Process;

/// Arguments that every command bears.
const OF_ALL: [&str; 2] = ["SerialNumber", "TaskId"];
/// Whether a value is good.
type Rule<'a> = &'a dyn Fn(&str) -> bool;
/// Processes that an error names.
const SHOWN: usize = 5;

/// What an OAP would never send is an error. That a task has been made for the wrong time or the wrong
/// process is not.
pub(super) fn ebpf(args: &BTreeMap<String, String>) -> Result<(), TaskError> {
    let known = || {
        let own = TaskKind::Ebpf.defaults().iter().map(|(name, _)| *name);
        OF_ALL.into_iter().chain(own)
    };
    if let Some(name) = args.keys().find(|name| known().all(|it| it != *name)) {
        return Err(TaskError::Unknown {
            name: name.clone(),
            known: known().collect::<Vec<_>>().join(", "),
        });
    }
    let is_number = |text: &str| text.parse::<i64>().is_ok_and(|number| number >= 0);
    let is_duration = |text: &str| text.parse::<u32>().is_ok_and(|seconds| seconds > 0);
    let is_id = |text: &str| text.split(',').any(|id| !id.trim().is_empty());
    let rules: [(_, _, Rule); 6] = [
        ("TargetType", "ON_CPU, OFF_CPU or NETWORK", &|text| {
            ["ON_CPU", "OFF_CPU", "NETWORK"].contains(&text)
        }),
        (
            "TriggerType",
            "FIXED_TIME or CONTINUOUS_PROFILING",
            &|text| ["FIXED_TIME", "CONTINUOUS_PROFILING"].contains(&text),
        ),
        ("FixedTriggerDuration", "seconds, at least 1", &is_duration),
        ("TaskStartTime", "milliseconds since 1970", &is_number),
        ("TaskUpdateTime", "milliseconds since 1970", &is_number),
        (
            PROCESS_ID,
            "an id; without one the task is for all processes of its names",
            &is_id,
        ),
    ];
    for (name, needs, is_good) in rules {
        if let Some(value) = args.get(name).filter(|value| !is_good(value)) {
            return Err(TaskError::Malformed {
                name,
                value: value.clone(),
                needs,
            });
        }
    }
    Ok(())
}

/// The names of the first of them.
pub(super) fn shown(processes: &[Process]) -> String {
    let names = processes.iter().take(SHOWN).map(|process| {
        let names = [&process.service, &process.instance, &process.name];
        names.map(String::as_str).join("/")
    });
    let more = processes.len().saturating_sub(SHOWN);
    let more = (more > 0).then(|| format!("{more} more"));
    names.chain(more).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use crate::sink::task::Task;

    fn said(args: &str) -> String {
        let task = format!(r#"{{"kind":"ebpf","args":{args}}}"#);
        task.parse::<Task>()
            .map_or_else(|error| error.to_string(), |_| "good".to_owned())
    }

    #[test]
    fn an_argument_that_no_agent_understands_is_named_with_its_value() {
        for (args, expected) in [
            (
                r#"{"TargetType":"HEAP"}"#,
                "args.TargetType: \"HEAP\" is not ON_CPU, OFF_CPU or NETWORK",
            ),
            (
                r#"{"FixedTriggerDuration":"1m"}"#,
                "args.FixedTriggerDuration: \"1m\" is not seconds, at least 1",
            ),
            (
                r#"{"FixedTriggerDuration":"0"}"#,
                "args.FixedTriggerDuration: \"0\" is not seconds, at least 1",
            ),
            (
                r#"{"TaskStartTime":"soon"}"#,
                "args.TaskStartTime: \"soon\" is not milliseconds since 1970",
            ),
            (
                r#"{"TriggerType":"NOW"}"#,
                "args.TriggerType: \"NOW\" is not FIXED_TIME or CONTINUOUS_PROFILING",
            ),
            (
                r#"{"ProcessId":" "}"#,
                "args.ProcessId: \" \" is not an id; without one the task is for all processes of its names",
            ),
        ] {
            assert_eq!(said(args), expected);
        }
        let unknown = said(r#"{"Target":"ON_CPU"}"#);
        let expected =
            "args.Target: no such argument of an eBPF task, there are SerialNumber, TaskId, ";
        assert!(unknown.starts_with(expected), "{unknown}");
    }

    #[test]
    fn what_is_left_out_is_good_and_so_is_what_is_not_to_be_checked() {
        assert_eq!(said("{}"), "good");
        assert_eq!(said(r#"{"TaskId":"t","TargetType":"OFF_CPU"}"#), "good");
        let bad = r#"{"kind":"ebpf","unchecked":true,"args":{"TargetType":"HEAP"}}"#;
        assert!(bad.parse::<Task>().is_ok());
        let other = r#"{"kind":"pprof","args":{"TargetType":"HEAP"}}"#;
        assert!(other.parse::<Task>().is_ok());
    }
}
