//! What sessions ask of the thread that captures, and the session as its owner sees it.

use std::sync::Arc;

use crossbeam_channel::{Sender, bounded};

use super::{Refused, Request, Session, Targets};
use crate::profile::Profile;

/// Commands that wait for the thread at the most; who asks more waits too.
pub(super) const WAITING: usize = 64;

/// What a session asks for.
pub(super) enum Command {
    Start {
        request: Request,
        answer: Sender<Result<u64, Refused>>,
    },
    Retarget {
        session: u64,
        targets: Targets,
        answer: Sender<Result<(), Refused>>,
    },
    Take {
        session: u64,
        answer: Sender<Option<Profile>>,
    },
    Stop {
        session: u64,
    },
}

/// The thread's side.
pub(super) trait Serve {
    /// Those of the targets that may be captured; what follows is given no others.
    fn narrow(&self, targets: &Targets) -> Result<Targets, Refused>;
    fn start(&mut self, request: Request) -> Result<u64, Refused>;
    fn retarget(&mut self, session: u64, targets: Targets) -> Result<(), Refused>;
    fn take(&mut self, session: u64) -> Option<Profile>;
    fn stop(&mut self, session: u64);

    /// Does what was asked for and answers.
    fn obey(&mut self, command: Command) {
        // Who asked may have gone meanwhile.
        match command {
            Command::Start { request, answer } => {
                let targets = self.narrow(&request.targets);
                let started =
                    targets.and_then(|targets| self.start(Request { targets, ..request }));
                let _ = answer.send(started);
            }
            Command::Retarget {
                session,
                targets,
                answer,
            } => {
                let targets = self.narrow(&targets);
                let _ = answer.send(targets.and_then(|targets| self.retarget(session, targets)));
            }
            Command::Take { session, answer } => {
                let _ = answer.send(self.take(session));
            }
            Command::Stop { session } => self.stop(session),
        }
    }
}

/// The way to the thread.
pub(super) trait Line: Send + Sync {
    /// Sends a command; nothing if the thread has ended.
    fn send(&self, command: Command) -> Option<()>;
}

impl Line for Sender<Command> {
    fn send(&self, command: Command) -> Option<()> {
        Sender::send(self, command).ok()
    }
}

/// Why the thread does not answer.
pub(super) fn gone(what: &str) -> Refused {
    Refused {
        what: what.into(),
        because: "the capture thread has ended".into(),
        missing: None,
    }
}

fn ask<T>(line: &dyn Line, command: impl FnOnce(Sender<T>) -> Command) -> Option<T> {
    let (sender, answer) = bounded(1);
    line.send(command(sender))?;
    answer.recv().ok()
}

/// Has the thread start a session.
pub(super) fn start(line: Arc<dyn Line>, request: &Request) -> Result<Box<dyn Session>, Refused> {
    let request = request.clone();
    let number = ask(&*line, |answer| Command::Start { request, answer });
    let number = number.unwrap_or_else(|| Err(gone("a capture")))?;
    Ok(Box::new(Remote { number, line }))
}

/// A session on the thread.
struct Remote {
    number: u64,
    line: Arc<dyn Line>,
}

impl Session for Remote {
    fn take(&mut self) -> Profile {
        let session = self.number;
        let taken = ask(&*self.line, |answer| Command::Take { session, answer });
        taken.flatten().unwrap_or_else(Profile::empty)
    }

    fn retarget(&mut self, targets: &Targets) -> Result<(), Refused> {
        let (session, targets) = (self.number, targets.clone());
        let answer = ask(&*self.line, |answer| Command::Retarget {
            session,
            targets,
            answer,
        });
        answer.unwrap_or_else(|| Err(gone("another target")))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // Without the thread there is nothing to stop.
        let _ = self.line.send(Command::Stop {
            session: self.number,
        });
    }
}
