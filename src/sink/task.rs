//! Tasks for agents: answers to their polls.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use perigee_proto::skywalking::v3::{Command, KeyStringValuePair};
use serde::{Deserialize, Serialize};

use super::processes::Process;

mod check;

const PROCESS_ID: &str = "ProcessId";

/// What agents ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// Trace profiling: `getProfileTaskCommands`.
    Profile,
    /// JFR files: `getAsyncProfilerTaskCommands`.
    Async,
    /// Go's pprof files: `getPprofTaskCommands`.
    Pprof,
    /// eBPF profiling: `queryTasks`.
    Ebpf,
    /// Continuous profiling policies: `queryPolicies`.
    Continuous,
}

impl TaskKind {
    fn command(self) -> &'static str {
        match self {
            Self::Profile => "ProfileTaskQuery",
            Self::Async => "AsyncProfilerTaskQuery",
            Self::Pprof => "PprofTaskQuery",
            Self::Ebpf => "EBPFProfilingTaskQuery",
            Self::Continuous => "ContinuousProfilingPolicyQuery",
        }
    }

    /// The arguments that agents insist on; `now` stands for the time of creation.
    fn defaults(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Profile => &[
                ("EndpointName", "/"),
                ("Duration", "1"),
                ("MinDurationThreshold", "0"),
                ("DumpPeriod", "10"),
                ("MaxSamplingCount", "5"),
                ("StartTime", "now"),
                ("CreateTime", "now"),
            ],
            Self::Async => &[
                ("Duration", "10"),
                ("ExecArgs", "event=cpu"),
                ("CreateTime", "now"),
            ],
            Self::Pprof => &[
                ("Events", "cpu"),
                ("Duration", "1"),
                ("DumpPeriod", "0"),
                ("CreateTime", "now"),
            ],
            Self::Ebpf => &[
                (PROCESS_ID, ""),
                ("TaskUpdateTime", "now"),
                ("TriggerType", "FIXED_TIME"),
                ("TargetType", "ON_CPU"),
                ("TaskStartTime", "now"),
                ("ExtensionConfigJSON", "null"),
                ("FixedTriggerDuration", "60"),
            ],
            Self::Continuous => &[("ServiceWithPolicyJSON", "[]")],
        }
    }
}

/// A task to hand out.
///
/// One for eBPF without a `ProcessId` among its arguments goes, as an OAP does it, to the agents that have
/// reported processes of these names and pinged them in the last 5 minutes: a command for each process,
/// with every poll that asks for changes before its `TaskUpdateTime`. With a `ProcessId` it goes to every
/// agent once, whatever that has reported.
///
/// On the command line and over HTTP one for eBPF is checked first, unless it says `"unchecked": true`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Who gets it.
    pub kind: TaskKind,
    /// Only for this service, if the poll names one.
    #[serde(default)]
    pub service: Option<String>,
    /// Only for this instance; with a `ProcessId`, for the eBPF agent of this id.
    #[serde(default)]
    pub instance: Option<String>,
    /// Only for the process of this name.
    #[serde(default)]
    pub process: Option<String>,
    /// The command's arguments, e.g. `TaskId`; what is left out gets a plausible value.
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    /// Handed out be it as wrong as it may, to see what an agent makes of it.
    #[serde(default)]
    pub unchecked: bool,
}

impl Task {
    /// Whether an agent can make something of it.
    ///
    /// # Errors
    /// The first argument that is wrong.
    pub fn check(&self) -> Result<(), TaskError> {
        match self.kind {
            TaskKind::Ebpf if !self.unchecked => check::ebpf(&self.args),
            _ => Ok(()),
        }
    }

    /// Whether there is somebody to run it: one for eBPF names its process by its id, or one of these fits,
    /// or none of these is there yet.
    pub(super) fn check_processes(&self, processes: &[Process]) -> Result<(), TaskError> {
        let fits = processes.is_empty() || processes.iter().any(|process| self.is_of(process));
        if self.unchecked || !self.is_of_processes() || fits {
            return Ok(());
        }
        Err(TaskError::Nobody {
            wanted: self.wanted(),
            known: check::shown(processes),
        })
    }

    fn wanted(&self) -> String {
        let names = [
            ("service", &self.service),
            ("instance", &self.instance),
            ("process", &self.process),
        ];
        let names = names.into_iter().filter_map(|(name, wanted)| {
            let wanted = wanted.as_ref()?;
            Some(format!("{name} {wanted:?}"))
        });
        names.collect::<Vec<_>>().join(", ")
    }

    fn is_of_processes(&self) -> bool {
        self.kind == TaskKind::Ebpf && !self.args.contains_key(PROCESS_ID)
    }

