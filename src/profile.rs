//! `perigee profile`: processes of this machine into a file, without a gateway and without an OAP.
//!
//! - `selection`: who is meant, while processes come and go. `recording`: the capture itself.
//! - `progress`, `closing`: what is said meanwhile and afterwards.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::ArgGroup;
use perigee_ebpf_profiler::engine::{Refused, Request};
use perigee_ebpf_profiler::output::{self, Destination};
use perigee_ebpf_profiler::profile::{Kind, Profile};
use perigee_ebpf_profiler::tier::Tier;
use regex::Regex;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::capture::module;
use crate::cli::check;

mod closing;
mod progress;
mod recording;
mod selection;

use closing::Closing;
use progress::Progress;
use recording::{Recorded, Recording};
use selection::{Selection, SelectionError, Whom};

/// Samples a second of one CPU: not in step with what happens a hundred times a second.
const RATE: u32 = 99;

/// For who may not capture others.
const OWN_PROCESSES: &str =
    "only processes of our own user are captured; perigee capture doctor says what to grant";

/// As a shell reports a process that SIGINT has killed.
const INTERRUPTED: u8 = 130;

/// Arguments of `perigee profile`.
#[derive(clap::Args, Clone, Debug)]
#[command(group(ArgGroup::new("whom").required(true).args(["pid", "command", "cgroup", "all"])))]
pub struct ProfileArgs {
    /// This process
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Option<u32>,

    /// Processes whose command line matches, also those that start meanwhile
    #[arg(long, value_name = "REGEX")]
    pub command: Option<Regex>,

    /// Processes of this control group and those below it: a directory, or a name such as
    /// system.slice/nginx.service
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// All processes
    #[arg(long)]
    pub all: bool,

    /// Where threads wait, instead of where they run
    #[arg(long)]
    pub off_cpu: bool,

    /// Leave out shorter waits, e.g. 1ms
    #[arg(long, value_name = "DURATION", requires = "off_cpu", default_value = "0s",
        value_parser = humantime::parse_duration)]
    pub minimum: Duration,

    /// Samples a second of each CPU [default: 99, fewer where they cost too much]
    #[arg(long, value_name = "HZ", conflicts_with = "off_cpu",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rate: Option<u32>,

    /// How long
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,

    /// Where to: a flame graph as .svg, an icicle view as .html, .folded stacks, or pprof's .pb.gz
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error("--output {0}")]
    Destination(String),
    #[error(transparent)]
    Selection(#[from] SelectionError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("cannot run: {0}")]
    Run(#[from] std::io::Error),
    #[error("interrupted, nothing written")]
    Interrupted,
}

impl From<output::Error> for ProfileError {
    fn from(error: output::Error) -> Self {
        let source = std::error::Error::source(&error);
        let source = source.map_or_else(String::new, |source| format!(": {source}"));
        Self::Destination(format!("{error}{source}"))
    }
}

/// Runs the command.
pub fn run(args: &ProfileArgs) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = check::give_up(&error);
            match error {
                ProfileError::Interrupted => ExitCode::from(INTERRUPTED),
                _ => code,
            }
        }
    }
}

fn try_run(args: &ProfileArgs) -> Result<(), ProfileError> {
    // Whatever is wrong is found before anybody has waited.
    let destination = Destination::new(&args.output)?;
    let mut selection = Selection::new(whom(args), Path::new("/"), Instant::now())?;
    let opened = module::open(&module::for_file())?;
    if !args.off_cpu && opened.on_cpu == Tier::OwnProcesses {
        warn(&OWN_PROCESSES)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut progress = Progress::on_terminal();
    let recorded = runtime.block_on(async {
        let recording = Recording {
            request: request(args, &selection),
            length: Duration::from_secs(args.seconds.into()),
            interrupts: interrupts()?,
        };
        let recorded = recording.run(&*opened.capture, &mut selection, &mut progress);
        Ok::<_, ProfileError>(recorded.await?)
    });
    progress.clear();
    let Some(Recorded {
        profile,
        unfollowed,
    }) = recorded?
    else {
        // Its end would wait for the names.
        runtime.shutdown_background();
        return Err(ProfileError::Interrupted);
    };
    if let Some(refused) = unfollowed {
        warn(&refused)?;
    }
    if let Some(reason) = emptiness(&profile, args.pid, selection.count()) {
        warn(&reason)?;
    }
    destination.save(&profile)?;
    say(&profile)?;
    Ok(())
}

/// Why nothing is in a profile, where that is not plain; `count` processes were there at last.
fn emptiness(profile: &Profile, pid: Option<u32>, count: Option<usize>) -> Option<String> {
    if profile.summary.samples > 0 {
        return None;
    }
    match (pid, profile.kind) {
        _ if count == Some(0) => Some("nobody was there to be captured".to_owned()),
        (Some(pid), Kind::OnCpu) => Some(format!(
            "0 samples: process {pid} was never seen on a CPU; --off-cpu shows where it waits"
        )),
        _ => None,
    }
}

fn warn(what: &dyn std::fmt::Display) -> std::io::Result<()> {
    writeln!(std::io::stderr(), "warning: {what}")
}

fn say(profile: &Profile) -> std::io::Result<()> {
    writeln!(std::io::stdout(), "{}", Closing(profile))
}

fn whom(args: &ProfileArgs) -> Whom {
    // The parser sees to it that one of them is there.
    match (args.pid, &args.command, &args.cgroup) {
        (Some(pid), ..) => Whom::Process(pid),
        (_, Some(pattern), _) => Whom::Command(pattern.clone()),
        (.., Some(path)) => Whom::Group(path.clone()),
        _ => Whom::All,
    }
}

fn request(args: &ProfileArgs, selection: &Selection) -> Request {
    Request {
        kind: match args.off_cpu {
            true => Kind::OffCpu,
            false => Kind::OnCpu,
        },
        targets: selection.targets(),
        period: Duration::from_secs(1) / args.rate.unwrap_or(RATE),
        minimum: args.minimum,
        // Who names a rate gets it (decision 39).
        elastic: args.rate.is_none(),
    }
}

/// One for every SIGINT and SIGTERM.
fn interrupts() -> std::io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(2);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests;
