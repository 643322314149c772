//! From a checked tree to [`Settings`].
//!
//! Single values have been checked before; here is what depends on more than one of them.

use super::at::At;
use super::check::Findings;
use super::host::Host;
use super::kind::split;
use super::settings::capture::CaptureSettings;
use super::settings::{Limits, LogFormat, Logger, Prometheus, Settings, Telemetry};
use super::tree::Node;
use super::units;

mod access;
mod capture;
mod nodes;
mod pipes;
mod sharing;

use capture::Use;

/// Makes settings; what is wrong is added to the findings. `None` only with an error.
pub(super) fn resolve(tree: &Node, host: &Host, findings: &mut Findings) -> Option<Settings> {
    let root = At::root(tree);
    let telemetry = telemetry(&root.child("telemetry"), findings);
    let client = sharing::client(&root.child("sharing.clients"), findings);
    let server = sharing::server(&root.child("sharing.servers"), findings);
    if let (Some(client), Some(server)) = (&client, &server) {
        let clients = root.child("sharing.clients");
        nodes::check(&clients, &client.servers, server.address, findings);
    }
    let pipes = pipes::pipes(&root, findings);
    let place = root.child("capture");
    let capture = capture::capture(&place, server.as_ref(), Use::Beside, findings);
    if capture
        .as_ref()
        .is_some_and(|it| it.enabled && !it.gateway.is_named)
    {
        capture::check_pipes(&place, &pipes, findings);
    }
    Some(Settings {
        logger: logger(&root.child("logger")),
        telemetry: telemetry?,
        client: client?,
        server: server?,
        limits: limits(&root.child("limits"), host),
        pipes,
        capture: capture?,
    })
}

/// Makes the settings of `perigee capture`, for which the file needs no other section.
pub(super) fn resolve_capture(tree: &Node, findings: &mut Findings) -> Option<CaptureSettings> {
    let root = At::root(tree);
    let servers = root.child("sharing.servers");
    let server = match servers.is_present() {
        true => Some(sharing::server(&servers, findings)?),
        false => None,
    };
    let capture = root.child("capture");
    let telemetry = root.child("telemetry");
    Some(CaptureSettings {
        logger: logger(&root.child("logger")),
        labels: ["cluster", "service", "instance"].map(|name| telemetry.child(name).text()),
        capture: capture::capture(&capture, server.as_ref(), Use::Alone, findings)?,
    })
}

fn logger(at: &At<'_>) -> Logger {
    let level = match at.child("level").choice().as_str() {
        "trace" => tracing::Level::TRACE,
        "debug" => tracing::Level::DEBUG,
        "warn" | "warning" => tracing::Level::WARN,
        "error" | "fatal" | "panic" => tracing::Level::ERROR,
        _ => tracing::Level::INFO,
    };
    let format = match at.child("format").choice().as_str() {
        "json" => LogFormat::Json,
        _ => LogFormat::Text,
    };
    Logger {
        log_pattern: at.child("log_pattern").text(),
        time_pattern: at.child("time_pattern").text(),
        level,
        format,
    }
}

fn telemetry(at: &At<'_>, findings: &mut Findings) -> Option<Telemetry> {
    const STOCK_EXPORTS: &str = "prometheus,pprof";
    let export_type = at.child("export_type");
    let exports = export_type.text();
    let exports_to = |name: &str| split(&exports).any(|export| export == name);
    if exports_to("metrics_service") {
        findings.warnings.push(
            export_type.problem("\"metrics_service\" is not built yet: no metrics are sent to OAP"),
        );
    }
    if exports_to("pprof") && exports != STOCK_EXPORTS {
        findings
            .warnings
            .push(export_type.problem("\"pprof\" has no effect: it is Go's profiler"));
    }
    let prometheus = match exports_to("prometheus") {
        true => Some(Prometheus {
            address: at
                .child("prometheus.address")
                .read(|scalar| units::listen_address(&scalar.text))?,
            endpoint: at.child("prometheus.endpoint").text(),
        }),
        false => None,
    };
    Some(Telemetry {
        cluster: at.child("cluster").text(),
        service: at.child("service").text(),
        instance: at.child("instance").text(),
        prometheus,
    })
}

fn limits(at: &At<'_>, host: &Host) -> Limits {
    Limits {
        memory_bytes: at
            .child("memory_bytes")
            .bytes()
            .unwrap_or_else(|| host.default_memory()),
        workers: at.child("workers").whole().unwrap_or(host.cores),
    }
}
