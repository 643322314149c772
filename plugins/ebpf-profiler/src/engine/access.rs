//! Which processes may be looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use regex::Regex;

use super::{Refused, Targets};

/// Lists of regular expressions on command lines: what `deny` matches is never looked at, and where `allow`
/// has entries, only what one of them matches is.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Only these, where there are any.
    pub allow: Vec<Regex>,
    /// Never these.
    pub deny: Vec<Regex>,
}

impl Access {
    /// Whether every process may be looked at.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Says no to a process that may not be looked at.
    ///
    /// # Errors
    /// The lists forbid it, or it is gone.
    pub fn check(&self, proc: &Path, pid: u32) -> Result<(), Refused> {
        if self.is_open() {
            return Ok(());
        }
        let refuse = |because| {
            Err(Refused {
                what: format!("a profile of process {pid}"),
                because,
                missing: None,
            })
        };
        match fs::read(proc.join(pid.to_string()).join("cmdline")) {
            Ok(line) => self.judge(&command_line(&line)).or_else(refuse),
            Err(error) => refuse(format!("its command line cannot be read: {error}")),
        }
    }

    /// Those targets that may be looked at and are there: one that ended must not end the capture of others.
    ///
    /// # Errors
    /// None of them may.
    pub(super) fn narrow(&self, proc: &Path, targets: &Targets) -> Result<Targets, Refused> {
        let Targets::Processes(pids) = targets else {
            return Ok(Targets::All);
        };
        let (mut allowed, mut refused) = (BTreeSet::new(), None);
        for &pid in pids {
            match self.check(proc, pid) {
                Ok(()) => {
                    allowed.insert(pid);
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) if allowed.is_empty() => Err(error),
            _ => Ok(Targets::Processes(allowed)),
        }
    }

    fn judge(&self, command: &str) -> Result<(), String> {
        if let Some(deny) = self.deny.iter().find(|it| it.is_match(command)) {
            return Err(format!("its command line matches `{deny}` in deny"));
        }
        if !self.allow.is_empty() && !self.allow.iter().any(|it| it.is_match(command)) {
            return Err("its command line matches nothing in allow".into());
        }
        Ok(())
    }
}

/// As one would type it.
fn command_line(raw: &[u8]) -> String {
    let words = raw.split(|it| *it == 0).filter(|it| !it.is_empty());
    words
        .map(String::from_utf8_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let compile = |list: &[&str]| list.iter().map(|it| Regex::new(it).unwrap()).collect();
        Access {
            allow: compile(allow),
            deny: compile(deny),
        }
    }

    #[test]
    fn deny_wins_over_allow() {
        let access = access(&["java"], &["vault"]);
        assert_eq!(access.judge("/usr/bin/java -jar shop.jar"), Ok(()));
        assert!(
            access
                .judge("/usr/bin/java -jar vault.jar")
                .unwrap_err()
                .contains("`vault` in deny")
        );
        assert!(
            access
                .judge("/usr/bin/node shop.js")
                .unwrap_err()
                .contains("nothing in allow")
        );
    }

    #[test]
    fn one_that_is_denied_or_gone_does_not_refuse_the_others() {
        let me = std::process::id();
        let access = access(&[], &["nobody is called so"]);
        let proc = Path::new("/proc");
        let narrow =
            |pids: &[u32]| access.narrow(proc, &Targets::Processes(pids.iter().copied().collect()));
        assert_eq!(
            narrow(&[me, u32::MAX]),
            Ok(Targets::Processes(BTreeSet::from([me])))
        );
        assert!(narrow(&[u32::MAX]).is_err());
        assert_eq!(narrow(&[]), Ok(Targets::Processes(BTreeSet::new())));
        assert_eq!(access.narrow(proc, &Targets::All), Ok(Targets::All));
    }

    #[test]
    fn a_process_of_this_node_is_judged_by_its_own_command_line() {
        let me = std::process::id();
        let name = fs::read(format!("/proc/{me}/cmdline"))
            .map(|it| command_line(&it))
            .unwrap();
        let denied = access(&[], &[&regex::escape(&name)])
            .check(Path::new("/proc"), me)
            .unwrap_err();
        assert!(
            denied
                .to_string()
                .starts_with(&format!("a profile of process {me} is not possible: "))
        );
        assert_eq!(
            access(&[&regex::escape(&name)], &[]).check(Path::new("/proc"), me),
            Ok(())
        );
    }
}
