//! `perigee capture`: the process with the privileges. It profiles this machine, on its own and as the
//! OAP asks, and sends what comes of it to the gateway as any agent does.
//!
//! - `module`: the seam to `plugins/ebpf-profiler`. `connection`: to the gateway.
//! - `switch`: the off-switch. `parent`: ends with the gateway that runs it.
//! - [`supervisor`], `restarts`: the gateway's side.
//! - `doctor`: what this machine lets us do.

use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use perigee_ebpf_profiler::engine::{Opened, Refused, Settings};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::admin::{self, Shown};
use crate::cli::{ConfigArgs, check};
use crate::config::settings::ServerAddr;
use crate::config::settings::capture::{Capture, CaptureSettings};
use crate::config::{CaptureConfig, Source};
use crate::engine::socket;
use crate::engine::tls::TlsErrors;
use crate::signals::{Signal, Signals};
use crate::start::log_options;
use crate::telemetry::exporter::{CaptureExporter, CaptureState, Labels};
use crate::telemetry::log;

mod connection;
mod doctor;
mod finding;
pub(crate) mod module;
mod parent;
mod restarts;
pub mod supervisor;
mod switch;

use connection::Connection;
pub use doctor::DoctorArgs;
use module::WorkError;
use switch::{Problems, Switch};

/// What `top` shows; a name has at most 15 letters.
const NAME: &std::ffi::CStr = c"perigee-capture";

/// Arguments of `perigee capture`.
#[derive(clap::Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CaptureArgs {
    /// Instead of capturing.
    #[command(subcommand)]
    pub command: Option<CaptureCommand>,

    /// Which file.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// Where the gateway is, instead of what the file says
    #[arg(long, value_name = "HOST:PORT")]
    pub gateway: Option<ServerAddr>,

    /// The gateway that runs us: we end with it
    #[arg(long, value_name = "PID", hide = true)]
    pub child_of: Option<u32>,

    /// How the off-switch stands, instead of what the file says until it changes
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub paused: Option<bool>,
}

/// Instead of capturing.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum CaptureCommand {
    /// Try what capturing needs, and say what works and what to grant
    Doctor(DoctorArgs),
}

/// Why it does not begin.
#[derive(Debug, thiserror::Error)]
enum CaptureError {
    #[error("capture.metrics.listen: cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsErrors),
    #[error("cannot listen to signals: {0}")]
    Signals(std::io::Error),
    #[error("cannot listen to the gateway: {0}")]
    Orders(std::io::Error),
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error("there is a recorder of metrics in this process already")]
    Recorder,
}

/// Runs the command.
pub fn run(args: &CaptureArgs) -> ExitCode {
    if let Some(CaptureCommand::Doctor(args)) = &args.command {
        return doctor::run(args);
    }
    if let Some(Err(error)) = args.child_of.map(parent::tie_to) {
        return check::give_up(&error);
    }
    // Only for those who look.
    let _ = rustix::thread::set_name(NAME);
    let environment = |name: &str| std::env::var(name).ok();
    let mut config = match CaptureConfig::load(args.config.path(), &environment) {
        Ok(config) => config,
        Err(errors) => return check::complain(&errors),
    };
    if let Some(address) = &args.gateway {
        config.settings.capture.gateway.address = address.clone();
    }
    let guard = match log::install(&log_options(&config.settings.logger)) {
        Ok(guard) => guard,
        Err(error) => return check::give_up(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return check::give_up(&error),
    };
    let code = match runtime.block_on(serve(config, args.paused, args.child_of)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            exit_code(&error)
        }
    };
    runtime.shutdown_background();
    drop(guard);
    code
}

fn exit_code(error: &CaptureError) -> ExitCode {
    match error {
        CaptureError::Tls(_) => ExitCode::from(crate::cli::BAD_CONFIGURATION),
        _ => ExitCode::FAILURE,
    }
}

