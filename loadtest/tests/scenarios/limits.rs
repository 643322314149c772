//! The limit of CPU: our own control group's, and nobody else's; and the limit of open files.
//!
//! Groups are made under version 1, as on the machine of our tests; version 2 is read from recorded
//! files in `src/limit`. Without the right to make groups these tests say that they are skipped.

#![expect(clippy::print_stdout, reason = "a skipped test says so")]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use perigee_loadtest::http2;
use perigee_loadtest::process::{self, LOOK_AGAIN};
use perigee_loadtest::scenario::{
    Client, GatewayConfig, GatewayProcess, Scenario, Traffic, segment,
};
use perigee_loadtest::segment::METHOD;

use super::{SIZE, SOON, await_delivered};

/// What the gateway measures over.
const WINDOW: Duration = Duration::from_secs(5);

const PERCENT: &str = "grpc_server_cpu_gauge";

/// A control group with a quota of a fifth of a core. What is left in it leaves with the test.
struct Group {
    directories: Vec<PathBuf>,
}

impl Group {
    /// `None`, said aloud, where groups cannot be made.
    fn new() -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("perigee-test-{}-{number}", std::process::id());
        let mut group = Self {
            directories: Vec::new(),
        };
        for controller in ["cpu", "cpuacct"] {
            let directory = Path::new("/sys/fs/cgroup").join(controller).join(&name);
            if let Err(error) = fs::create_dir(&directory) {
                println!("skipped: cannot make {}: {error}", directory.display());
                return None;
            }
            group.directories.push(directory);
        }
        let cpu = &group.directories[0];
        fs::write(cpu.join("cpu.cfs_period_us"), "100000").unwrap();
        fs::write(cpu.join("cpu.cfs_quota_us"), "20000").unwrap();
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for directory in &self.directories {
            let gone = process::poll_for("an empty control group", SOON, || {
                // Busy until the last process has been reaped.
                Ok(fs::remove_dir(directory).ok())
            });
            if let Err(error) = gone {
                println!("{} is left over: {error:#}", directory.display());
            }
        }
    }
}

/// What `/readyz` says.
fn readiness(gateway: &GatewayProcess) -> (u16, String) {
    let answer = gateway.get("/readyz").unwrap();
    let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    let reason = body["reason"].as_str().unwrap();
    (answer.status, reason.to_owned())
}

fn await_reason(gateway: &GatewayProcess, status: u16, reason: &str) {
    let expected = (status, reason.to_owned());
    process::poll_for(reason, SOON, || {
        Ok((readiness(gateway) == expected).then_some(()))
    })
    .unwrap();
}

/// What a new connection is told before it is ended in order.
fn told(address: SocketAddr) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut hello = http2::PREFACE.to_vec();
    http2::put_settings(&mut hello, &[]);
    stream.write_all(&hello).unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).unwrap();
    heard
}

/// Scenario: a gateway with a quota of a fifth of a core is sent more than that can carry.
/// Guarantees: it says why it is not ready, and turns new connections away in order; the open ones go
/// on, and every acknowledged segment arrives; with the load the limit ends.
#[test]
fn the_limit_of_our_own_cpu_turns_new_connections_away_and_spares_the_open_ones() {
    let Some(group) = Group::new() else {
        return;
    };
    let scenario = Scenario::start(1, |config| {
        config.cpu_utilization = 60;
        config.groups.clone_from(&group.directories);
    })
    .unwrap();
    let gateway = &scenario.gateway;
    let mut client = Client::connect(gateway.address()).unwrap();
    client.call(METHOD, &[segment("before", SIZE)]).unwrap();
    let load = Traffic {
        clients: 8,
        messages: 50,
        rate: 1_000_000,
        size: SIZE,
    };
    let under = load.start(gateway.address());
    await_reason(gateway, 503, "at the limit of CPU");
    assert!(gateway.metric(PERCENT, &[]).unwrap() > 54.0);
    assert_eq!(gateway.metric("perigee_cpu_cores", &[]).unwrap(), 0.2);
    assert_eq!(gateway.metric("perigee_cpu_limit", &[]).unwrap(), 60.0);
    assert_eq!(told(gateway.address()), b"");
    client.call(METHOD, &[segment("during", SIZE)]).unwrap();
    let reason = ["reason=\"cpu_limit\""];
    let name = "perigee_connection_errors_total";
    assert!(gateway.metric(name, &reason).unwrap() >= 1.0);

    let mut sent = under.end().unwrap();
    assert_eq!(sent.failures, Vec::<String>::new());
    await_reason(gateway, 200, "ready");
    let mut late = Client::connect(gateway.address()).unwrap();
    late.call(METHOD, &[segment("after", SIZE)]).unwrap();
    await_delivered(&scenario, SOON);
    let ours = ["before", "during", "after"].map(str::to_owned);
    sent.acknowledged.extend(ours);
    scenario
        .await_ids(METHOD, &sent.acknowledged, SOON)
        .unwrap();
    drop(scenario);
}

