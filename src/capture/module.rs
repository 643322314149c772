//! The seam to `plugins/ebpf-profiler`: what the configuration says becomes what the module is made of.

use std::convert::Infallible;
use std::path::PathBuf;

use perigee_ebpf_profiler::engine::{self, Access, Opened, Refused, Settings};
use regex::Regex;

use super::connection::Connection;
use crate::config::settings::capture::{self as settings, Budget, Scope};

/// Makes ready what captures. Dropped, nothing of ours is left in the kernel.
///
/// # Errors
/// The machine lets us capture nothing.
pub(crate) fn open(settings: &Settings) -> Result<Opened, Refused> {
    engine::open(settings)
}

/// Finds processes, reports them, and does the OAP's tasks. Runs until dropped; `capture` is `None`
/// where nothing can be captured.
pub(super) async fn work(
    _settings: &settings::Capture,
    _capture: Option<Opened>,
    _gateway: &Connection,
) -> Infallible {
    std::future::pending().await
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