/// Captures until told to stop.
async fn serve(
    config: CaptureConfig,
    paused: Option<bool>,
    child_of: Option<u32>,
) -> Result<(), CaptureError> {
    let CaptureConfig {
        settings,
        warnings,
        source,
        ..
    } = config;
    info!(version = env!("CARGO_PKG_VERSION"), configuration = %source, "capture starts");
    for problem in &warnings {
        warn!("{problem}");
    }
    let mut signals = Signals::new().map_err(CaptureError::Signals)?;
    let CaptureSettings {
        labels, capture, ..
    } = settings;
    let switch = Switch::new(capture.paused, paused);
    if child_of.is_some() {
        parent::follow(switch.clone()).map_err(CaptureError::Orders)?;
    }
    let gateway = Connection::new(&capture.gateway)?;
    let page = Page::new(labels, switch.clone())?;
    let page = Arc::new(page);
    let listener = listen(capture.metrics)?;
    tokio::spawn(admin::serve(
        listener,
        Arc::clone(&page),
        std::future::pending(),
    ));
    if let Source::File(path) = source {
        tokio::spawn(switch.clone().follow(path, Problems::Told));
    }
    let (stopping, stop) = watch::channel(false);
    let mut capturing = pin!(capture_while_on(&capture, &switch, &gateway, &page, stop));
    tokio::select! {
        ended = &mut capturing => return Ok(ended?),
        stop = told_to_stop(&mut signals, &switch, child_of) => info!(signal = stop.name(), "told to stop"),
    }
    stopping.send_replace(true);
    tokio::select! {
        ended = capturing => ended?,
        stop = told_to_stop(&mut signals, &switch, child_of) => warn!(signal = stop.name(), "told to stop at once"),
    }
    info!("capture stopped");
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener, CaptureError> {
    let listener =
        socket::listen(address).map_err(|source| CaptureError::Listen { address, source })?;
    let address = listener.local_addr().unwrap_or(address);
    info!(%address, "metrics and health are served");
    Ok(listener)
}

/// Ends when stopped. What captures lives only while the switch is not off.
async fn capture_while_on(
    settings: &Capture,
    switch: &Switch,
    gateway: &Connection,
    page: &Page,
    mut stop: watch::Receiver<bool>,
) -> Result<(), WorkError> {
    let bounds = module::for_tasks(settings)?;
    loop {
        if switch.is_paused() {
            info!("paused: nothing is captured, and nothing of ours is in the kernel");
            tokio::select! {
                () = switch.is(false) => info!("capturing goes on"),
                () = stopped(&mut stop) => return Ok(()),
            }
        }
        let opened = tokio::select! {
            opened = open(bounds.clone()) => opened,
            () = stopped(&mut stop) => return Ok(()),
        };
        page.possible.store(opened.is_some(), Ordering::Relaxed);
        let is_over = async {
            tokio::select! {
                () = switch.is(true) => {}
                () = stopped(&mut stop) => {}
            }
        };
        match opened {
            Some(opened) => module::work(settings, opened, gateway, is_over).await?,
            // Why has been said.
            None => is_over.await,
        }
        if *stop.borrow() {
            return Ok(());
        }
        module::zero_gauges();
    }
}

/// cancel-safe: yes.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Without a sender there is nobody left to capture for.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// On a thread of its own: the kernel takes a while to check programs.
async fn open(bounds: Settings) -> Option<Opened> {
    let opened = tokio::task::spawn_blocking(move || {
        let opened = module::open(&bounds)?;
        opened.announce_off_cpu();
        Ok(opened)
    });
    let opened: Result<Result<_, Refused>, _> = opened.await;
    match opened {
        Ok(Ok(capture)) => Some(capture),
        Ok(Err(refused)) => {
            error!("{refused}");
            None
        }
        Err(panic) => {
            error!(%panic, "capturing is not possible");
            None
        }
    }
}

/// What the process shows of itself.
struct Page {
    exporter: CaptureExporter,
    switch: Switch,
    possible: AtomicBool,
}

impl Page {
    fn new(labels: [String; 3], switch: Switch) -> Result<Self, CaptureError> {
        let [cluster, service, instance] = labels;
        let labels = Labels {
            cluster,
            service,
            instance,
        };
        Ok(Self {
            exporter: CaptureExporter::install(labels).ok_or(CaptureError::Recorder)?,
            switch,
            possible: AtomicBool::new(false),
        })
    }
}

impl Shown for Page {
    fn metrics_path(&self) -> &str {
        "/metrics"
    }

    fn metrics(&self) -> String {
        self.exporter.render(CaptureState {
            paused: self.switch.is_paused(),
            possible: self.possible.load(Ordering::Relaxed),
        })
    }

    fn readiness(&self) -> Option<(bool, String)> {
        None
    }

    fn upkeep(&self) {
        self.exporter.upkeep();
    }
}

/// Waits for a signal that ends us and does what others ask for.
///
/// cancel-safe: a signal is taken only when it is returned or done.
async fn told_to_stop(signals: &mut Signals, switch: &Switch, gateway: Option<u32>) -> Signal {
    loop {
        match signals.next().await {
            stop @ (Signal::Terminate | Signal::Interrupt) => return stop,
            Signal::Hangup => warn!("SIGHUP ignored: there is no reload"),
            Signal::User => match gateway {
                Some(pid) => parent::pass_on(pid),
                None => {
                    switch.toggle();
                    switch.log();
                }
            },
        }
    }
}
