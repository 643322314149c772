//! What an OAP wants profiled: its commands, each read for itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use perigee_proto::skywalking::v3::Command;

use crate::profile::Kind;

/// The command that carries a task.
pub const COMMAND: &str = "EBPFProfilingTaskQuery";

/// Longest part of a value that an error repeats.
const SHOWN: usize = 64;

/// A task as an OAP hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The same in every command of the task, whichever process it is about.
    pub id: Arc<str>,
    /// Ids of processes, as the OAP gave them.
    pub processes: BTreeSet<Arc<str>>,
    /// When it was made or changed, in milliseconds of the OAP's clock.
    pub updated_ms: i64,
    /// Not before.
    pub start: SystemTime,
    /// For how long.
    pub duration: Duration,
    /// What is captured.
    pub kind: Kind,
}

/// A command that we do not carry out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It is no profiling task.
    #[error("command {name:?} is not {COMMAND:?}")]
    Unknown {
        /// The command.
        name: String,
    },
    /// An argument that we need is not there.
    #[error("task {task:?}: {field} is missing")]
    Missing {
        /// The task, empty if that is what is missing.
        task: String,
        /// The argument.
        field: &'static str,
    },
    /// An argument has a value that we have no meaning for.
    #[error("task {task:?}: {field} is {value:?}, must be {needs}")]
    Malformed {
        /// The task.
        task: String,
        /// The argument.
        field: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        needs: &'static str,
    },
    /// A task of network profiling.
    #[error("task {task:?}: TargetType is NETWORK: network profiling is not built yet")]
    Network {
        /// The task.
        task: String,
    },
}

impl TaskError {
    /// For [`TASKS_REFUSED`](crate::metrics::TASKS_REFUSED).
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "command",
            Self::Missing { .. } | Self::Malformed { .. } => "malformed",
            Self::Network { .. } => "network",
        }
    }
}

impl Task {
    /// Reads a command. What CPU profiling has no use for (`ExtensionConfigJSON`) is not looked at.
    ///
    /// # Errors
    /// The first argument that is wrong.
    pub fn read(command: &Command) -> Result<Self, TaskError> {
        if command.command != COMMAND {
            let name = shown(&command.command);
            return Err(TaskError::Unknown { name });
        }
        let arguments = Arguments {
            command,
            task: shown(argument(command, "TaskId").unwrap_or_default()),
        };
        let id = arguments.text("TaskId")?;
        arguments.one_of("TriggerType", "FIXED_TIME")?;
        let kind = arguments.kind()?;
        let processes: BTreeSet<Arc<str>> = arguments
            .text("ProcessId")?
            .split(',')
            .map(str::trim)
            .filter(|process| !process.is_empty())
            .map(Arc::from)
            .collect();
        if processes.is_empty() {
            return Err(arguments.malformed("ProcessId", "a list of ids"));
        }
        let start_ms: u64 = arguments.number("TaskStartTime", MILLISECONDS)?;
        let seconds: u32 = arguments.number("FixedTriggerDuration", SECONDS)?;
        if seconds == 0 {
            return Err(arguments.malformed("FixedTriggerDuration", SECONDS));
        }
        Ok(Self {
            id: Arc::from(id),
            processes,
            updated_ms: arguments.number("TaskUpdateTime", MILLISECONDS)?,
            start: UNIX_EPOCH
                .checked_add(Duration::from_millis(start_ms))
                .ok_or_else(|| arguments.malformed("TaskStartTime", MILLISECONDS))?,
            duration: Duration::from_secs(seconds.into()),
            kind,
        })
    }
}

const MILLISECONDS: &str = "milliseconds since 1970";
const SECONDS: &str = "seconds, at least 1";

/// When the task of a command was made or changed, be the rest as wrong as it may.
pub fn updated_ms(command: &Command) -> Option<i64> {
    argument(command, "TaskUpdateTime")?.trim().parse().ok()
}

struct Arguments<'a> {
    command: &'a Command,
    task: String,
}

impl<'a> Arguments<'a> {
    fn text(&self, field: &'static str) -> Result<&'a str, TaskError> {
        let text = argument(self.command, field).map(str::trim);
        text.filter(|text| !text.is_empty())
            .ok_or_else(|| TaskError::Missing {
                task: self.task.clone(),
                field,
            })
    }

    fn number<N: std::str::FromStr>(
        &self,
        field: &'static str,
        needs: &'static str,
    ) -> Result<N, TaskError> {
        let number = self.text(field)?.parse();
        number.map_err(|_| self.malformed(field, needs))
    }

    fn one_of(&self, field: &'static str, only: &'static str) -> Result<(), TaskError> {
        if self.text(field)? == only {
            return Ok(());
        }
        Err(self.malformed(field, only))
    }

    fn kind(&self) -> Result<Kind, TaskError> {
        match self.text("TargetType")? {
            "ON_CPU" => Ok(Kind::OnCpu),
            "OFF_CPU" => Ok(Kind::OffCpu),
            "NETWORK" => Err(TaskError::Network {
                task: self.task.clone(),
            }),
            _ => Err(self.malformed("TargetType", "ON_CPU, OFF_CPU or NETWORK")),
        }
    }

    fn malformed(&self, field: &'static str, needs: &'static str) -> TaskError {
        TaskError::Malformed {
            task: self.task.clone(),
            field,
            value: shown(argument(self.command, field).unwrap_or_default()),
            needs,
        }
    }
}

fn argument<'a>(command: &'a Command, key: &str) -> Option<&'a str> {
    let argument = command.args.iter().find(|argument| argument.key == key);
    argument.map(|argument| argument.value.as_str())
}

