//! `inkstone devices`: what models run on here.

use clap::Args;
use inkstone_engine::{DEVICES, Device};
use serde_json::{Map, Value, json};

use crate::terminal::Terminal;

/// Show what models can run on here
///
/// The names are those that --device takes; the first one is used where nothing is asked for.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone devices")]
pub(crate) struct Arguments {}

/// Lists the engine's table.
pub(crate) fn run(_: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    terminal.result(&values(), |out| {
        for device in DEVICES {
            writeln!(out, "{}: {}", device.name, device.doc)?;
            for (name, value) in device.describe() {
                writeln!(out, "  {name:20} {value}")?;
            }
        }
        Ok(())
    })
}

/// The table as JSON.
pub(super) fn values() -> Vec<Value> {
    let property = |(name, value): (&str, String)| (name.to_owned(), value.into());
    let row = |device: &Device| {
        let properties: Map<String, Value> = device.describe().into_iter().map(property).collect();
        json!({"name": device.name, "about": device.doc, "properties": properties})
    };
    DEVICES.iter().map(row).collect()
}
