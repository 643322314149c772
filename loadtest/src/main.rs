//! `perigee-loadtest`: the parts of a measurement, and the measurement itself.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use perigee_loadtest::payload::Payload;
use perigee_loadtest::{bench, generate, relay, sink};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Report like many agents, and print a report as JSON.
    Generate(Generate),
    /// Count messages like an OAP that does nothing else.
    Sink {
        /// Where agents or the gateway connect.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Where one line with messages, streams and connections is served.
        #[arg(long, default_value = "127.0.0.1:0")]
        control: SocketAddr,
    },
    /// Copy bytes between agents and an upstream: the physical floor.
    Relay {
        /// Where agents connect.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Where each connection is relayed to.
        #[arg(long)]
        upstream: SocketAddr,
    },
    /// Measure the gateway against the relay, and its adapters against its segments.
    Bench {
        /// The `perigee` to measure; without it only the relay is.
        #[arg(long)]
        gateway: Option<PathBuf>,
        /// Messages of a timed round.
        #[arg(long, default_value_t = 1_000_000)]
        messages: u64,
        /// Timed rounds of each payload, subject and shape.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Leave out the test with a stalled upstream.
        #[arg(long)]
        no_stall: bool,
    },
}

#[derive(Args)]
struct Generate {
    /// Address of the gateway, relay or sink.
    #[arg(long)]
    target: SocketAddr,
    /// What the messages are.
    #[arg(long, value_enum, default_value_t)]
    payload: Payload,
    /// Connections.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Calls open at a time on each connection.
    #[arg(long, default_value_t = 4)]
    streams: usize,
    /// Messages of each call.
    #[arg(long, default_value_t = 1000)]
    messages: u64,
    /// Calls that each slot makes, one after the other.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Bytes of a message; the identifier of an access log's call comes on top.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Messages a second; absent: as fast as they are taken.
    #[arg(long)]
    rate: Option<u64>,
    /// Seconds after which to give up.
    #[arg(long, default_value_t = 120)]
    within: u64,
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Generate(arguments) => generate(&arguments),
        Command::Sink { listen, control } => {
            sink::run(listen, control, |listen, control| {
                say(&format!("listening on {listen}\ncontrol on {control}"))
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Relay { listen, upstream } => {
            relay::run(listen, upstream, |listen| {
                say(&format!("listening on {listen}"))
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench {
            gateway,
            messages,
            rounds,
            no_stall,
        } => {
            let plan = bench::Plan {
                gateway,
                messages,
                rounds,
                stall: !no_stall,
            };
            let sound = bench::run(&plan, &mut std::io::stdout())?;
            Ok(if sound {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

fn generate(arguments: &Generate) -> Result<ExitCode> {
    let load = generate::Load {
        payload: arguments.payload,
        connections: arguments.connections,
        streams: arguments.streams,
        messages: arguments.messages,
        rounds: arguments.rounds,
        size: arguments.size,
        rate: arguments.rate,
        within: Duration::from_secs(arguments.within),
    };
    let report = generate::run(arguments.target, &load)?;
    say(&report.to_json().to_string())?;
    let complete = report.acked == load.total();
    Ok(if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
