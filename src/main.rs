//! The `perigee` program.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    perigee::cli::run(&perigee::cli::Cli::parse())
}
