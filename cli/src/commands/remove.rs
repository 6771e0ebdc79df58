//! `inkstone remove`: delete a model from the cache.

use std::fs;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;

use crate::exit::Usage;
use crate::nearest::nearest;
use crate::store::{Home, Installed, installed};
use crate::terminal::{Bytes, Terminal, confirm};

/// Delete a model from the cache
///
/// Deletes what was pulled and what was converted from it; never a file outside the cache.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone remove smollm2-135m -y")]
pub(crate) struct Arguments {
    /// As `inkstone list` shows it
    #[arg(value_name = "NAME")]
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Removes, after a question.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let home = Home::find()?;
    let model = find(&home, &arguments.name)?;
    let (name, bytes) = (&model.record.name, model.bytes());
    if !arguments.yes {
        let question = format!(
            "Delete {name} ({}) from {}?",
            Bytes(bytes),
            model.folder.display()
        );
        match confirm(&question)? {
            Some(true) => {}
            Some(false) => bail!("{name} was not removed"),
            None => {
                return Err(Usage::error(format!(
                    "{name} was not removed: nobody can be asked; add -y"
                )));
            }
        }
    }
    // The manifest goes first: what an interruption leaves is then no model.
    fs::remove_file(model.folder.join("manifest.json"))
        .and_then(|()| fs::remove_dir_all(&model.folder))
        .with_context(|| format!("{}: cannot delete", model.folder.display()))?;
    let value = json!({"name": name, "bytes": bytes, "folder": model.folder});
    terminal.result(&value, |out| {
        writeln!(out, "removed {name}, {} freed", Bytes(bytes))
    })
}

fn find(home: &Home, name: &str) -> anyhow::Result<Installed> {
    let models = installed(home);
    if let Some(model) = models.iter().find(|m| m.record.name == name) {
        return Ok(model.clone());
    }
    let names = models.iter().map(|m| m.record.name.as_str());
    let advice = match nearest(name, names) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`inkstone list` shows what is".to_owned(),
    };
    Err(anyhow!(Usage::error(format!(
        "`{name}` is not in the cache; {advice}"
    ))))
}
