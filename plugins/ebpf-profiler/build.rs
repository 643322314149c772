//! Chooses the BPF objects: those committed, or with `PERIGEE_BPF_REBUILD=1` fresh ones (needs clang 14 or
//! later and llvm-strip).

use std::path::PathBuf;
use std::process::Command;
use std::{env, error, fs};

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-env-changed=PERIGEE_BPF_REBUILD");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut objects = root.join("bpf/prebuilt");
    if env::var("PERIGEE_BPF_REBUILD").is_ok_and(|it| !it.is_empty() && it != "0") {
        objects = out.join("rebuilt");
        let status = Command::new(root.join("bpf/build"))
            .arg(&objects)
            .status()?;
        if !status.success() {
            return Err(format!("bpf/build: {status}").into());
        }
    }
    for entry in fs::read_dir(root.join("bpf"))? {
        println!("cargo:rerun-if-changed={}", entry?.path().display());
    }
    let object = objects.join(&arch).join("cpu.bpf.o");
    println!("cargo:rerun-if-changed={}", object.display());
    let target = out.join("cpu.bpf.o");
    fs::copy(&object, &target)
        .map_err(|e| format!("{}: {e}; no BPF programs for {arch}?", object.display()))?;
    Ok(())
}
