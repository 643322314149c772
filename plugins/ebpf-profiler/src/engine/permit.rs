//! Who of those that are asked for may be captured.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Refused, Targets};
use crate::access::Access;
use crate::process::command;
use crate::process::proc::Proc;

/// Says no to a process that may not be looked at.
///
/// # Errors
/// The lists forbid it, or it is gone.
pub(super) fn check(access: &Access, proc: &Path, pid: u32) -> Result<(), Refused> {
    if access.is_open() {
        return Ok(());
    }
    let because = match command::read(&Proc::at(proc), pid) {
        Ok(command) => match access.judge(&command) {
            Ok(()) => return Ok(()),
            Err(reason) => reason.to_string(),
        },
        Err(error) => format!("its command line cannot be read: {error}"),
    };
    Err(Refused {
        what: format!("a profile of process {pid}"),
        because,
        missing: None,
    })
}

/// Those targets that may be looked at and are there: one that ended must not end the capture of others.
///
/// # Errors
/// None of them may.
pub(super) fn narrow(access: &Access, proc: &Path, targets: &Targets) -> Result<Targets, Refused> {
    let Targets::Processes(pids) = targets else {
        return Ok(Targets::All);
    };
    let (mut allowed, mut refused) = (BTreeSet::new(), None);
    for &pid in pids {
        match check(access, proc, pid) {
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::access::AccessSettings;
    use crate::discovery::{self, Discovery};

    fn lists(allow: &[&str], deny: &[&str]) -> AccessSettings {
        let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        let (allow, deny) = (owned(allow), owned(deny));
        AccessSettings { allow, deny }
    }

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        Access::new(&lists(allow, deny)).unwrap()
    }

    #[test]
    fn one_that_is_denied_or_gone_does_not_refuse_the_others() {
        let me = std::process::id();
        let access = access(&[], &["nobody is called so"]);
        let proc = Path::new("/proc");
        let narrow = |pids: &[u32]| {
            let targets = Targets::Processes(pids.iter().copied().collect());
            narrow(&access, proc, &targets)
        };
        assert_eq!(
            narrow(&[me, u32::MAX]),
            Ok(Targets::Processes(BTreeSet::from([me])))
        );
        assert!(narrow(&[u32::MAX]).is_err());
        assert_eq!(narrow(&[]), Ok(Targets::Processes(BTreeSet::new())));
        assert_eq!(
            super::narrow(&access, proc, &Targets::All),
            Ok(Targets::All)
        );
    }

    #[test]
    fn a_process_of_this_node_is_judged_by_its_own_command_line() {
        let (me, proc) = (std::process::id(), Path::new("/proc"));
        let arguments: Vec<String> = std::env::args().collect();
        let own = format!("^{}$", regex::escape(&arguments.join(" ")));
        let denied = check(&access(&[], &[&own]), proc, me).unwrap_err();
        assert!(
            denied
                .to_string()
                .starts_with(&format!("a profile of process {me} is not possible: "))
        );
        assert_eq!(check(&access(&[&own], &[]), proc, me), Ok(()));
    }

    const KERNEL_THREAD: u32 = 0x20_0000;

    /// A `/proc` of files with one process, whose name is `name`.
    fn pretended(pid: u32, flags: u32, cmdline: &[u8]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join(pid.to_string());
        fs::create_dir(&directory).unwrap();
        let stat = format!(
            "{pid} (name) S 1 1 1 0 -1 {flags} 0 0 0 0 0 0 0 0 20 0 1 0 9 1 1 1 4096 8192 1"
        );
        fs::write(directory.join("stat"), stat).unwrap();
        fs::write(directory.join("status"), "Uid:\t0\t0\t0\t0\n").unwrap();
        fs::write(directory.join("cgroup"), "0::/\n").unwrap();
        fs::write(directory.join("cmdline"), cmdline).unwrap();
        root
    }

    /// Whoever is not reported must not be captured, and the other way round.
    #[test]
    fn a_process_has_the_same_command_line_here_and_where_it_is_found() {
        for (flags, cmdline, line) in [
            (KERNEL_THREAD, &b""[..], "name"),
            (0, b"", "name"),
            (0, b"\0\0", "name"),
            (0, b"postgres: writer\0\0\0\0", "postgres: writer"),
            (
                0,
                b"shop\0\xff\xfe\0x\xc3\0",
                "shop \u{fffd}\u{fffd} x\u{fffd}",
            ),
            (0, b"sh\0\0x\0a  b\0\0", "sh x a  b"),
            (0, b"unended", "unended"),
        ] {
            let root = pretended(7, flags, cmdline);
            let facts = discovery::Proc::new(root.path()).facts(7).unwrap();
            assert_eq!(facts.command(), line, "{cmdline:?}");
            let exact = format!("^{}$", regex::escape(line));
            for (access, may) in [
                (lists(&[&exact], &[]), true),
                (lists(&[], &[&exact]), false),
            ] {
                let judged = check(&Access::new(&access).unwrap(), root.path(), 7);
                assert_eq!(judged.is_ok(), may, "{cmdline:?} {access:?}: {judged:?}");
                let found = Discovery::new(&discovery::Settings {
                    proc_root: root.path().to_owned(),
                    access,
                    ..discovery::Settings::default()
                });
                // Those of the kernel are never reported.
                let may = may && flags != KERNEL_THREAD;
                assert_eq!(found.unwrap().permits(7), may, "{cmdline:?}");
            }
        }
    }
}
