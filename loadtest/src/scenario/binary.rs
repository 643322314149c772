//! Which `perigee` runs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, bail};

/// The `perigee` under test: `PERIGEE_BIN`; else, under cargo, the one of our own profile, brought
/// up to date first; else the one beside the running executable.
///
/// Cargo builds no binaries for another package's tests, so a clean checkout has none, and an old
/// one would be tested in silence. It has let go of its lock by the time that tests run.
///
/// # Errors
/// There is none and it cannot be built.
pub fn gateway_binary() -> Result<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| find().map_err(|error| format!("{error:#}")));
    found.clone().map_err(anyhow::Error::msg)
}

fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PERIGEE_BIN") {
        return Ok(PathBuf::from(path));
    }
    let own = std::env::current_exe()?;
    // Tests are in `deps`, below the binaries.
    let profile = own
        .ancestors()
        .skip(1)
        .find(|directory| !directory.ends_with("deps"))
        .context("no directory of our own")?;
    let binary = profile.join(format!("perigee{}", std::env::consts::EXE_SUFFIX));
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(Path::new(&cargo), profile)?;
    }
    if !binary.is_file() {
        bail!(
            "no {}: run cargo build, or set PERIGEE_BIN",
            binary.display()
        );
    }
    Ok(binary)
}

fn build(cargo: &Path, profile: &Path) -> Result<()> {
    let target = profile.parent().context("no target directory")?;
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(name) => name,
        None => bail!("{} is no profile's directory", profile.display()),
    };
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", "perigee"])
        .args(["--bin", "perigee", "--profile", name, "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let built = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    if !built.status.success() {
        bail!(
            "{command:?} ended with {}\n{}",
            built.status,
            String::from_utf8_lossy(&built.stderr)
        );
    }
    Ok(())
}
