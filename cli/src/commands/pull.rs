//! `inkstone pull`: fetch a model into the cache, verified.

use clap::Args;
use serde_json::json;

use crate::arguments::Model;
use crate::store::{Consent, Home, Reference, licence_of, pull, term_keys};
use crate::terminal::{Bytes, Terminal};

/// Fetch a model into the cache
///
/// Sources are tried in order; an interrupted pull goes on where it stopped. The file is verified before it gets its name.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone pull smollm2-135m")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Model,
    /// Accept a model's terms without being asked
    #[arg(long, value_name = "NAME", value_parser = known_terms)]
    accept_license: Vec<String>,
}

/// Pulls, and tells where the model lies.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let reference = Reference::parse(arguments.model.name()?)?;
    let consent = Consent::new(&arguments.accept_license);
    let pulled = pull(terminal, &Home::find()?, &reference, &consent)?;
    let model = &pulled.model;
    let record = &model.record;
    let path = model.source_path();
    if !pulled.fetched {
        terminal.note(format_args!("{} is in the cache already", record.name));
    }
    let value = json!({
        "name": record.name,
        "source": record.source,
        "path": path,
        "fetched": pulled.fetched,
        "files": record.files,
        "licence": licence_of(&record.about),
        "about": record.about,
    });
    let bytes = record.files.iter().map(|f| f.bytes).sum();
    terminal.note(format_args!(
        "{}, licence {}",
        Bytes(bytes),
        licence_of(&record.about)
    ));
    terminal.result(&value, |out| writeln!(out, "{}", path.display()))
}

fn known_terms(text: &str) -> Result<String, String> {
    let known: Vec<&str> = term_keys().collect();
    if known.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "the terms that can be accepted are: {}",
        known.join(", ")
    ))
}
