//! The command line.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::capture::CaptureArgs;
use crate::demo::DemoArgs;
use crate::profile::ProfileArgs;
use crate::sink::SinkArgs;

/// Exit code for a configuration that cannot be used (EX_USAGE).
pub const BAD_CONFIGURATION: u8 = 64;

/// Telemetry gateway for Apache SkyWalking.
#[derive(Debug, Parser)]
#[command(name = "perigee", version, about, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Start(StartArgs),
    /// Check a configuration and print what it means
    Check(CheckArgs),
    /// Profile this machine by eBPF, as the OAP asks; the gateway can run this beside itself
    Capture(CaptureArgs),
    /// Profile processes of this machine into a file
    Profile(ProfileArgs),
    /// Stand in for an OAP node
    Sink(SinkArgs),
    /// Run everything at once: nodes, gateway, agents of all protocols; and compare the counts
    Demo(DemoArgs),
}

/// Which file.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// Configuration file; without one `configs/satellite_config.yaml`, and failing that the
    /// built-in defaults
    // An empty variable means the same as none, which a parser for paths would refuse.
    #[arg(short, long, env = "SATELLITE_CONFIG", value_name = "FILE",
        value_parser = clap::builder::OsStringValueParser::new())]
    pub config: Option<OsString>,
}

impl ConfigArgs {
    /// The file, if one is named.
    pub fn path(&self) -> Option<&Path> {
        self.config
            .as_deref()
            .filter(|name| !name.is_empty())
            .map(Path::new)
    }
}

/// `perigee start`.
#[derive(Args, Clone, Debug)]
pub struct StartArgs {
    /// Which file.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Seconds to deliver what is queued when told to stop
    #[arg(
        short = 't',
        long = "shutdown_hook_time",
        visible_alias = "shutdown-hook-time",
        env = "SATELLITE_SHUTDOWN_HOOK_TIME",
        value_name = "SECONDS",
        default_value = DEFAULT_HOOK_SECONDS,
        value_parser = parse_hook_seconds
    )]
    pub shutdown_hook_time: u32,
}

const DEFAULT_HOOK_SECONDS: &str = "5";

/// Whole seconds; an empty variable means the default.
fn parse_hook_seconds(text: &str) -> Result<u32, String> {
    let text = if text.is_empty() {
        DEFAULT_HOOK_SECONDS
    } else {
        text
    };
    text.parse()
        .map_err(|_| "must be a whole number of seconds".to_owned())
}

impl StartArgs {
    /// The hook time.
    pub fn hook_time(&self) -> Duration {
        Duration::from_secs(self.shutdown_hook_time.into())
    }
}

/// `perigee check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// Which file.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Print one flat JSON object under the file's keys instead of YAML; secrets stand in clear
    #[arg(long)]
    pub json: bool,

    /// Warnings are errors
    #[arg(long)]
    pub strict: bool,
}

/// Runs the command.
pub fn run(cli: &Cli) -> ExitCode {
    match &cli.command {
        Command::Start(args) => crate::start::run(args),
        Command::Check(args) => check::run(args),
        Command::Capture(args) => crate::capture::run(args),
        Command::Profile(args) => crate::profile::run(args),
        Command::Sink(args) => match crate::sink::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => check::give_up(&error),
        },
        Command::Demo(args) => match crate::demo::run(args) {
            Ok(code) => code,
            Err(error) => check::give_up(&error),
        },
    }
}

pub(crate) mod check;
