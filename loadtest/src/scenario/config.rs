//! The gateway's configuration in a scenario, in Satellite's form.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;

use super::free_address;

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
    /// `accept_limit.connection_count`, all of them for one address: clients of a scenario share it.
    /// Default 4000, as Satellite.
    pub connection_count: u32,
    /// Soft and hard limit of open files; `None`: this process's.
    pub open_files: Option<(u32, u32)>,
    /// Run on this core only.
    pub core: Option<usize>,
    /// Directories of the control groups to run in.
    pub groups: Vec<PathBuf>,
    /// Further sections of the file, as they are.
    pub sections: String,
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
            connection_count: 4000,
            open_files: None,
            core: None,
            groups: Vec::new(),
            sections: String::new(),
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
        connection_count: {connection_count}
        connections_per_source: {connection_count}
"#,
            level = self.log_level,
            telemetry = self.telemetry,
            client = self.client_yaml(),
            address = self.address,
            cpu_utilization = self.cpu_utilization,
            connection_count = self.connection_count,
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
        yaml.push_str(&self.sections);
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
    fn a_pipe_without_a_queue_has_no_queue_settings() {
        let config = GatewayConfig::towards(Vec::new()).unwrap();
        let cds = config.pipe_yaml(&ALL_PIPES[5]);
        assert!(cds.contains("none-queue") && !cds.contains("event_buffer_size"));
    }
}
