//! The seam to `plugins/ebpf-profiler`: what the configuration says becomes what the module is made of.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use perigee_ebpf_profiler::discovery::{self, Discovery, SettingsError};
use perigee_ebpf_profiler::engine::{self, Access, Opened, Refused, Settings};
use perigee_ebpf_profiler::metrics::{TASKS_RUNNING, TIER};
use perigee_ebpf_profiler::oap::link::LinkError;
use perigee_ebpf_profiler::oap::{self, Agent};
use regex::Regex;
use tokio::sync::watch;
use tracing::warn;

use super::connection::Connection;
use super::finding::Finding;
use crate::config::settings::capture::{self as settings, Budget, Scope};

/// Makes ready what captures. Dropped, nothing of ours is left in the kernel.
///
/// # Errors
/// The machine lets us capture nothing.
pub(crate) fn open(settings: &Settings) -> Result<Opened, Refused> {
    engine::open(settings)
}

/// What the agent's own time for a farewell may be exceeded by.
const SLACK: Duration = Duration::from_millis(500);

/// Finds processes, reports them, and does the OAP's tasks until `shutdown` resolves. Then what tasks hold
/// is sent, and everything is dropped.
pub(super) async fn work(
    settings: &settings::Capture,
    opened: Opened,
    gateway: &Connection,
    shutdown: impl Future<Output = ()>,
) -> Result<(), WorkError> {
    let agent = oap::Settings {
        connection: gateway.to_settings(),
        period: settings.on_cpu_period,
        minimum: settings.off_cpu_minimum,
        ..oap::Settings::default()
    };
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
    #[error("capture.discovery.{0}")]
    Discovery(#[from] SettingsError),
    #[error("capture.discovery: {0}")]
    Shape(#[from] serde_json::Error),
    #[error("no thread to find processes with: {0}")]
    Thread(#[from] std::io::Error),
}

/// As a process for the OAP's tasks captures.
pub(super) fn for_tasks(settings: &settings::Capture) -> Settings {
    let proc = settings.discovery["proc_root"].as_str();
    Settings {
        proc: proc.map_or_else(|| Settings::default().proc, PathBuf::from),
        ..bounded(settings.budget, &settings.scope)
    }
}

/// As a profile into a file is captured: by the defaults, and with the kernel's costs, which are told.
pub(crate) fn for_file() -> Settings {
    Settings {
        measure: true,
        ..bounded(Budget::default(), &Scope::default())
    }
}

fn bounded(budget: Budget, scope: &Scope) -> Settings {
    // Each has been read before.
    let expressions = |list: &[String]| list.iter().filter_map(|it| Regex::new(it).ok()).collect();
    Settings {
        cpu_percent: budget.cpu_percent.into(),
        memory_bytes: budget.memory_bytes,
        access: Access {
            allow: expressions(&scope.allow),
            deny: expressions(&scope.deny),
        },
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
        for_tasks(&config.unwrap().settings.capture)
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
        assert_eq!(
            (settings.access.allow.len(), settings.access.deny.len()),
            (1, 2)
        );
    }
}
