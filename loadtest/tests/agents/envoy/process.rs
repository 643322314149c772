//! An Envoy as a process, and traffic through it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use perigee_loadtest::process::{self, Running};
use perigee_loadtest::scenario::READY_WITHIN;
use tempfile::TempDir;

const BOOTSTRAP: &str = include_str!("../../../agents/envoy/bootstrap.yaml");
const WORKERS: &str = "2";
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// An Envoy of [`BOOTSTRAP`].
#[derive(Debug)]
pub(super) struct Envoy {
    pub(super) node: String,
    pub(super) cluster: String,
    /// Its listeners of these names.
    pub(super) front: SocketAddr,
    pub(super) otel: SocketAddr,
    pub(super) tunnel: SocketAddr,
    _running: Running,
    _directory: TempDir,
}

impl Envoy {
    /// Starts one and waits until it takes traffic.
    pub(super) fn start(
        program: &Path,
        collector: SocketAddr,
        (node, cluster): (&str, &str),
    ) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (file, admin) = (
            directory.path().join("envoy.yaml"),
            directory.path().join("admin"),
        );
        let bootstrap = BOOTSTRAP
            .replace("@NODE@", node)
            .replace("@CLUSTER@", cluster)
            .replace("@DIRECTORY@", &directory.path().to_string_lossy())
            .replace("@PORT@", &collector.port().to_string());
        std::fs::write(&file, bootstrap)?;
        let mut command = Command::new(program);
        command
            .args(["--concurrency", WORKERS, "--disable-hot-restart"])
            .args(["--log-level", "warning", "-c"])
            .arg(&file)
            .arg("--admin-address-path")
            .arg(&admin);
        let mut running = Running::start(node, &mut command)?;
        let listeners = process::poll_for("a live Envoy", READY_WITHIN, || {
            if let Some(status) = running.ended()? {
                anyhow::bail!("{node} has ended with {status}");
            }
            Ok(listeners(&admin))
        });
        let listeners = listeners.with_context(|| running.errors())?;
        let address = |name: &str| {
            let prefix = format!("{name}::");
            let mut lines = listeners.lines();
            let address = lines.find_map(|line| line.strip_prefix(&prefix));
            Ok::<_, anyhow::Error>(address.with_context(|| listeners.clone())?.parse()?)
        };
        Ok(Self {
            node: node.to_owned(),
            cluster: cluster.to_owned(),
            front: address("front")?,
            otel: address("otel")?,
            tunnel: address("tunnel")?,
            _running: running,
            _directory: directory,
        })
    }
}

/// Its listeners, a line each, once it is live. Each of the steps before that fails for a while.
fn listeners(admin: &Path) -> Option<String> {
    let address: SocketAddr = std::fs::read_to_string(admin).ok()?.trim().parse().ok()?;
    get(TcpStream::connect(address).ok()?, "/ready").ok()?;
    get(TcpStream::connect(address).ok()?, "/listeners").ok()
}

/// `GET path`; returns the trace headers that came out at the other side: SkyWalking's and W3C's.
pub(super) fn trace_headers(listener: SocketAddr, path: &str) -> Result<(String, String)> {
    let body = get(TcpStream::connect(listener)?, path)?;
    let (skywalking, w3c) = body.split_once(' ').with_context(|| body.clone())?;
    Ok((skywalking.to_owned(), w3c.to_owned()))
}

/// The body of a good answer, as it came: of a chunked one the chunks' lengths are lines, too. Not
/// HTTP/1.0, which Envoy's admin address refuses.
fn get(mut stream: TcpStream, path: &str) -> Result<String> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: envoy\r\nconnection: close\r\n\r\n");
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer:?}");
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    Ok(body.to_owned())
}

/// Open connections: no two of them have the same port of ours.
#[derive(Debug)]
pub(super) struct Tunnels(Vec<TcpStream>);

impl Tunnels {
    pub(super) fn open(count: usize, listener: SocketAddr) -> Result<Self> {
        let connections = (0..count).map(|_| Ok(TcpStream::connect(listener)?));
        Ok(Self(connections.collect::<Result<_>>()?))
    }

    /// Sends something to and fro on each, ends them, and returns our ports.
    pub(super) fn use_and_close(self) -> Result<Vec<u16>> {
        let ports = self.0.iter().map(|stream| Ok(stream.local_addr()?.port()));
        let ports = ports.collect::<Result<_>>()?;
        for stream in self.0 {
            get(stream, "/")?;
        }
        Ok(ports)
    }
}