    fn is_of(&self, process: &Process) -> bool {
        let fits = |wanted: &Option<String>, name: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == name)
        };
        fits(&self.service, &process.service)
            && fits(&self.instance, &process.instance)
            && fits(&self.process, &process.name)
    }
}

/// Why a task is not handed out.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// It is not JSON, or not a task.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// An argument that no agent has heard of.
    #[error("args.{name}: no such argument of an eBPF task, there are {known}")]
    Unknown {
        /// The argument.
        name: String,
        /// All there are.
        known: String,
    },
    /// An argument that an agent would refuse.
    #[error("args.{name}: {value:?} is not {needs}")]
    Malformed {
        /// The argument.
        name: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        needs: &'static str,
    },
    /// No process that was reported is meant, and none is named by its id.
    #[error(
        "args.ProcessId is missing, and no process that is reported has {wanted}; there are {known}"
    )]
    Nobody {
        /// The names that it asks for.
        wanted: String,
        /// The processes that there are.
        known: String,
    },
}

/// Checked, as on the command line.
impl FromStr for Task {
    type Err = TaskError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let task: Self = serde_json::from_str(text)?;
        task.check()?;
        Ok(task)
    }
}

/// The tasks that are out, and who has had them.
#[derive(Debug, Default)]
pub(super) struct TaskBoard {
    tasks: Mutex<Vec<Posted>>,
}

#[derive(Debug)]
struct Posted {
    task: Task,
    command: Command,
    given_to: BTreeSet<(String, String)>,
}

impl TaskBoard {
    pub(super) fn add(&self, task: Task) {
        let mut tasks = self.tasks.lock();
        let command = command(&task, tasks.len() + 1);
        tasks.push(Posted {
            task,
            command,
            given_to: BTreeSet::new(),
        });
    }

    pub(super) fn clear(&self) {
        self.tasks.lock().clear();
    }

    /// The commands of eBPF tasks for these processes that were changed after that time.
    pub(super) fn of_processes(&self, processes: &[Process], since_ms: i64) -> Vec<Command> {
        let tasks = self.tasks.lock();
        let due = tasks.iter().filter(|posted| posted.task.is_of_processes());
        due.filter(|posted| posted.updated_ms().is_none_or(|updated| updated > since_ms))
            .flat_map(|posted| {
                let whose = processes
                    .iter()
                    .filter(|process| posted.task.is_of(process));
                whose.map(|process| posted.command_for(&process.id))
            })
            .collect()
    }

    /// The commands that this asker has not had yet.
    pub(super) fn take(&self, kind: TaskKind, service: &str, instance: &str) -> Vec<Command> {
        let fits = |wanted: &Option<String>, name: &str| {
            name.is_empty() || wanted.as_deref().is_none_or(|wanted| wanted == name)
        };
        self.tasks
            .lock()
            .iter_mut()
            .filter(|posted| posted.task.kind == kind && !posted.task.is_of_processes())
            .filter(|posted| fits(&posted.task.service, service))
            .filter(|posted| fits(&posted.task.instance, instance))
            .filter_map(|posted| {
                let asker = (service.to_owned(), instance.to_owned());
                posted
                    .given_to
                    .insert(asker)
                    .then(|| posted.command.clone())
            })
            .collect()
    }
}

impl Posted {
    fn updated_ms(&self) -> Option<i64> {
        let mut args = self.command.args.iter();
        let updated = args.find(|arg| arg.key == "TaskUpdateTime")?;
        updated.value.parse().ok()
    }

    fn command_for(&self, process: &str) -> Command {
        let mut command = self.command.clone();
        let mut args = command.args.iter_mut();
        if let Some(id) = args.find(|arg| arg.key == PROCESS_ID) {
            process.clone_into(&mut id.value);
        }
        command
    }
}

fn command(task: &Task, number: usize) -> Command {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis()
        .to_string();
    let mut args = BTreeMap::from([
        ("SerialNumber".to_owned(), format!("serial-{now}-{number}")),
        ("TaskId".to_owned(), format!("task-{number}")),
    ]);
    for (key, value) in task.kind.defaults() {
        let value = if *value == "now" { &now } else { *value };
        args.insert((*key).to_owned(), value.to_owned());
    }
    args.extend(task.args.clone());
    Command {
        command: task.kind.command().to_owned(),
        args: pairs(args),
    }
}

/// A command's arguments.
pub(super) fn pairs(args: impl IntoIterator<Item = (String, String)>) -> Vec<KeyStringValuePair> {
    args.into_iter()
        .map(|(key, value)| KeyStringValuePair { key, value })
        .collect()
}
