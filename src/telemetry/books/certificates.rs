//! The books of certificates that have changed.

use super::count::Count;

/// Whose certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsSide {
    /// What agents see, and by what their certificates are verified.
    Server,
    /// What the OAP sees, and by what its certificate is verified.
    Client,
}

impl TlsSide {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Server, Self::Client];

    /// Value of the label `side`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// What became of changed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// New connections use them.
    Taken,
    /// They cannot be used; the old ones stay in use.
    Refused,
}

impl Reload {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Taken, Self::Refused];

    /// Value of the label `result`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
        }
    }
}

/// How often certificate files have changed.
#[derive(Debug, Default)]
pub struct CertificateBooks([[Count; Reload::ALL.len()]; TlsSide::ALL.len()]);

impl CertificateBooks {
    /// The files of one side have changed.
    pub fn reloaded(&self, side: TlsSide, result: Reload) {
        self.0[side as usize][result as usize].add(1);
    }

    /// How often they have changed so.
    pub fn reloads(&self, side: TlsSide, result: Reload) -> u64 {
        self.0[side as usize][result as usize].value()
    }
}
