//! Programs for tests: compiled, started, asked for addresses, ended.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A program that runs until it is dropped, and does what its standard input says.
pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the next line it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_string()
    }

    /// The hexadecimal number in the next line it prints.
    pub(crate) fn address(&mut self) -> u64 {
        let line = self.line();
        let number = line.strip_prefix("0x").unwrap_or(&line);
        u64::from_str_radix(number, 16).unwrap_or_else(|_| panic!("no address: {line:?}"))
    }

    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
    }

    /// Ends it and waits until nothing of it is left in `/proc`.
    pub(crate) fn end(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Prints the address of `hidden`, in which nothing else is named so, and waits.
pub(crate) const C: &str = "
    #include <stdio.h>
    #include <unistd.h>
    __attribute__((noinline)) static int hidden(int x) { return x * 7 + getpid(); }
    int main(void) {
        char c;
        printf(\"%p\\n\", (void *)&hidden);
        fflush(stdout);
        while (read(0, &c, 1) > 0) hidden(c);
        return 0;
    }
";

/// Compiles a program; the language by the name's ending.
pub(crate) fn compiled(dir: &Path, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
    let (compiler, file) = match name.ends_with(".cpp") {
        true => ("g++", dir.join(name)),
        false => ("cc", dir.join(format!("{name}.c"))),
    };
    fs::write(&file, source).unwrap();
    let program = dir.join(name.trim_end_matches(".cpp"));
    let mut command = Command::new(compiler);
    run(command
        .args(["-O1", "-o"])
        .arg(&program)
        .arg(&file)
        .args(arguments));
    program
}

/// Runs a tool that must succeed.
pub(crate) fn run(command: &mut Command) {
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// A `/proc` with one process of our making.
pub(crate) fn fake_proc(pid: u32, started: u64, maps: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let process = dir.path().join(pid.to_string());
    fs::create_dir(&process).unwrap();
    let zeros = "0 ".repeat(18);
    let stat = format!("{pid} (fake) S {zeros}{started} 0 0\n");
    fs::write(process.join("stat"), stat).unwrap();
    fs::write(process.join("maps"), maps).unwrap();
    let user = rustix::process::geteuid().as_raw();
    let status = format!("Uid:\t{user}\t{user}\t{user}\t{user}\nNSpid:\t{pid}\n");
    fs::write(process.join("status"), status).unwrap();
    fs::create_dir_all(process.join("root/tmp")).unwrap();
    dir
}
