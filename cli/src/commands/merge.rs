//! `inkstone merge`: a model with an adapter in its weights.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use inkstone_finetune::written;

use super::adapter::{Output, done};
use crate::resolve;
use crate::terminal::Terminal;

/// Merge an adapter into a model's weights, tensor by tensor
///
/// The matrices that the adapter changes are rounded anew; `adapter attach` keeps every bit of them instead.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone merge smollm2-135m finetuned/adapter -o merged.ink --weights q8"
)]
pub(crate) struct Arguments {
    /// The model
    #[arg(value_name = "MODEL")]
    model: String,
    /// The adapter's folder, as PEFT writes it
    #[arg(value_name = "FOLDER")]
    adapter: PathBuf,
    /// Format of the matrices that are changed
    #[arg(long, default_value = "q8", value_parser = PossibleValuesParser::from(written::forms()))]
    weights: String,
    #[command(flatten)]
    output: Output,
}

/// Merges.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let to = arguments.output.path()?;
    let model = resolve::model(terminal, &arguments.model)?;
    written::merge(&model, &arguments.adapter, to, &arguments.weights)?;
    done(terminal, to)
}
