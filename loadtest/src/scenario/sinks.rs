//! `perigee sink` as a process: an OAP stand-in that remembers what it got.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{READY_WITHIN, Response, http};
use crate::process::{Running, Signal};

/// One message that a sink has got.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrived {
    /// What identifies it: the `traceSegmentId` of a segment.
    pub id: String,
    /// Service it belongs to.
    pub service: String,
    /// Instance it belongs to.
    pub instance: String,
}

/// A running sink. It keeps its addresses over [`restart`](Self::restart).
#[derive(Debug)]
pub struct SinkProcess {
    /// Where gRPC is served.
    pub address: SocketAddr,
    /// Where the control API is served.
    pub control: SocketAddr,
    binary: PathBuf,
    running: Option<Running>,
}

impl SinkProcess {
    /// Starts a sink on addresses of the system's choice.
    ///
    /// # Errors
    /// It does not say where it listens.
    pub fn start(binary: &Path) -> Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(binary, any, any)
    }

    /// Starts a sink on these addresses.
    ///
    /// # Errors
    /// It does not say where it listens.
    pub fn start_at(binary: &Path, address: SocketAddr, control: SocketAddr) -> Result<Self> {
        let mut command = Command::new(binary);
        command.arg("sink").arg("--listen").arg(address.to_string());
        command.arg("--control").arg(control.to_string());
        let running = Running::start("perigee sink", &mut command)?;
        Ok(Self {
            address: running
                .line_after("listening on ", READY_WITHIN)?
                .trim()
                .parse()?,
            control: running
                .line_after("control on ", READY_WITHIN)?
                .trim()
                .parse()?,
            binary: binary.to_owned(),
            running: Some(running),
        })
    }

    /// Whether it has been started and not killed.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// Messages that arrived by `method`, in order.
    ///
    /// # Errors
    /// The control API does not answer as expected.
    pub fn ids(&self, method: &str) -> Result<Vec<Arrived>> {
        let list = self.get(&format!("/ids?method={method}"))?.json()?;
        let list = list
            .as_array()
            .with_context(|| format!("ids are not a list: {list}"))?;
        let text = |one: &serde_json::Value, key: &str| {
            one[key]
                .as_str()
                .map(str::to_owned)
                .with_context(|| format!("no {key} in {one}"))
        };
        let arrived = list.iter().map(|one| {
            Ok(Arrived {
                id: text(one, "id")?,
                service: text(one, "service")?,
                instance: text(one, "instance")?,
            })
        });
        arrived.collect()
    }

    /// `GET /state`.
    ///
    /// # Errors
    /// The control API does not answer as expected.
    pub fn state(&self) -> Result<serde_json::Value> {
        self.get("/state")?.json()
    }

    /// `GET` of the control API.
    ///
    /// # Errors
    /// No answer.
    pub fn get(&self, path: &str) -> Result<Response> {
        http::get(self.control, path)
    }

    /// `POST` to the control API.
    ///
    /// # Errors
    /// No answer.
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Result<Response> {
        http::post(self.control, path, body)
    }

    /// Stops it from reading, writing and answering, as a machine that hangs.
    ///
    /// # Errors
    /// It is not running.
    pub fn stall(&self) -> Result<()> {
        self.running()?.signal(Signal::STOP)
    }

    /// Ends a [`stall`](Self::stall).
    ///
    /// # Errors
    /// It is not running.
    pub fn resume(&self) -> Result<()> {
        self.running()?.signal(Signal::CONT)
    }

    /// Ends it at once; what it remembers is lost.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Kills it if it runs, and starts an empty one on the same addresses.
    ///
    /// # Errors
    /// The addresses were taken meanwhile.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        *self = Self::start_at(&self.binary, self.address, self.control)?;
        Ok(())
    }

    fn running(&self) -> Result<&Running> {
        self.running
            .as_ref()
            .with_context(|| format!("sink {} is not running", self.address))
    }
}
