//! `perigee start` as a process, with a configuration in Satellite's form.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::{READY_WITHIN, Response, free_address, http};
use crate::process::{self, Running, Signal};

/// Names of one pipe in Satellite's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PipeNames {
    /// `common_config.pipe_name`.
    pub pipe: &'static str,
    /// `gatherer.receiver.plugin_name`.
    pub receiver: &'static str,
    /// `sender.forwarders[0].plugin_name`.
    pub forwarder: &'static str,
    /// `gatherer.queue.plugin_name`.
    pub queue: &'static str,
}

const fn pipe(
    pipe: &'static str,
    receiver: &'static str,
    forwarder: &'static str,
    queue: &'static str,
) -> PipeNames {
    PipeNames {
        pipe,
        receiver,
        forwarder,
        queue,
    }
}

const MEMORY: &str = "memory-queue";

/// Every pipe of Satellite's default file, in its order.
#[rustfmt::skip]
pub const ALL_PIPES: &[PipeNames] = &[
    pipe("logpipe", "grpc-native-log-receiver", "native-log-grpc-forwarder", MEMORY),
    pipe("managementpipe", "grpc-native-management-receiver", "native-management-grpc-forwarder", MEMORY),
    pipe("tracingpipe", "grpc-native-tracing-receiver", "native-tracing-grpc-forwarder", MEMORY),
    pipe("profilepipe", "grpc-native-profile-receiver", "native-profile-grpc-forwarder", MEMORY),
    pipe("asyncprofilerpipe", "grpc-native-async-profiler-receiver", "native-async-profiler-grpc-forwarder", MEMORY),
    pipe("cdspipe", "grpc-native-cds-receiver", "native-cds-grpc-forwarder", "none-queue"),
    pipe("eventpipe", "grpc-native-event-receiver", "native-event-grpc-forwarder", MEMORY),
    pipe("jvmpipe", "grpc-native-jvm-receiver", "native-jvm-grpc-forwarder", MEMORY),
    pipe("clrpipe", "grpc-native-clr-receiver", "native-clr-grpc-forwarder", MEMORY),
    pipe("meterpipe", "grpc-native-meter-receiver", "native-meter-grpc-forwarder", MEMORY),
    pipe("envoy-als-v2", "grpc-envoy-als-v2-receiver", "envoy-als-v2-grpc-forwarder", MEMORY),
    pipe("envoy-als-v3", "grpc-envoy-als-v3-receiver", "envoy-als-v3-grpc-forwarder", MEMORY),
    pipe("envoy-metrics-v2", "grpc-envoy-metrics-v2-receiver", "envoy-metrics-v2-grpc-forwarder", MEMORY),
    pipe("envoy-metrics-v3", "grpc-envoy-metrics-v3-receiver", "envoy-metrics-v3-grpc-forwarder", MEMORY),
    pipe("processpipe", "grpc-native-process-receiver", "native-process-grpc-forwarder", MEMORY),
    pipe("ebpf-profilingpipe", "grpc-native-ebpf-profiling-receiver", "native-ebpf-profiling-grpc-forwarder", MEMORY),
    pipe("ebpf-accesslog-pipe", "grpc-native-ebpf-accesslog-receiver", "native-ebpf-accesslog-grpc-forwarder", MEMORY),
    pipe("otlp-metrics-v1-pipe", "grpc-otlp-metrics-v1-receiver", "otlp-metrics-v1-grpc-forwarder", MEMORY),
];

/// Segments alone.
pub const TRACING_PIPE: &[PipeNames] = &[ALL_PIPES[2]];

/// What language agents use: logs, management, segments, profiling, dynamic configuration, meters.
pub const AGENT_PIPES: &[PipeNames] = &[
    ALL_PIPES[0],
    ALL_PIPES[1],
    ALL_PIPES[2],
    ALL_PIPES[3],
    ALL_PIPES[5],
    ALL_PIPES[9],
];

