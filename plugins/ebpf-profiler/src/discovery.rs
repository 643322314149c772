//! Which processes run here, and what SkyWalking shall call them.

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