fn shown(value: &str) -> String {
    value.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use perigee_proto::skywalking::v3::KeyStringValuePair;

    use super::*;

    const GOOD: [(&str, &str); 8] = [
        ("TaskId", "t1"),
        ("ProcessId", "p1,p2"),
        ("TaskUpdateTime", "1700000000123"),
        ("TriggerType", "FIXED_TIME"),
        ("TargetType", "OFF_CPU"),
        ("TaskStartTime", "1700000000456"),
        ("ExtensionConfigJSON", "null"),
        ("FixedTriggerDuration", "60"),
    ];

    fn command(change: Option<(&str, Option<&str>)>) -> Command {
        let args = GOOD.iter().filter_map(|(key, value)| {
            let value = match change {
                Some((changed, value)) if changed == *key => value?,
                _ => value,
            };
            Some(KeyStringValuePair {
                key: (*key).to_owned(),
                value: value.to_owned(),
            })
        });
        Command {
            command: COMMAND.to_owned(),
            args: args.collect(),
        }
    }

    #[test]
    fn a_command_of_an_oap_is_read() {
        let task = Task::read(&command(None)).unwrap();
        assert_eq!(
            task,
            Task {
                id: "t1".into(),
                processes: BTreeSet::from(["p1".into(), "p2".into()]),
                updated_ms: 1_700_000_000_123,
                start: UNIX_EPOCH + Duration::from_millis(1_700_000_000_456),
                duration: Duration::from_secs(60),
                kind: Kind::OffCpu,
            }
        );
        let without = command(Some(("ExtensionConfigJSON", None)));
        assert_eq!(Task::read(&without).unwrap(), task);
    }

    #[test]
    fn an_error_names_task_field_and_value() {
        for (field, value, told) in [
            ("TaskId", None, "task \"\": TaskId is missing"),
            ("ProcessId", None, "task \"t1\": ProcessId is missing"),
            (
                "ProcessId",
                Some(" , "),
                "task \"t1\": ProcessId is \" , \", must be a list of ids",
            ),
            (
                "TaskUpdateTime",
                Some("now"),
                "task \"t1\": TaskUpdateTime is \"now\", must be milliseconds since 1970",
            ),
            (
                "TaskStartTime",
                Some("-1"),
                "task \"t1\": TaskStartTime is \"-1\", must be milliseconds since 1970",
            ),
            (
                "FixedTriggerDuration",
                Some("0"),
                "task \"t1\": FixedTriggerDuration is \"0\", must be seconds, at least 1",
            ),
            (
                "FixedTriggerDuration",
                Some("99999999999"),
                "task \"t1\": FixedTriggerDuration is \"99999999999\", must be seconds, at least 1",
            ),
            (
                "TriggerType",
                Some("CONTINUOUS_PROFILING"),
                "task \"t1\": TriggerType is \"CONTINUOUS_PROFILING\", must be FIXED_TIME",
            ),
            (
                "TargetType",
                Some("HEAP"),
                "task \"t1\": TargetType is \"HEAP\", must be ON_CPU, OFF_CPU or NETWORK",
            ),
            (
                "TargetType",
                Some("NETWORK"),
                "task \"t1\": TargetType is NETWORK: network profiling is not built yet",
            ),
        ] {
            let error = Task::read(&command(Some((field, value)))).unwrap_err();
            assert_eq!(error.to_string(), told);
        }
        let other = Command {
            command: "x".repeat(1000),
            args: Vec::new(),
        };
        let error = Task::read(&other).unwrap_err();
        assert!(error.to_string().len() < 120, "{error}");
    }

    /// So that a command that nobody understands is not asked for again for ever.
    #[test]
    fn the_time_of_change_is_read_of_bad_commands_too() {
        let bad = command(Some(("TargetType", Some("HEAP"))));
        assert_eq!(updated_ms(&bad), Some(1_700_000_000_123));
        assert_eq!(updated_ms(&command(Some(("TaskUpdateTime", None)))), None);
    }
}
