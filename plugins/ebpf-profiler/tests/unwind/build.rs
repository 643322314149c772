//! Programs compiled for a test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory and the programs in it.
pub(crate) struct Programs(tempfile::TempDir);

impl Programs {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Compiles C with `cc -O2` and no frame pointers; none, said so, if there is no `cc`.
    pub(crate) fn c(&self, name: &str, source: &str, flags: &[&str]) -> Option<PathBuf> {
        let file = self.path(&format!("{name}.c"));
        std::fs::write(&file, source).expect("the source is written");
        let program = self.path(name);
        let mut command = Command::new("cc");
        command
            .args(["-O2", "-fomit-frame-pointer"])
            .args(flags)
            .arg(&file)
            .arg("-o")
            .arg(&program);
        run(command, &program)
    }

    /// Builds a Go program of one file; none, said so, if there is no `go`.
    pub(crate) fn go(
        &self,
        name: &str,
        source: &str,
        flags: &[&str],
        env: &[(&str, &str)],
    ) -> Option<PathBuf> {
        let file = self.path("main.go");
        std::fs::write(&file, source).expect("the source is written");
        let program = self.path(name);
        let mut command = Command::new("go");
        command
            .arg("build")
            .args(flags)
            .arg("-o")
            .arg(&program)
            .arg(&file);
        command
            .envs([("GOFLAGS", "-mod=mod"), ("GOTOOLCHAIN", "local")])
            .envs(env.iter().copied());
        run(command, &program)
    }
}

fn run(mut command: Command, program: &Path) -> Option<PathBuf> {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: {:?}: {error}", command.get_program());
            return None;
        }
    };
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(program.to_owned())
}

/// The files of a list that this machine has.
pub(crate) fn existing(paths: &[&str]) -> Vec<PathBuf> {
    paths
        .iter()
        .map(PathBuf::from)
        .filter(|path| path.exists())
        .collect()
}
