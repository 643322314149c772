//! Capturing by programs in the kernel.

use std::fs;
use std::os::fd::OwnedFd;
use std::process;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};
use tracing::warn;

use super::commands::{self, Command, Line, WAITING, gone};
use super::worker::{Order, Worker};
use super::{Capture, ProcessEvent, Refused, Request, Session, Settings};
use crate::bpf::programs::{Programs, Walker};

/// Starts and ends of processes that wait for a watcher at the most.
const EVENTS: usize = 1024;

/// A thread with programs in the kernel. The programs go with the last handle.
#[derive(Clone)]
pub struct Kernel {
    line: Arc<Wire>,
}

/// The way to the thread, which waits for the kernel's events as well.
struct Wire {
    commands: Sender<Order>,
    wake: OwnedFd,
    /// While it is open, the kernel measures how long programs run.
    _measuring: Option<OwnedFd>,
}

impl Wire {
    fn order(&self, order: Order) -> Option<()> {
        self.commands.send(order).ok()?;
        // It fails where the counter is full: then the thread will wake up anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        Some(())
    }
}

impl Line for Wire {
    fn send(&self, command: Command) -> Option<()> {
        self.order(Order::Session(command))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.order(Order::End);
    }
}

/// What the host calls us: not what our own namespace does.
fn own_pid(settings: &Settings) -> u32 {
    let own = fs::read_link(settings.proc.join("self")).ok();
    let own = own.and_then(|it| it.to_str()?.parse().ok());
    own.unwrap_or_else(process::id)
}

impl Kernel {
    /// Creates the maps and starts the thread. Nothing is attached before the first session but what tells
    /// starts and ends of processes.
    ///
    /// # Errors
    /// The kernel refuses the maps, or there is no thread to be had.
    pub fn open(settings: Settings, walker: Walker) -> Result<Self, Refused> {
        let refused = |because: String, missing| Refused {
            what: "capturing by BPF".into(),
            because,
            missing,
        };
        let programs = Programs::open(walker, own_pid(&settings)).and_then(|mut programs| {
            programs.load_sampler()?;
            Ok(programs)
        });
        let mut programs = programs.map_err(|e| refused(e.to_string(), e.missing()))?;
        if let Err(error) = programs.start_process_events() {
            warn!(%error, "capture: starts and ends of processes are not told; looking now and then");
        }
        programs.forget_types();
        let measuring = if settings.measure {
            Programs::measure().ok()
        } else {
            None
        };
        let settings = Settings {
            measure: measuring.is_some(),
            ..settings
        };
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| refused(e.to_string(), None))?;
        let theirs = wake.try_clone().map_err(|e| refused(e.to_string(), None))?;
        let (commands, received) = bounded(WAITING);
        let worker = Worker::new(programs, settings);
        let run = move || worker.run(&received, &theirs);
        thread::Builder::new()
            .name("capture".into())
            .spawn(run)
            .map_err(|e| refused(e.to_string(), None))?;
        Ok(Self {
            line: Arc::new(Wire {
                commands,
                wake,
                _measuring: measuring,
            }),
        })
    }

    /// Starts and ends of processes from now on.
    #[must_use]
    pub fn watch(&self) -> Receiver<ProcessEvent> {
        let (events, received) = bounded(EVENTS);
        // Without the thread the channel is closed, which says the same.
        let _ = self.line.order(Order::Watch { events });
        received
    }

    /// Tries whether waits can be counted.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub fn try_off_cpu(&self) -> Result<(), Refused> {
        let (answer, tried) = bounded(1);
        let sent = self.line.order(Order::TryOffCpu { answer });
        let tried = sent.and_then(|()| tried.recv().ok());
        tried.unwrap_or_else(|| Err(gone("off-CPU profiling")))
    }
}

impl Capture for Kernel {
    fn start(&self, request: &Request) -> Result<Box<dyn Session>, Refused> {
        let line = Arc::clone(&self.line);
        commands::start(line, request)
    }
}