/// What a gateway's file says. Made by [`towards`](Self::towards), then changed at will.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// `server_addr`.
    pub upstreams: Vec<SocketAddr>,
    /// Weights of the upstreams, for the list form of `server_addr`; none: the plain comma form.
    pub weights: Vec<u32>,
    /// `timeout.stream` of the client; `None`: the gateway's default.
    pub stream_timeout: Option<String>,
    /// `sharing.clients[0].authentication`.
    pub authentication: Option<String>,
    /// `--shutdown_hook_time` in seconds; `None`: the gateway's default.
    pub hook_seconds: Option<u32>,
    /// Where agents connect.
    pub address: SocketAddr,
    /// Where metrics and health are served.
    pub telemetry: SocketAddr,
    /// `logger.level`. Default `info`.
    pub log_level: String,
    /// Pipes. Default [`AGENT_PIPES`].
    pub pipes: &'static [PipeNames],
    /// `queue.event_buffer_size`. Default 100,000.
    pub event_buffer_size: u64,
    /// `queue.partition`. Default 1.
    pub partition: u32,
    /// `queue.when_full`. Default `block`.
    pub when_full: String,
    /// `sender.max_buffer_size`. Default 200, as Satellite.
    pub max_buffer_size: u32,
    /// `sender.flush_time` in milliseconds. Default 100.
    pub flush_time: u32,
    /// `limits.memory_bytes`; `None`: the gateway's default.
    pub memory_bytes: Option<u64>,
    /// `limits.workers`; `None`: the gateway's default.
    pub workers: Option<u32>,
    /// `accept_limit.cpu_utilization`. Default 100: a benchmark saturates its core on purpose.
    pub cpu_utilization: u32,
    /// Run on this core only.
    pub core: Option<usize>,
    /// Directories of the control groups to run in.
    pub groups: Vec<PathBuf>,
}

impl GatewayConfig {
    /// A gateway in front of `upstreams`, on free addresses.
    ///
    /// # Errors
    /// There is no free port.
    pub fn towards(upstreams: Vec<SocketAddr>) -> Result<Self> {
        Ok(Self {
            upstreams,
            weights: Vec::new(),
            stream_timeout: None,
            authentication: None,
            hook_seconds: None,
            address: free_address()?,
            telemetry: free_address()?,
            log_level: "info".to_owned(),
            pipes: AGENT_PIPES,
            event_buffer_size: 100_000,
            partition: 1,
            when_full: "block".to_owned(),
            max_buffer_size: 200,
            flush_time: 100,
            memory_bytes: None,
            workers: None,
            cpu_utilization: 100,
            core: None,
            groups: Vec::new(),
        })
    }

    /// The pipes' settings of Satellite's stock file, for published numbers.
    pub fn stock(&mut self) {
        self.event_buffer_size = 5000;
        self.partition = 4;
        self.max_buffer_size = 200;
        self.flush_time = 1000;
    }

    /// The file.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut yaml = format!(
            r#"logger:
  level: {level}
telemetry:
  cluster: loadtest
  service: perigee
  instance: perigee-loadtest
  export_type: prometheus
  prometheus:
    address: "{telemetry}"
    endpoint: /metrics
sharing:
  clients:
    - plugin_name: "grpc-client"
      finder_type: static
      check_period: 1
{client}  servers:
    - plugin_name: "grpc-server"
      address: "{address}"
      accept_limit:
        cpu_utilization: {cpu_utilization}
        connection_count: 4000
"#,
            level = self.log_level,
            telemetry = self.telemetry,
            client = self.client_yaml(),
            address = self.address,
            cpu_utilization = self.cpu_utilization,
        );
        let limits = [
            ("memory_bytes", self.memory_bytes),
            ("workers", self.workers.map(u64::from)),
        ];
        if limits.iter().any(|(_, value)| value.is_some()) {
            yaml.push_str("limits:\n");
        }
        for (key, value) in limits {
            if let Some(value) = value {
                yaml.push_str(&format!("  {key}: {value}\n"));
            }
        }
        yaml.push_str("pipes:\n");
        for pipe in self.pipes {
            yaml.push_str(&self.pipe_yaml(pipe));
        }
        yaml
    }

    fn client_yaml(&self) -> String {
        let servers: Vec<_> = self.upstreams.iter().map(ToString::to_string).collect();
        let mut yaml = if self.weights.is_empty() {
            format!("      server_addr: \"{}\"\n", servers.join(","))
        } else {
            let weighted = servers.iter().zip(&self.weights).map(|(address, weight)| {
                format!("        - address: \"{address}\"\n          weight: {weight}\n")
            });
            format!("      server_addr:\n{}", weighted.collect::<String>())
        };
        if let Some(stream) = &self.stream_timeout {
            yaml.push_str(&format!("      timeout:\n        stream: {stream}\n"));
        }
        if let Some(token) = &self.authentication {
            yaml.push_str(&format!("      authentication: {token}\n"));
        }
        yaml
    }

    fn pipe_yaml(&self, names: &PipeNames) -> String {
        let mut queue = format!("        plugin_name: \"{}\"\n", names.queue);
        if names.queue == MEMORY {
            for (key, value) in [
                ("event_buffer_size", self.event_buffer_size.to_string()),
                ("partition", self.partition.to_string()),
                ("when_full", self.when_full.clone()),
            ] {
                queue.push_str(&format!("        {key}: {value}\n"));
            }
        }
        format!(
            r#"  - common_config:
      pipe_name: {pipe}
    gatherer:
      server_name: "grpc-server"
      receiver:
        plugin_name: "{receiver}"
      queue:
{queue}    processor:
      filters:
    sender:
      fallbacker:
        plugin_name: none-fallbacker
      flush_time: {flush_time}
      max_buffer_size: {max_buffer_size}
      min_flush_events: 1
      client_name: grpc-client
      forwarders:
        - plugin_name: {forwarder}
"#,
            pipe = names.pipe,
            receiver = names.receiver,
            flush_time = self.flush_time,
            max_buffer_size = self.max_buffer_size,
            forwarder = names.forwarder,
        )
    }
}

