//! Compiles llama.cpp and the engine around it for the very processor this runs on.

use crate::note;
use anyhow::{Context as _, Result, ensure};
use inkstone_cpu::Isa;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The flags by which `llama-cpp-sys-2` turns `GGML_NATIVE` on.
const FLAGS: &str = "-C target-cpu=native";

/// What GCC before 13 must leave undone where a processor has AMX: it takes stores to the configuration of matrix registers
/// for dead, and llama.cpp then ends at its first product.
const KEEP_STORES: &str = "-fno-tree-dse -fno-dse -fno-tree-sra";

/// The engine's program, built below cargo's target folder.
pub(crate) fn peer(target: &Path) -> Result<PathBuf> {
    let target = target.join("native");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    note("compiling llama.cpp for this processor, which takes minutes the first time");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    if Isa::Amx.available() {
        command
            .env("CFLAGS", KEEP_STORES)
            .env("CXXFLAGS", KEEP_STORES);
    }
    let status = command
        .args(["build", "--quiet", "--release", "--locked", "--bin", "peer"])
        .args(["--features", "peer", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", FLAGS)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "llama.cpp cannot be compiled: {status}");
    Ok(target.join("release/peer"))
}
