//! `perigee check`: what a configuration means, and everything that is wrong with it.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;

use super::{BAD_CONFIGURATION, CheckArgs, ConfigArgs};
use crate::config::settings::Settings;
use crate::config::{CaptureConfig, Config, ConfigErrors, Problem, Source};
use crate::engine::tls::{self, TlsError};

/// Loads the configuration that the arguments and the environment name.
pub(crate) fn load(args: &ConfigArgs) -> Result<Config, ConfigErrors> {
    Config::load(args.path(), &environment)
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

/// A valid configuration, whoever it is for.
struct Checked {
    source: Source,
    warnings: Vec<Problem>,
    /// A gateway's.
    settings: Option<Box<Settings>>,
    flat: BTreeMap<String, serde_json::Value>,
    yaml: String,
    tls: Vec<TlsError>,
}

pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let checked = match look_at(&args.config) {
        Ok(checked) => checked,
        Err(errors) => return complain(&errors),
    };
    if args.strict && !checked.warnings.is_empty() {
        let errors = ConfigErrors {
            source: checked.source,
            errors: checked.warnings,
            warnings: Vec::new(),
            readable: checked.settings,
        };
        return complain(&errors);
    }
    for problem in &checked.warnings {
        let _unheard = writeln!(std::io::stderr(), "warning: {problem}");
    }
    let text = if args.json {
        json(checked.flat)
    } else {
        checked.yaml
    };
    if std::io::stdout().lock().write_all(text.as_bytes()).is_err() {
        return ExitCode::FAILURE;
    }
    // What the file means is shown in any case: its certificates may be on another machine.
    let errors = checked.tls;
    for error in &errors {
        let _unheard = writeln!(std::io::stderr(), "error: {error}");
    }
    if errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(BAD_CONFIGURATION)
    }
}

/// A file that a gateway cannot use may be one for `perigee capture` alone.
fn look_at(args: &ConfigArgs) -> Result<Checked, ConfigErrors> {
    if CaptureConfig::stands_alone(args.path(), &environment) {
        let config = CaptureConfig::load(args.path(), &environment)?;
        return Ok(Checked {
            flat: config.flat(),
            yaml: config.to_yaml(),
            tls: tls::check_capture(&config.settings.capture),
            settings: None,
            source: config.source,
            warnings: config.warnings,
        });
    }
    let config = load(args)?;
    Ok(Checked {
        flat: config.flat(),
        yaml: config.to_yaml(),
        tls: tls::check(&config.settings),
        settings: Some(Box::new(config.settings)),
        source: config.source,
        warnings: config.warnings,
    })
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn json(flat: BTreeMap<String, serde_json::Value>) -> String {
    let object: serde_json::Map<_, _> = flat.into_iter().collect();
    // A map of strings to values always serialises.
    let mut text = serde_json::to_string_pretty(&object).unwrap_or_default();
    text.push('\n');
    text
}
