//! `perigee check`: what a configuration means, and everything that is wrong with it.

use std::io::Write;
use std::process::ExitCode;

use super::{BAD_CONFIGURATION, CheckArgs, ConfigArgs};
use crate::config::{Config, ConfigErrors};
use crate::engine::tls;

/// Loads the configuration that the arguments and the environment name.
pub(crate) fn load(args: &ConfigArgs) -> Result<Config, ConfigErrors> {
    Config::load(args.path(), &|name| std::env::var(name).ok())
}

/// Prints errors, one a line, and what is wrong with the files that could be read of it.
pub(crate) fn complain(errors: &ConfigErrors) -> ExitCode {
    let mut out = std::io::stderr().lock();
    for problem in &errors.warnings {
        // Without a standard error there is nobody to tell.
        let _unheard = writeln!(out, "warning: {problem}");
    }
    for problem in &errors.errors {
        let _unheard = match problem.path.as_str() {
            // About the file as a whole.
            "" => writeln!(out, "error: {}: {problem}", errors.source),
            _ => writeln!(out, "error: {problem}"),
        };
    }
    for error in errors
        .readable
        .iter()
        .flat_map(|settings| tls::check(settings))
    {
        let _unheard = writeln!(out, "error: {error}");
    }
    ExitCode::from(BAD_CONFIGURATION)
}

/// Where there is no log.
pub(crate) fn give_up(error: &dyn std::error::Error) -> ExitCode {
    let _unheard = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::FAILURE
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(errors) => return complain(&errors),
    };
    if args.strict && !config.warnings.is_empty() {
        let errors = ConfigErrors {
            source: config.source,
            errors: config.warnings,
            warnings: Vec::new(),
            readable: Some(Box::new(config.settings)),
        };
        return complain(&errors);
    }
    for problem in &config.warnings {
        let _unheard = writeln!(std::io::stderr(), "warning: {problem}");
    }
    let text = if args.json {
        json(&config)
    } else {
        config.to_yaml()
    };
    if std::io::stdout().lock().write_all(text.as_bytes()).is_err() {
        return ExitCode::FAILURE;
    }
    // What the file means is shown in any case: its certificates may be on another machine.
    let errors = tls::check(&config.settings);
    for error in &errors {
        let _unheard = writeln!(std::io::stderr(), "error: {error}");
    }
    if errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(BAD_CONFIGURATION)
    }
}

fn json(config: &Config) -> String {
    let object: serde_json::Map<_, _> = config.flat().into_iter().collect();
    // A map of strings to values always serialises.
    let mut text = serde_json::to_string_pretty(&object).unwrap_or_default();
    text.push('\n');
    text
}
