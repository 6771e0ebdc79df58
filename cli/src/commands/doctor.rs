//! `inkstone doctor`: what this machine is, and what is missing on it.

use clap::Args;
use inkstone_engine::DEVICES;
use serde_json::json;

use super::devices;
use crate::machine::{memory_bytes, processor};
use crate::store::{Home, find_pip, free_bytes};
use crate::terminal::{Bytes, Terminal};

/// Show what this machine is and what is missing on it
///
/// Looks at processor, memory, cache folder, disk and Python; changes nothing, asks no network.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone doctor")]
pub(crate) struct Arguments {}

/// Tells what was found.
pub(crate) fn run(_: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let home = Home::find()?;
    let free = free_bytes(home.root()).ok();
    let memory = memory_bytes();
    let pip = find_pip();
    let cores = std::thread::available_parallelism().ok().map(usize::from);
    let value = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "system": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "processor": processor(),
        "cores": cores,
        "memory_bytes": memory,
        "cache_folder": home.root(),
        "free_disk_bytes": free,
        "python": pip.as_ref().map(|found| found.0),
        "pip": pip.as_ref().map(|found| &found.1),
        "devices": devices::values(),
    });
    let size = |bytes: Option<u64>| bytes.map_or("unknown".to_owned(), |b| Bytes(b).to_string());
    let mut rows = vec![
        ("inkstone", env!("CARGO_PKG_VERSION").to_owned()),
        (
            "system",
            format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH),
        ),
        (
            "processor",
            processor().unwrap_or_else(|| "unknown".to_owned()),
        ),
        (
            "cores",
            cores.map_or("unknown".to_owned(), |n| n.to_string()),
        ),
        ("memory", size(memory)),
        ("cache folder", home.root().display().to_string()),
        ("free disk", size(free)),
        (
            "pip",
            pip.map_or_else(without_pip, |(python, version)| {
                format!("{version}, by {python}")
            }),
        ),
    ];
    for device in DEVICES {
        let found = device.describe().into_iter();
        let found = found.map(|(name, value)| format!(", {name} {value}"));
        rows.push((
            "device",
            format!("{}{}", device.name, found.collect::<String>()),
        ));
    }
    terminal.result(&value, |out| {
        rows.iter()
            .try_for_each(|(name, found)| writeln!(out, "{name:14}{found}"))
    })
}

fn without_pip() -> String {
    "not found; models named pip: need python3 with pip (Debian: apt install python3-pip)"
        .to_owned()
}
