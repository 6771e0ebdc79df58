//! `inkstone compare`: proof that a conversion holds what its source holds.

use std::path::PathBuf;

use clap::Args;
use inkstone_converter::Source;
use inkstone_converter::compare::{Outcome, compare};
use inkstone_engine::Mapped;
use serde_json::{Value, json};

use crate::resolve;
use crate::terminal::Terminal;

/// Prove that a converted file holds what its source holds
///
/// The rewrites that the file records are applied to the source anew; every bit must then be the same, except where
/// the record says that numbers were rounded. Fails at the first bit that differs.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone compare model.gguf model.ink")]
pub(crate) struct Arguments {
    /// What was converted
    source: String,
    /// What it was converted to
    result: PathBuf,
}

/// Compares.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let source = Source::open(&resolve::source(terminal, &arguments.source)?)?;
    let result = Mapped::open(&arguments.result)?;
    let comparison = compare(&source, &result.file())?;
    let tensors: Vec<Value> = comparison
        .tensors
        .iter()
        .map(|tensor| {
            let error = match tensor.outcome {
                Outcome::Equal => None,
                Outcome::Rounded { relative_error } => Some(relative_error),
            };
            json!({
                "layer": super::layer(tensor.layer),
                "role": tensor.role,
                "source": tensor.source,
                "numbers": tensor.numbers,
                "equal": error.is_none(),
                "relative_error": error,
            })
        })
        .collect();
    let (equal, all) = (comparison.equal(), comparison.tensors.len());
    let value = json!({"equal": equal, "rounded": all - equal, "tensors": tensors});
    terminal.result(&value, |out| {
        writeln!(out, "{equal} of {all} tensors: every bit is the same")?;
        for tensor in comparison.rounded() {
            if let Outcome::Rounded { relative_error } = tensor.outcome {
                let layer =
                    super::layer(tensor.layer).map_or(String::new(), |n| format!(" of layer {n}"));
                writeln!(
                    out,
                    "{}{layer}: rounded, relative error {relative_error:.6}",
                    tensor.role
                )?;
            }
        }
        Ok(())
    })
}
