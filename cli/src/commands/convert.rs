//! `inkstone convert`: a checkpoint as one `.ink` file.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use clap::builder::PossibleValuesParser;
use inkstone_converter::convert::{KEEP, Options, Report, WEIGHTS, Weights};
use inkstone_engine::hash::hex;
use serde_json::{Map, Value, json};

use crate::exit::Usage;
use crate::files;
use crate::resolve;
use crate::store::convert_to;
use crate::terminal::{Terminal, confirm};
use crate::text_side::is_ink;

/// Convert a checkpoint into one .ink file
///
/// SOURCE is a GGUF file, a Hugging Face folder, a llama2.c checkpoint, or a name that can be pulled. `keep` loses
/// nothing where the format is known here; `compare` proves it. What was rewritten is reported.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone convert model.gguf -o model.ink --weights keep")]
pub(crate) struct Arguments {
    /// What to convert
    source: String,
    /// Write the model to this file
    #[arg(short, long, value_name = "MODEL.ink")]
    output: PathBuf,
    /// Format of the weights
    #[arg(long, default_value = KEEP.name, value_parser = weight_names())]
    weights: String,
    /// Replace a file that is there
    #[arg(short, long)]
    yes: bool,
}

/// Converts and reports.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let to = &arguments.output;
    files::has_folder(to)?;
    let (path, about) = resolve::source_and_about(terminal, &arguments.source)?;
    if !path.is_dir() && is_ink(&path)? {
        return Err(Usage::error(format!(
            "{}: is an .ink file already; convert the checkpoint that it was made of",
            path.display()
        )));
    }
    if to.exists() && !arguments.yes {
        match confirm(&format!("Replace {}?", to.display()))? {
            Some(true) => {}
            Some(false) => bail!("{} was not replaced", to.display()),
            None => {
                return Err(Usage::error(format!(
                    "{} is there already; add -y to replace it",
                    to.display()
                )));
            }
        }
    }
    let weights =
        Weights::by_name(&arguments.weights).expect("clap lets only names of the table through");
    let options = Options {
        weights: *weights,
        command: vec![
            "convert".to_owned(),
            "--weights".to_owned(),
            weights.name.to_owned(),
        ],
        manifest: about,
    };
    let report = convert_to(terminal, &path, to, &options)?;
    terminal.result(&value(&report, to), |out| write!(out, "{report}"))
}

fn value(report: &Report, to: &std::path::Path) -> Value {
    let formats: Map<String, Value> = report
        .formats()
        .into_iter()
        .map(|(name, (tensors, bytes))| {
            (name.to_owned(), json!({"tensors": tensors, "bytes": bytes}))
        })
        .collect();
    let tensors: Vec<Value> = report
        .tensors
        .iter()
        .map(|tensor| {
            json!({
                "layer": super::layer(tensor.layer),
                "role": tensor.role,
                "rows": tensor.rows,
                "inputs": tensor.inputs,
                "format": tensor.format,
                "bytes": tensor.bytes,
                "source": tensor.source,
                "stored_as": tensor.stored_as,
                "rewrites": tensor.rewrites,
            })
        })
        .collect();
    json!({
        "path": to,
        "bytes": report.file_bytes,
        "id": hex(&report.id),
        "formats": formats,
        "notes": report.notes,
        "tensors": tensors,
    })
}

fn weight_names() -> PossibleValuesParser {
    WEIGHTS
        .iter()
        .map(|weights| weights.name)
        .collect::<Vec<_>>()
        .into()
}
