//! `inkstone eval examples`: a task's training rows, in the words in which its test is asked.

use core::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use inkstone_eval::{Definition, Task};
use serde_json::json;

use super::Materials;
use crate::files;
use crate::terminal::Terminal;

/// Write what a model can learn a task from
///
/// The task's training rows as OpenAI `messages`, one conversation a line, asked as `eval run` asks.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone eval examples home -o home.jsonl")]
pub(crate) struct Arguments {
    /// A task of `inkstone eval list`, or a TOML file
    #[arg(value_name = "TASK")]
    task: String,
    /// Write the conversations to this file
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    materials: Materials,
}

/// Writes.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    files::has_folder(&arguments.output)?;
    let (definition, folder) = Definition::find(&arguments.task, &arguments.materials.materials)?;
    let examples = Task::load(definition, &folder)?.examples()?;
    let mut text = String::new();
    for example in &examples {
        writeln!(text, "{example}")?;
    }
    let named = || arguments.output.display().to_string();
    std::fs::write(&arguments.output, text).with_context(named)?;
    let value = json!({"examples": examples.len(), "path": arguments.output});
    terminal.result(&value, |out| {
        writeln!(out, "{}: {} examples", named(), examples.len())
    })
}
