//! Capturing by programs in the kernel.

use std::fs;
use std::os::fd::OwnedFd;
use std::process;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};
use tracing::warn;

use super::worker::{Command, Worker};
use super::{Capture, ProcessEvent, Refused, Request, Session, Settings, Targets};
use crate::bpf::programs::{Programs, Walker};
use crate::profile::Profile;

/// Commands that wait for the thread at the most; who asks more waits too.
const WAITING: usize = 64;
/// Starts and ends of processes that wait for a watcher at the most.
const EVENTS: usize = 1024;

/// A thread with programs in the kernel. The programs go with the last handle.
#[derive(Clone)]
pub struct Kernel {
    line: Arc<Line>,
}

/// The way to the thread.
struct Line {
    commands: Sender<Command>,
    wake: OwnedFd,
    /// While it is open, the kernel measures how long programs run.
    _measuring: Option<OwnedFd>,
}

impl Line {
    fn send(&self, command: Command) -> Option<()> {
        self.commands.send(command).ok()?;
        // It fails where the counter is full: then the thread will wake up anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
        Some(())
    }

    fn ask<T>(&self, command: impl FnOnce(Sender<T>) -> Command) -> Option<T> {
        let (sender, answer) = bounded(1);
        self.send(command(sender))?;
        answer.recv().ok()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.send(Command::End);
    }
}

/// What the host calls us: not what our own namespace does.
fn own_pid(settings: &Settings) -> u32 {
    let own = fs::read_link(settings.proc.join("self")).ok();
    let own = own.and_then(|it| it.to_str()?.parse().ok());
    own.unwrap_or_else(process::id)
}

fn gone(what: &str) -> Refused {
    Refused {
        what: what.into(),
        because: "the capture thread has ended".into(),
        missing: None,
    }
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
            line: Arc::new(Line {
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
        let _ = self.line.send(Command::Watch { events });
        received
    }

    /// Tries whether waits can be counted.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub fn try_off_cpu(&self) -> Result<(), Refused> {
        let tried = self.line.ask(|answer| Command::TryOffCpu { answer });
        tried.unwrap_or_else(|| Err(gone("off-CPU profiling")))
    }
}

impl Capture for Kernel {
    fn start(&self, request: &Request) -> Result<Box<dyn Session>, Refused> {
        let request = request.clone();
        let number = self
            .line
            .ask(|answer| Command::Start { request, answer })
            .unwrap_or_else(|| Err(gone("a capture")))?;
        Ok(Box::new(KernelSession {
            number,
            line: Arc::clone(&self.line),
        }))
    }
}

struct KernelSession {
    number: u64,
    line: Arc<Line>,
}

impl Session for KernelSession {
    fn take(&mut self) -> Profile {
        let session = self.number;
        let taken = self
            .line
            .ask(|answer| Command::Take { session, answer })
            .flatten();
        taken.unwrap_or_else(Profile::empty)
    }

    fn retarget(&mut self, targets: &Targets) -> Result<(), Refused> {
        let (session, targets) = (self.number, targets.clone());
        self.line
            .ask(|answer| Command::Retarget {
                session,
                targets,
                answer,
            })
            .unwrap_or_else(|| Err(gone("another target")))
    }
}

impl Drop for KernelSession {
    fn drop(&mut self) {
        // Without the thread there is nothing to stop.
        let _ = self.line.send(Command::Stop {
            session: self.number,
        });
    }
}
