//! `perigee sink` as a process: an OAP stand-in that remembers what it got.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use super::record::Record;
use super::{READY_WITHIN, Response, http};
use crate::process::{Running, Signal};

/// A sink. It keeps its addresses and its record over [`restart`](Self::restart).
#[derive(Debug)]
pub struct SinkProcess {
    /// Where gRPC is served.
    pub address: SocketAddr,
    /// Where the control API is served.
    pub control: SocketAddr,
    binary: PathBuf,
    running: Option<Running>,
    record: RefCell<Record>,
    directory: TempDir,
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
        let directory = tempfile::tempdir()?;
        let record = Record::new(directory.path().join("record"));
        let mut sink = Self {
            address,
            control,
            binary: binary.to_owned(),
            running: None,
            record: RefCell::new(record),
            directory,
        };
        sink.run()?;
        Ok(sink)
    }

    fn run(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command
            .args(["sink", "--listen", &self.address.to_string()])
            .args(["--control", &self.control.to_string(), "--record"])
            .arg(self.directory.path().join("record"));
        let running = Running::start("perigee sink", &mut command)?;
        let address = |prefix| running.line_after(prefix, READY_WITHIN);
        self.address = address("listening on ")?.trim().parse()?;
        self.control = address("control on ")?.trim().parse()?;
        self.running = Some(running);
        Ok(())
    }

    /// Whether it has been started and not killed.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }

    /// What it has accepted since the first start, also while it is killed or stalled.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn record(&self) -> Result<std::cell::RefMut<'_, Record>> {
        let mut record = self.record.borrow_mut();
        record.read_on()?;
        Ok(record)
    }

    /// How many messages it has accepted by `method` since the first start.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn count(&self, method: &str) -> Result<usize> {
        let record = self.record()?;
        let all = record.all().iter();
        Ok(all.filter(|one| one.method == method).count())
    }

    /// Answers every call with this status, e.g. `UNAVAILABLE`.
    ///
    /// # Errors
    /// It does not know the status, or does not answer.
    pub fn refuse(&self, code: &str) -> Result<()> {
        self.fault(&json!({ "refuse": code }))
    }

    /// Takes calls, reads nothing and answers nothing, as an OAP whose threads all wait.
    ///
    /// # Errors
    /// It does not answer this.
    pub fn hold_answers(&self) -> Result<()> {
        self.fault(&json!({ "stall": true }))
    }

    /// Ends all misbehaviour.
    ///
    /// # Errors
    /// It does not answer.
    pub fn behave(&self) -> Result<()> {
        self.fault(&json!({}))
    }

    fn fault(&self, fault: &serde_json::Value) -> Result<()> {
        let answer = self.post("/fault", fault)?;
        ensure!(answer.status == 200, "{fault}: {answer:?}");
        Ok(())
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

    /// Ends it at once (SIGKILL). Its record stays.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Kills it if it runs, and starts another one on the same addresses, which goes on with the
    /// record.
    ///
    /// # Errors
    /// The addresses were taken meanwhile.
    pub fn restart(&mut self) -> Result<()> {
        self.kill();
        self.run()
    }

    fn running(&self) -> Result<&Running> {
        self.running
            .as_ref()
            .with_context(|| format!("sink {} is not running", self.address))
    }
}