/// A running gateway.
#[derive(Debug)]
pub struct GatewayProcess {
    /// The configuration that it runs with.
    pub config: GatewayConfig,
    running: Running,
    _directory: TempDir,
}

impl GatewayProcess {
    /// Starts a gateway and waits until it accepts connections.
    ///
    /// # Errors
    /// It ends, or does not listen in time.
    pub fn start(binary: &Path, config: GatewayConfig) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let file = directory.path().join("perigee.yaml");
        std::fs::write(&file, config.to_yaml())?;
        let mut command = within(&config.groups, pinned(binary, config.core));
        command.arg("start").arg("-c").arg(&file);
        if let Some(seconds) = config.hook_seconds {
            command.arg("-t").arg(seconds.to_string());
        }
        let mut running = Running::start("perigee start", &mut command)?;
        process::poll_for("the gateway's listener", READY_WITHIN, || {
            if let Some(status) = running.ended()? {
                let said = running.lines().join("\n");
                bail!(
                    "perigee start ended with {status}\n{said}\n{}",
                    running.errors()
                );
            }
            Ok(TcpStream::connect(config.address).ok())
        })?;
        Ok(Self {
            config,
            running,
            _directory: directory,
        })
    }

    /// Where agents connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.config.address
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// `GET` of the telemetry address: `/metrics`, `/healthz`, `/readyz`.
    ///
    /// # Errors
    /// No answer.
    pub fn get(&self, path: &str) -> Result<Response> {
        http::get(self.config.telemetry, path)
    }

    /// The sum of a metric's values over its label sets that contain all of `labels`.
    ///
    /// # Errors
    /// The metrics cannot be fetched, or none matches.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let text = self.get("/metrics")?.body;
        let values = text.lines().filter_map(|line| {
            let rest = line
                .strip_prefix(name)
                .filter(|rest| rest.starts_with(['{', ' ']))?;
            let (set, value) = rest.rsplit_once(' ')?;
            labels
                .iter()
                .all(|label| set.contains(label))
                .then(|| value.parse::<f64>().ok())?
        });
        values
            .reduce(|sum, value| sum + value)
            .with_context(|| format!("no metric {name}{labels:?}"))
    }

    /// A metric of the node at this address.
    ///
    /// # Errors
    /// As [`metric`](Self::metric).
    pub fn node_metric(&self, name: &str, node: SocketAddr) -> Result<f64> {
        self.metric(name, &[&format!("node=\"{node}\"")])
    }

    /// Waits until a metric satisfies `condition`, and returns it.
    ///
    /// # Errors
    /// It does not within `within`; the error says what it was.
    pub fn await_metric(
        &self,
        name: &str,
        labels: &[&str],
        within: Duration,
        condition: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        let mut last = None;
        process::poll_for(name, within, || {
            last = self.metric(name, labels).ok();
            Ok(last.filter(|value| condition(*value)))
        })
        .with_context(|| format!("{name}{labels:?} is {last:?}\n{}", self.log()))
    }

    /// Waits for a line of its log that contains `text`.
    ///
    /// # Errors
    /// There is none within `within`.
    pub fn await_log(&self, text: &str, within: Duration) -> Result<()> {
        process::poll_for(text, within, || Ok(self.log().contains(text).then_some(())))
            .with_context(|| self.log())
    }

    /// What it has said at its end.
    ///
    /// # Errors
    /// It has not said it, or not as expected.
    pub fn stopped(&self) -> Result<Stopped> {
        let log = self.log();
        let (_, line) = log
            .rsplit_once("stopped: ")
            .with_context(|| format!("no line of the end\n{log}"))?;
        Stopped::parse(line.lines().next().unwrap_or_default())
    }

    /// Everything that it has printed.
    #[must_use]
    pub fn log(&self) -> String {
        format!(
            "{}\n{}",
            self.running.lines().join("\n"),
            self.running.errors()
        )
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Errors
    /// It has not ended within `within`.
    pub fn stop(&mut self, within: Duration) -> Result<ExitStatus> {
        self.running.signal(Signal::TERM)?;
        self.running.wait(within)
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.running.kill();
    }
}

