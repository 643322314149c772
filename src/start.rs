//! `perigee start`: one gateway from a configuration until a signal.

use std::process::ExitCode;
use std::sync::Arc;

use tracing::{error, info, warn};

use crate::app::{App, StartError};
use crate::capture::supervisor::{ChildOptions, Supervisor};
use crate::cli::{BAD_CONFIGURATION, StartArgs, check};
use crate::config::settings::capture::Capture;
use crate::config::settings::{LogFormat, Logger, ServerAddr, Settings};
use crate::config::{Config, Source};
use crate::limit::descriptors;
use crate::signals::{Signal, Signals};
use crate::telemetry::log::{self, LogOptions};

/// Share of the hook time that `perigee capture` has for its end.
const CHILD_SHARE: f64 = 0.5;

/// Runs the gateway.
pub fn run(args: &StartArgs) -> ExitCode {
    let config = match check::load(&args.config) {
        Ok(config) => config,
        Err(errors) => return check::complain(&errors),
    };
    let guard = match log::install(&log_options(&config.settings.logger)) {
        Ok(guard) => guard,
        Err(error) => return check::give_up(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return check::give_up(&error),
    };
    let code = runtime.block_on(serve(config, args));
    // A thread that is stuck in a lookup must not hold up the exit.
    runtime.shutdown_background();
    drop(guard);
    code
}

pub(crate) fn log_options(logger: &Logger) -> LogOptions {
    LogOptions {
        pattern: logger.log_pattern.clone(),
        time_pattern: logger.time_pattern.clone(),
        level: logger.level,
        json: logger.format == LogFormat::Json,
    }
}

async fn serve(mut config: Config, args: &StartArgs) -> ExitCode {
    info!(version = env!("CARGO_PKG_VERSION"), configuration = %config.source, "perigee starts");
    for problem in &config.warnings {
        warn!("{problem}");
    }
    fit_open_files(&mut config.settings);
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            error!(%error, "cannot listen to signals");
            return ExitCode::FAILURE;
        }
    };
    let capture = config.settings.capture.clone();
    let app = match App::start(config.settings).await {
        Ok(app) => app,
        Err(error) => {
            error!("{error}");
            return exit_code(&error);
        }
    };
    let child = start_capture(&capture, config.source, &app);
    let first = told_to_stop(&mut signals, child.as_ref()).await;
    info!(signal = first.name(), "told to stop");
    let hook_time = args.hook_time();
    let stopped = async {
        // At the same time: what the child still has goes through the gateway while it can.
        let child = async {
            if let Some(child) = child {
                child.stop(hook_time.mul_f64(CHILD_SHARE)).await;
            }
        };
        tokio::join!(app.stop(hook_time), child).0
    };
    tokio::select! {
        report = stopped => {
            if report.undelivered.is_empty() { info!("{report}") } else { error!("{report}") }
            ExitCode::SUCCESS
        }
        second = told_to_stop(&mut signals, None) => {
            error!(signal = second.name(), "told to stop again, ending at once");
            ExitCode::from(second.exit_code())
        }
    }
}

/// `perigee capture` beside us, if it shall be there.
fn start_capture(capture: &Capture, source: Source, app: &App) -> Option<Supervisor> {
    capture.enabled.then(|| {
        let config = match source {
            Source::File(path) => Some(path),
            Source::Embedded => None,
        };
        let here = || ServerAddr::of_listener(app.address).to_string();
        let gateway = (!capture.gateway.is_named).then(here);
        let options = ChildOptions {
            config,
            gateway,
            paused: capture.paused,
        };
        Supervisor::start(&options, Arc::clone(&app.books))
    })
}

/// Serves no more connections than there may be open files.
fn fit_open_files(settings: &mut Settings) {
    let open_files = descriptors::raise();
    let server = &mut settings.server;
    let wanted = server.max_connections;
    let served = descriptors::connections(wanted, open_files, settings.limits.workers);
    if served < wanted {
        let open_files = open_files.unwrap_or_default();
        warn!(
            "sharing.servers[0].accept_limit.connection_count: the limit of {open_files} open files (ulimit -n) \
             has no room for {wanted} connections, {served} are served"
        );
        server.max_connections = served;
    }
}

/// What another configuration would mend, and what is a matter of the machine.
fn exit_code(error: &StartError) -> ExitCode {
    match error {
        StartError::Tls(_) | StartError::Token => ExitCode::from(BAD_CONFIGURATION),
        _ => ExitCode::FAILURE,
    }
}

/// Waits for a signal that ends us; what is for the child is passed on.
///
/// cancel-safe: a signal is taken only when it is returned or passed on.
async fn told_to_stop(signals: &mut Signals, child: Option<&Supervisor>) -> Signal {
    loop {
        match signals.next().await {
            stop @ (Signal::Terminate | Signal::Interrupt) => return stop,
            Signal::Hangup => warn!("SIGHUP ignored: there is no reload"),
            Signal::User => match child {
                Some(child) => child.toggle(),
                None => warn!("SIGUSR1 ignored: it is for capture, which does not run"),
            },
        }
    }
}
