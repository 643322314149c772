//! What a process was called with, as it says itself: it may write anything over it.

use std::fs::File;
use std::io::{self, Read as _};

use super::proc::Proc;

/// Bytes of it that are read: Java's main class stands behind its class path, and the kernel takes
/// arguments of 128 KiB.
pub const LONGEST: u64 = 256 << 10;

/// The arguments in `/proc/PID/cmdline`, empty ones too. Not UTF-8 is what is not, replaced.
pub fn arguments(raw: &[u8]) -> Vec<String> {
    let raw = raw.strip_suffix(&[0]).unwrap_or(raw);
    if raw.is_empty() {
        return Vec::new();
    }
    raw.split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

/// The command line as one would type it, which an operator's expressions are matched with: arguments with
/// spaces between. Empty ones are left out: who rewrites a command line leaves many behind. Where there are
/// no others, as with the kernel's threads, the process's name.
pub fn line(arguments: &[String], comm: &str) -> String {
    typed(arguments).unwrap_or_else(|| comm.to_owned())
}

/// The [`line()`] of a process.
///
/// # Errors
/// The process is gone, or `/proc` is not readable.
pub fn read(proc: &Proc, pid: u32) -> io::Result<String> {
    let mut raw = Vec::with_capacity(1024);
    File::open(proc.path(pid, "cmdline"))?
        .take(LONGEST)
        .read_to_end(&mut raw)?;
    match typed(&arguments(&raw)) {
        Some(line) => Ok(line),
        None => Ok(proc.identity(pid)?.name),
    }
}

fn typed(arguments: &[String]) -> Option<String> {
    let words = arguments.iter().map(String::as_str);
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_one_would_type_it() {
        for (raw, expected) in [
            (&b"sh\0-c\0true\0"[..], "sh -c true"),
            (b"sh\0a b\0", "sh a b"),
            (b"sh\0\0x\0\0", "sh x"),
            (b"\0\0sh", "sh"),
            (b"postgres: writer\0\0\0\0", "postgres: writer"),
            (b"\xff\0b\xc3", "\u{fffd} b\u{fffd}"),
            (b"\0\0", "comm"),
            (b"", "comm"),
        ] {
            assert_eq!(line(&arguments(raw), "comm"), expected, "{raw:?}");
        }
    }

    #[test]
    fn an_argument_of_the_longest_kind_does_not_hide_what_follows() {
        let root = tempfile::tempdir().unwrap();
        let proc = Proc::at(root.path());
        std::fs::create_dir(root.path().join("7")).unwrap();
        let raw = format!("java\0-cp\0{}\0Shop\0", "x".repeat(128 << 10));
        std::fs::write(proc.path(7, "cmdline"), raw).unwrap();
        assert!(read(&proc, 7).unwrap().ends_with("x Shop"));
    }
}