/// The numbers in the gateway's last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Messages that arrived.
    pub received: u64,
    /// Messages that an OAP confirmed.
    pub delivered: u64,
    /// Messages that were let go before the end.
    pub dropped: u64,
    /// Messages that were left at the end.
    pub not_delivered: u64,
    /// The rest of the line: what was left, by pipe.
    pub by_pipe: String,
}

impl Stopped {
    fn parse(line: &str) -> Result<Self> {
        let (numbers, by_pipe) = line.split_once(": ").unwrap_or((line, ""));
        let number = |name: &str| {
            let value = numbers
                .split(", ")
                .find_map(|part| part.strip_prefix(name)?.strip_prefix(' '));
            let value = value.with_context(|| format!("no {name} in {line:?}"))?;
            Ok::<u64, anyhow::Error>(value.parse()?)
        };
        Ok(Self {
            received: number("received")?,
            delivered: number("delivered")?,
            dropped: number("dropped")?,
            not_delivered: number("not delivered")?,
            by_pipe: by_pipe.to_owned(),
        })
    }
}

/// `command`, begun in these control groups, so that nothing of it has been outside.
fn within(groups: &[PathBuf], command: Command) -> Command {
    const JOIN: &str = r#"
while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done
shift
exec "$@""#;
    if groups.is_empty() {
        return command;
    }
    let mut joining = Command::new("sh");
    joining.args(["-c", JOIN, "sh"]).args(groups).arg("--");
    joining.arg(command.get_program()).args(command.get_args());
    joining
}

/// `program`, on one core if so wished.
pub(crate) fn pinned(program: &Path, core: Option<usize>) -> Command {
    let Some(core) = core else {
        return Command::new(program);
    };
    let mut command = Command::new("taskset");
    command.arg("-c").arg(core.to_string()).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_only_when_set() {
        let mut config = GatewayConfig::towards(vec![free_address().unwrap()]).unwrap();
        assert!(!config.to_yaml().contains("limits"));
        config.memory_bytes = Some(64 << 20);
        assert!(
            config
                .to_yaml()
                .contains("limits:\n  memory_bytes: 67108864\npipes:\n")
        );
    }

    #[test]
    fn weights_make_a_list_of_the_servers() {
        let node = free_address().unwrap();
        let mut config = GatewayConfig::towards(vec![node]).unwrap();
        assert!(
            config
                .to_yaml()
                .contains(&format!("server_addr: \"{node}\"\n"))
        );
        config.weights = vec![3];
        let list = format!("server_addr:\n        - address: \"{node}\"\n          weight: 3\n");
        assert!(config.to_yaml().contains(&list), "{}", config.to_yaml());
    }

    #[test]
    fn the_last_line_is_read_with_and_without_losses() {
        let none = "received 5, delivered 5, dropped 0, not delivered 0";
        assert_eq!(Stopped::parse(none).unwrap().delivered, 5);
        let some = "received 9, delivered 2, dropped 3, not delivered 4: a 1, b 3";
        let expected = Stopped {
            received: 9,
            delivered: 2,
            dropped: 3,
            not_delivered: 4,
            by_pipe: "a 1, b 3".to_owned(),
        };
        assert_eq!(Stopped::parse(some).unwrap(), expected);
    }

    #[test]
    fn a_pipe_without_a_queue_has_no_queue_settings() {
        let config = GatewayConfig::towards(Vec::new()).unwrap();
        let cds = config.pipe_yaml(&ALL_PIPES[5]);
        assert!(cds.contains("none-queue") && !cds.contains("event_buffer_size"));
    }
}
