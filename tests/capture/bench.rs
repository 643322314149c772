//! A sink, a gateway before it, and an agent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use perigee::app::App;
use perigee::config::settings::{ServerAddr, Settings as GatewaySettings};
use perigee::config::{Config, EMBEDDED, Host, Source};
use perigee::sink::stacks::{Stacks, TaskStacks};
use perigee::sink::state::State;
use perigee::sink::{Sink, SinkHandle, SinkOptions};
use perigee_ebpf_profiler::discovery::{Entity, Place};
use perigee_ebpf_profiler::oap::link::Connection;
use perigee_ebpf_profiler::oap::{Agent, Settings};
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::kernel::{Kernel, Sums};

pub(crate) const REPORT: &str = "/skywalking.v3.EBPFProcessService/reportProcesses";
pub(crate) const PING: &str = "/skywalking.v3.EBPFProcessService/keepAlive";
pub(crate) const QUERY: &str = "/skywalking.v3.EBPFProfilingService/queryTasks";
pub(crate) const COLLECT: &str = "/skywalking.v3.EBPFProfilingService/collectProfilingData";

/// Fails the test instead of hanging it.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("nothing happened for 30 s")
}

pub(crate) fn entity(pid: u32, process: &str) -> Entity {
    Entity {
        pid,
        started: 1,
        layer: "OS_LINUX".to_owned(),
        service: "shop".to_owned(),
        instance: "host-1".to_owned(),
        process: process.to_owned(),
        labels: vec!["east".to_owned()],
        place: Place::Host,
        properties: vec![("command_line".to_owned(), process.to_owned())],
    }
}

/// The id that an OAP gives to [`entity`].
pub(crate) fn id_of(process: &str) -> String {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    let (service, instance) = (
        BASE64_STANDARD.encode("shop"),
        BASE64_STANDARD.encode("host-1"),
    );
    let name = format!("{process}_{service}.1_{instance}");
    let hash = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    hash.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Everything often, but for reports by heartbeat.
pub(crate) fn settings(address: SocketAddr) -> Settings {
    Settings {
        connection: Connection {
            address: address.to_string(),
            ..Connection::default()
        },
        heartbeat: Duration::from_secs(3600),
        pause: Duration::from_millis(10),
        poll: Duration::from_millis(50),
        flush: Duration::from_millis(100),
        ..Settings::default()
    }
}

pub(crate) fn sink() -> SinkHandle {
    Sink::start(SinkOptions::default()).unwrap()
}

/// A gateway of one node.
pub(crate) async fn gateway(sink: &SinkHandle, edit: impl FnOnce(&mut GatewaySettings)) -> App {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let host = Host {
        memory_limit: None,
        cores: 2,
    };
    let config = Config::parse(EMBEDDED, Source::Embedded, &|_| None, &host).unwrap();
    let mut settings = config.settings;
    settings.server.address = any_port;
    settings.server.max_cpu_percent = 100;
    settings.telemetry.prometheus.as_mut().unwrap().address = any_port;
    settings.client.servers = vec![ServerAddr {
        host: sink.listen().ip().to_string(),
        port: sink.listen().port(),
        weight: 1,
    }];
    for pipe in &mut settings.pipes {
        pipe.sender.flush_time = Duration::from_millis(50);
    }
    edit(&mut settings);
    App::start(settings).await.unwrap()
}

/// An agent that runs.
pub(crate) struct Running {
    pub(crate) entities: watch::Sender<Arc<[Entity]>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(settings: Settings, kernel: &Kernel, entities: &[Entity]) -> Self {
        let (entities, receiver) = watch::channel(Arc::from(entities));
        let agent = Agent::new(settings, Arc::new(kernel.clone()), receiver).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(agent.run(async {
            let _ = stopped.await;
        }));
        Self {
            entities,
            stop,
            task,
        }
    }

    pub(crate) fn set(&self, entities: &[Entity]) {
        self.entities.send_replace(Arc::from(entities));
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        soon(self.task).await.unwrap();
    }
}

/// Hands out a task of these arguments.
pub(crate) fn hand_out(sink: &SinkHandle, id: &str, seconds: u32, args: &serde_json::Value) {
    let mut task = json!({
        "kind": "ebpf",
        "args": { "TaskId": id, "FixedTriggerDuration": seconds.to_string() }
    });
    for (key, value) in args.as_object().unwrap() {
        task["args"][key] = value.clone();
    }
    // Not checked: some are bad on purpose.
    sink.hand_out(serde_json::from_value(task).unwrap());
}

pub(crate) fn sums(task: &TaskStacks) -> Sums {
    let stacks = task.stacks.iter();
    stacks
        .map(|stack| {
            let names = (stack.kernel.clone(), stack.user.clone());
            (names, (stack.count, stack.nanos))
        })
        .collect()
}

pub(crate) fn of<'a>(stacks: &'a Stacks, task: &str, process: &str) -> Option<&'a TaskStacks> {
    let id = id_of(process);
    let mut tasks = stacks.tasks.iter();
    tasks.find(|found| found.task == task && found.process == id)
}

/// Waits until the sink has what the kernel has yielded, of as many processes as were captured.
pub(crate) async fn all_arrived(sink: &SinkHandle, expected: impl Fn() -> Vec<Sums>) {
    let arrived = |stacks: &Stacks| {
        let mut arrived: Vec<_> = stacks.tasks.iter().map(sums).collect();
        let mut expected = expected();
        arrived.sort_unstable();
        expected.sort_unstable();
        arrived == expected
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), sink.wait_for_stacks(arrived));
    if waited.await.is_err() {
        panic!("{:?}\nis not\n{:?}", sink.stacks(), expected());
    }
}

pub(crate) async fn called(sink: &SinkHandle, path: &str, times: u64) -> State {
    soon(sink.wait_until(|state| state.messages(path) >= times)).await
}
