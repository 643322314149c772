//! The seam to `plugins/ebpf-profiler`: what the configuration says becomes what the module is made of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use perigee_ebpf_profiler::access::{Access, AccessError};
use perigee_ebpf_profiler::discovery::{self, Discovery, SettingsError};
use perigee_ebpf_profiler::engine::{self, Opened, Refused, Settings};
use perigee_ebpf_profiler::metrics::{TASKS_RUNNING, TIER};
use perigee_ebpf_profiler::oap::link::LinkError;
use perigee_ebpf_profiler::oap::{self, Agent};
use tokio::sync::watch;
use tracing::warn;

use super::connection::Connection;
use super::finding::Finding;
use crate::config::settings::capture::{self as settings, Budget};

/// Makes ready what captures. Dropped, nothing of ours is left in the kernel.
///
/// # Errors
/// The machine lets us capture nothing.
pub(crate) fn open(settings: &Settings) -> Result<Opened, Refused> {
    engine::open(settings)
}

/// What the agent's own time for a farewell may be exceeded by.
const SLACK: Duration = Duration::from_millis(500);

/// One part in so many of the memory is for what tasks have not sent yet.
const UNSENT: u64 = 4;

/// Finds processes, reports them, and does the OAP's tasks until `shutdown` resolves. Then what tasks hold
/// is sent, and everything is dropped.
pub(super) async fn work(
    settings: &settings::Capture,
    opened: Opened,
    gateway: &Connection,
    shutdown: impl Future<Output = ()>,
) -> Result<(), WorkError> {
    let agent = agent(settings, gateway);
    let farewell = agent.farewell;
    let (sender, entities) = watch::channel(Arc::from([]));
    let agent = Agent::new(agent, Arc::clone(&opened.capture), entities)?;
    let mut discovered: discovery::Settings = serde_json::from_value(settings.discovery.clone())?;
    discovered.agent_id = agent.id().to_owned();
    let _finding = Finding::start(Discovery::new(&discovered)?, opened.watch(), sender)?;
    let (told, mut stop) = watch::channel(false);
    let is_told = async move {
        // Without a sender there is nobody left to run for.
        let _ = stop.wait_for(|told| *told).await;
    };
    let late = async {
        shutdown.await;
        told.send_replace(true);
        tokio::time::sleep(farewell + SLACK).await;
    };
    tokio::select! {
        () = agent.run(is_told) => {}
        () = late => warn!(?farewell, "what captures does not end, dropped"),
    }
    Ok(())
}

/// As the OAP's tasks are done.
fn agent(settings: &settings::Capture, gateway: &Connection) -> oap::Settings {
    let unsent = settings.budget.memory_bytes / UNSENT;
    oap::Settings {
        connection: gateway.to_settings(),
        period: settings.on_cpu_period,
        minimum: settings.off_cpu_minimum,
        memory: usize::try_from(unsent).unwrap_or(usize::MAX),
        ..oap::Settings::default()
    }
}

/// After [`work`]: nothing is captured, by no means.
pub(super) fn zero_gauges() {
    for kind in ["on_cpu", "off_cpu"] {
        TIER.gauge(&[kind]).set(0.0);
    }
    TASKS_RUNNING.gauge(&[]).set(0.0);
}

/// Why nothing is reported.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkError {
    #[error("capture.gateway.{0}")]
    Link(#[from] LinkError),
    #[error("capture.{0}")]
    Access(#[from] AccessError),
    #[error("capture.discovery.{0}")]
    Discovery(#[from] SettingsError),
    #[error("capture.discovery: {0}")]
    Shape(#[from] serde_json::Error),
    #[error("no thread to find processes with: {0}")]
    Thread(#[from] std::io::Error),
}

/// As a process for the OAP's tasks captures.
///
/// # Errors
/// An expression is not one: capturing whom it denies is no answer to that.
pub(super) fn for_tasks(settings: &settings::Capture) -> Result<Settings, AccessError> {
    let proc = settings.discovery["proc_root"].as_str();
    Ok(Settings {
        proc: proc.map_or_else(|| Settings::default().proc, PathBuf::from),
        access: Access::new(&settings.access)?,
        ..bounded(settings.budget)
    })
}

/// As a profile into a file is captured: by the defaults, and with the kernel's costs, which are told.
pub(crate) fn for_file() -> Settings {
    Settings {
        measure: true,
        ..bounded(Budget::default())
    }
}

fn bounded(budget: Budget) -> Settings {
    Settings {
        cpu_percent: budget.cpu_percent.into(),
        memory_bytes: budget.memory_bytes,
        ..Settings::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{CaptureConfig, Source};

    fn of(text: &str) -> Settings {
        let config = CaptureConfig::parse(text, Source::Embedded, &|_| None);
        for_tasks(&config.unwrap().settings.capture).unwrap()
    }

    /// Two tables of defaults that must not drift apart.
    #[test]
    fn what_a_file_leaves_out_is_what_the_module_does_by_itself() {
        let (file, module) = (of("capture: {}"), Settings::default());
        assert_eq!(file.proc, module.proc);
        assert!((file.cpu_percent - module.cpu_percent).abs() < 1e-9);
        assert_eq!(file.memory_bytes, module.memory_bytes);
        assert!(file.access.is_open());
        assert!((for_file().cpu_percent - module.cpu_percent).abs() < 1e-9);
    }

    #[test]
    fn what_a_file_says_reaches_the_module() {
        let settings = of(
            "capture: {budget: {cpu_percent: 3, memory: 32MiB}, allow: [shop], deny: [a, b], discovery: {proc_root: /host/proc}}",
        );
        assert_eq!(settings.proc, Path::new("/host/proc"));
        assert!((settings.cpu_percent - 3.0).abs() < 1e-9);
        assert_eq!(settings.memory_bytes, 32 << 20);
        let may = |command| settings.access.judge(command).is_ok();
        assert_eq!(["shop", "shap", "shop b"].map(may), [true, false, false]);
    }

    #[test]
    fn what_tasks_have_not_sent_has_a_quarter_of_the_memory() {
        let share = |text: &str| {
            let config = CaptureConfig::parse(text, Source::Embedded, &|_| None);
            let capture = config.unwrap().settings.capture;
            let gateway = Connection::new(&capture.gateway).unwrap();
            agent(&capture, &gateway).memory
        };
        assert_eq!(share("capture: {budget: {memory: 32MiB}}"), 8 << 20);
        assert_eq!(share("capture: {}"), oap::Settings::default().memory);
    }

    /// Leaving it out would capture whom it denies.
    #[test]
    fn an_expression_that_is_none_stops_the_capture() {
        let config = CaptureConfig::parse("capture: {}", Source::Embedded, &|_| None);
        let mut capture = config.unwrap().settings.capture;
        capture.access.deny = vec!["(".to_owned()];
        let error = WorkError::from(for_tasks(&capture).unwrap_err()).to_string();
        assert!(
            error.starts_with("capture.deny[0]: \"(\" is no regular expression: "),
            "{error}"
        );
    }
}