/// Neighbours that keep every core busy until dropped.
struct Burning {
    stop: Arc<AtomicBool>,
}

impl Burning {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut sum = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    sum = std::hint::black_box(sum.wrapping_add(1));
                }
            });
        }
        Self { stop }
    }
}

impl Drop for Burning {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Scenario: neighbours burn all cores, beside an idle gateway in a group of its own and one in the
/// machine's.
/// Guarantees: both stay ready and measure next to nothing.
#[test]
fn a_busy_neighbour_does_not_count() {
    let Some(group) = Group::new() else {
        return;
    };
    let limited = |config: &mut GatewayConfig| config.cpu_utilization = 50;
    let own = Scenario::start(1, |config| {
        limited(config);
        config.groups.clone_from(&group.directories);
    })
    .unwrap();
    let machine = Scenario::start(1, limited).unwrap();
    let burning = Burning::start();
    let began = Instant::now();
    // Two windows: the second begins when the start of the gateways is over.
    while began.elapsed() < 2 * WINDOW + Duration::from_secs(2) {
        for gateway in [&own.gateway, &machine.gateway] {
            assert_eq!(readiness(gateway), (200, "ready".to_owned()));
        }
        std::thread::sleep(LOOK_AGAIN * 20);
    }
    for gateway in [&own.gateway, &machine.gateway] {
        let percent = gateway.metric(PERCENT, &[]).unwrap();
        assert!(percent < 25.0, "{percent}");
    }
    assert_eq!(own.gateway.metric("perigee_cpu_cores", &[]).unwrap(), 0.2);
    drop(burning);
    drop(own);
}

/// What is said about files when they are too few.
const NO_ROOM: &str = "open files (ulimit -n) has no room for";

/// Connections that say nothing.
fn silent(gateway: &GatewayProcess, count: usize) -> Vec<TcpStream> {
    let connect = |_| TcpStream::connect(gateway.address()).unwrap();
    (0..count).map(connect).collect()
}

/// Scenario: the soft limit of open files is lower than `connection_count`, the hard one is not.
/// Guarantees: all connections are served.
#[test]
fn the_soft_limit_of_open_files_is_none() {
    const SOFT: u32 = 100;
    let scenario = Scenario::start(1, |config| {
        config.connection_count = 2 * SOFT;
        config.open_files = Some((SOFT, 1000));
        config.workers = Some(2);
    })
    .unwrap();
    let gateway = &scenario.gateway;
    let before = silent(gateway, 3 * SOFT as usize / 2);
    let mut client = Client::connect(gateway.address()).unwrap();
    client.call(METHOD, &[segment("late", SIZE)]).unwrap();
    assert!(!gateway.log().contains(NO_ROOM), "{}", gateway.log());
    drop(before);
}

/// Scenario: the hard limit of open files leaves no room for `connection_count`, and more connect than
/// there is room for.
/// Guarantees: it is said at the start, with both numbers; the others are refused in order, the
/// gateway says why it is not ready, and those that it has are served.
#[test]
fn no_more_connections_are_served_than_there_may_be_open_files() {
    const FILES: u32 = 400;
    let scenario = Scenario::start(1, |config| {
        config.open_files = Some((FILES, FILES));
        config.workers = Some(2);
    })
    .unwrap();
    let gateway = &scenario.gateway;
    let warning = format!("the limit of {FILES} {NO_ROOM} 4000 connections, 128 are served");
    gateway.await_log(&warning, SOON).unwrap();
    let open = "grpc_server_connection_count";
    gateway
        .await_metric(open, &[], SOON, |open| open == 0.0)
        .unwrap();
    let mut client = Client::connect(gateway.address()).unwrap();
    client.call(METHOD, &[segment("first", SIZE)]).unwrap();
    let all = silent(gateway, FILES as usize);
    await_reason(gateway, 503, "at the limit of connections");
    let refused = ("perigee_connection_errors_total", ["reason=\"limit\""]);
    gateway
        .await_metric(refused.0, &refused.1, SOON, |refused| {
            refused == f64::from(FILES - 127)
        })
        .unwrap();
    assert_eq!(gateway.metric(open, &[]).unwrap(), 128.0);
    client.call(METHOD, &[segment("second", SIZE)]).unwrap();
    assert!(
        !gateway.log().contains("cannot accept"),
        "{}",
        gateway.log()
    );
    drop(all);
    await_reason(gateway, 200, "ready");
}
