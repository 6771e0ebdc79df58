//! `inkstone adapter`: what fine-tuning has added to a model.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use inkstone_finetune::{gguf, written};
use serde_json::json;

use crate::exit::Usage;
use crate::files;
use crate::resolve;
use crate::terminal::Terminal;

/// Put an adapter beside a model's weights, or take it away
///
/// An adapter is a folder as PEFT writes it: adapter_config.json and adapter_model.safetensors.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone adapter attach smollm2-135m finetuned/adapter -o taught.ink"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Write the model with an adapter; its own weights keep every bit
    #[command(
        after_help = "Example:\n  inkstone adapter attach smollm2-135m finetuned/adapter -o taught.ink"
    )]
    Attach(Attach),
    /// Write the model without its adapter
    #[command(after_help = "Example:\n  inkstone adapter detach taught.ink -o plain.ink")]
    Detach(Detach),
    /// Write an adapter as a file of its own, which `--adapter` attaches while a model runs
    #[command(
        after_help = "Example:\n  inkstone adapter import finetuned/adapter --base smollm2-135m -o taught.adapter.ink"
    )]
    Import(Import),
    /// Write an adapter as llama.cpp reads it
    #[command(
        after_help = "Example:\n  inkstone adapter export finetuned/adapter --base smollm2-135m.gguf -o taught.gguf"
    )]
    Export(Export),
}

#[derive(Args)]
struct Export {
    /// The adapter's folder
    #[arg(value_name = "FOLDER")]
    adapter: PathBuf,
    /// The GGUF file that it is for
    #[arg(long, value_name = "BASE.gguf")]
    base: PathBuf,
    /// Write the adapter to this file
    #[arg(short, long, value_name = "ADAPTER.gguf")]
    output: PathBuf,
    /// Replace a file that is there
    #[arg(short, long)]
    yes: bool,
}

#[derive(Args)]
struct Import {
    /// The adapter's folder
    #[arg(value_name = "FOLDER")]
    adapter: PathBuf,
    /// The model that it is for
    #[arg(long, value_name = "MODEL")]
    base: String,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Attach {
    /// The model
    #[arg(value_name = "MODEL")]
    model: String,
    /// The adapter's folder
    #[arg(value_name = "FOLDER")]
    adapter: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Args)]
struct Detach {
    /// The model
    #[arg(value_name = "MODEL")]
    model: String,
    #[command(flatten)]
    output: Output,
}

/// Where a model is written.
#[derive(Args)]
pub(crate) struct Output {
    /// Write the model to this file
    #[arg(short = 'o', long = "output", value_name = "MODEL.ink")]
    path: PathBuf,
    /// Replace a file that is there
    #[arg(short, long)]
    yes: bool,
}

impl Output {
    /// The path, where it can be written.
    pub(crate) fn path(&self) -> anyhow::Result<&Path> {
        free(&self.path, self.yes)
    }
}

/// A path that nothing is at, or what may be replaced.
fn free(path: &Path, replace: bool) -> anyhow::Result<&Path> {
    files::has_folder(path)?;
    if path.exists() && !replace {
        let path = path.display();
        return Err(Usage::error(format!(
            "{path} is there already; add -y to replace it"
        )));
    }
    Ok(path)
}

/// Attaches, detaches, imports or exports.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    match &arguments.what {
        What::Attach(arguments) => {
            let to = arguments.output.path()?;
            let model = resolve::model(terminal, &arguments.model)?;
            written::attach(&model, &arguments.adapter, to)?;
            done(terminal, to)
        }
        What::Detach(arguments) => {
            let to = arguments.output.path()?;
            let model = resolve::model(terminal, &arguments.model)?;
            written::detach(&model, to)?;
            done(terminal, to)
        }
        What::Import(arguments) => {
            let to = arguments.output.path()?;
            let model = resolve::model(terminal, &arguments.base)?;
            written::import(&model, &arguments.adapter, to)?;
            done(terminal, to)
        }
        What::Export(arguments) => {
            let to = free(&arguments.output, arguments.yes)?;
            gguf::export(&arguments.adapter, &arguments.base, to)?;
            done(terminal, to)
        }
    }
}

/// Tells what was written.
pub(crate) fn done(terminal: &Terminal, to: &Path) -> anyhow::Result<()> {
    let bytes = std::fs::metadata(to).map_or(0, |about| about.len());
    terminal.result(&json!({ "path": to, "bytes": bytes }), |out| {
        writeln!(out, "{}: {bytes} bytes", to.display())
    })
}
