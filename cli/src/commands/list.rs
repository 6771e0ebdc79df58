//! `inkstone list`: the models that are here, or that can be pulled.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};

use crate::store::{CATALOGUE, Entry, Home, Installed, installed, licence_of};
use crate::terminal::{Bytes, Table, Terminal, parse_bytes};

/// Show the models that are here, or that can be pulled
///
/// Without options, what is in the cache.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone list --available --fits 512M --context 4096")]
pub(crate) struct Arguments {
    /// Show the models that can be pulled by name
    #[arg(long)]
    available: bool,
    /// Only those that run within this much memory (512M, 2G)
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes, requires = "available")]
    fits: Option<u64>,
    /// At this many positions, which the model must have been trained for
    #[arg(short, long, value_name = "N", requires = "available")]
    context: Option<u64>,
}

/// Lists.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let home = Home::find()?;
    if arguments.available {
        available(arguments, terminal, &home)
    } else {
        here(terminal, &home)
    }
}

fn here(terminal: &Terminal, home: &Home) -> anyhow::Result<()> {
    let models = installed(home);
    if models.is_empty() {
        terminal.note("no model is here yet; `inkstone list --available` shows what can be pulled");
    }
    let mut table = Table::new(&["NAME", "SIZE", "LICENCE", "CONVERTED"]);
    for model in &models {
        let formats: Vec<String> = model
            .conversions()
            .iter()
            .filter_map(|p| weights(p))
            .collect();
        table.row([
            model.record.name.clone(),
            Bytes(model.bytes()).to_string(),
            licence_of(&model.record.about).to_owned(),
            formats.join(" "),
        ]);
    }
    let values: Vec<Value> = models.iter().map(installed_value).collect();
    terminal.result(&values, |out| table.print(out))
}

fn installed_value(model: &Installed) -> Value {
    json!({
        "name": model.record.name,
        "source": model.record.source,
        "bytes": model.bytes(),
        "licence": licence_of(&model.record.about),
        "about": model.record.about,
        "files": model.record.files,
        "conversions": model.conversions(),
        "folder": model.folder,
    })
}

/// The choice of weights that a conversion's file is named after.
fn weights(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_string_lossy();
    Some(stem.rsplit_once('-')?.0.to_owned())
}

fn available(arguments: &Arguments, terminal: &Terminal, home: &Home) -> anyhow::Result<()> {
    let context_of = |entry: &Entry| arguments.context.unwrap_or_else(|| entry.context.min(4096));
    let rows: Vec<&Entry> = CATALOGUE
        .iter()
        .filter(|entry| context_of(entry) <= entry.context)
        .filter(|entry| {
            arguments
                .fits
                .is_none_or(|most| entry.memory_bytes(context_of(entry)) <= most)
        })
        .collect();
    if rows.is_empty() {
        terminal
            .note("no model of the catalogue fits; allow more with --fits or less with --context");
    }
    let here = installed(home);
    let is_here = |entry: &Entry| here.iter().any(|model| model.record.name == entry.name);
    let mut table = Table::new(&[
        "NAME",
        "DOWNLOAD",
        "MEMORY",
        "AT CONTEXT",
        "LICENCE",
        "LANGUAGES",
        "HERE",
        "ABOUT",
    ]);
    for &entry in &rows {
        let context = context_of(entry);
        table.row([
            entry.name.to_owned(),
            Bytes(entry.bytes).to_string(),
            format!("~{}", Bytes(entry.memory_bytes(context))),
            format!("{context} of {}", entry.context),
            entry.licence(),
            entry.languages.join(" "),
            if is_here(entry) { "yes" } else { "no" }.to_owned(),
            entry.about.to_owned(),
        ]);
    }
    let values: Vec<Value> = rows
        .iter()
        .map(|entry| available_value(entry, context_of(entry), is_here(entry)))
        .collect();
    terminal.result(&values, |out| table.print(out))
}

fn available_value(entry: &Entry, context: u64, here: bool) -> Value {
    let sources: Vec<Value> = entry
        .sources
        .iter()
        .map(|row| json!({"source": row.source, "sha256": row.sha256}))
        .collect();
    json!({
        "name": entry.name,
        "about": entry.about,
        "bytes": entry.bytes,
        "memory_bytes": entry.memory_bytes(context),
        "context": context,
        "trained_context": entry.context,
        "licence": entry.licence(),
        "languages": entry.languages,
        "base_model": entry.base_model,
        "installed": here,
        "sources": sources,
    })
}
