//! Which processes run here, and what SkyWalking shall call them.
//!
//! [`Discovery`] looks at `/proc` every few seconds and whenever the kernel tells of a start or an end.
//! On a plain host rules ([`RuleSettings`]) name a process; in Kubernetes every analyzer
//! ([`AnalyzerSettings`]) that fits the process's pod does. What came of it is [`Known`], which tasks can wait on.
//!
//! # Decisions
//! - On a plain host the first rule that matches wins, as in Rover's scanner (`rover_configs.yaml` before
//!   0.6: "only the first finder could be selected"): a broad rule can follow a narrow one. In Kubernetes
//!   every analyzer that matches yields an entity, as in Rover.
//! - Without any rule a process of a systemd service is reported under that service's name, and nothing
//!   else is: no shell, no user's session, no container becomes a service by accident.
//! - A process in a pod that we know is named by analyzers only, never by rules.

mod addresses;
mod cgroup;
mod command_line;
mod facts;
mod host;
mod kubernetes;
mod naming;
mod registry;
mod rules;
mod scene;
mod settings;
mod template;
#[cfg(test)]
mod testing;

pub use cgroup::Groups;
pub use facts::{Facts, Gone, Proc};
pub use kubernetes::{AnalyzerSettings, Container, KubernetesSettings, Owner, Pod, PodFile, Pods};
pub use registry::{Discovery, Known};
pub use rules::{MatchSettings, RuleSettings};
pub use settings::{Settings, SettingsError};
pub use template::{Problem, TemplateError};

/// A process under a name; one process may have several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entity {
    /// As the host's PID namespace sees it.
    pub pid: u32,
    /// When the process started, in clock ticks since boot: with the PID, what tells it from another.
    pub started: u64,
    /// SkyWalking's layer, `OS_LINUX` by default.
    pub layer: String,
    /// Service name.
    pub service: String,
    /// Service instance name.
    pub instance: String,
    /// Process name.
    pub process: String,
    /// Labels, sorted.
    pub labels: Vec<String>,
    /// Whether it is reported as a process of a host or of Kubernetes.
    pub place: Place,
    /// What is reported beside the names (`command_line`, `pid`, `host_ip`, ...).
    pub properties: Vec<(String, String)>,
}

/// Where a process lives, as SkyWalking's protocol knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// On a plain host.
    Host,
    /// In a container of a pod.
    Kubernetes,
}
