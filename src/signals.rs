//! The signals that our long-running processes listen to.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// One that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM.
    Terminate,
    /// SIGINT.
    Interrupt,
    /// SIGHUP.
    Hangup,
    /// SIGUSR1.
    User,
}

impl Signal {
    /// As kill(1) calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
            Self::Hangup => "SIGHUP",
            Self::User => "SIGUSR1",
        }
    }

    /// As a shell reports a process that the signal has killed.
    pub(crate) const fn exit_code(self) -> u8 {
        128 + match self {
            Self::Hangup => 1,
            Self::Interrupt => 2,
            Self::User => 10,
            Self::Terminate => 15,
        }
    }
}

/// Hears signals; once made, none of them kills the process.
pub(crate) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    user: unix::Signal,
}

impl Signals {
    /// Needs a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            user: unix::signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next.
    ///
    /// cancel-safe: a signal is taken only when it is returned.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::Terminate,
            _ = self.interrupt.recv() => Signal::Interrupt,
            _ = self.hangup.recv() => Signal::Hangup,
            _ = self.user.recv() => Signal::User,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal as Number;

    use super::*;

    #[test]
    fn an_exit_code_is_the_signals_number_above_128() {
        for (signal, number) in [
            (Signal::Terminate, Number::TERM),
            (Signal::Interrupt, Number::INT),
            (Signal::Hangup, Number::HUP),
            (Signal::User, Number::USR1),
        ] {
            let code = i32::from(signal.exit_code());
            assert_eq!(code, 128 + number.as_raw(), "{}", signal.name());
        }
    }
}
