//! `inkstone finetune init`: a recipe to begin with.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use inkstone_finetune::data;
use inkstone_finetune::recipe::{DataPart, MethodPart, ModelPart, OptimizerPart, Recipe, RunPart};
use serde_json::json;

use crate::exit::Usage;
use crate::files;
use crate::terminal::Terminal;

/// Write a recipe for your examples
///
/// Every field is written with its default, to be changed. Examples are JSON, JSONL, CSV or text: OpenAI `messages`,
/// ShareGPT, Alpaca, XTuner, prompt and completion, question and answer, or text.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone finetune init smollm2-135m --data examples.csv -o recipe.toml"
)]
pub(crate) struct Arguments {
    /// The model to teach: a path or a name of the catalogue
    #[arg(value_name = "MODEL")]
    model: String,
    /// Files of examples
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Files of examples whose loss is watched [default: a twentieth of the others]
    #[arg(long, value_name = "FILE", num_args = 1..)]
    held_out: Vec<PathBuf>,
    /// Write the recipe to this file
    #[arg(short, long, value_name = "RECIPE.toml", default_value = "recipe.toml")]
    output: PathBuf,
    /// Replace a recipe that is there
    #[arg(short, long)]
    yes: bool,
}

/// Writes the recipe.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    files::has_folder(&arguments.output)?;
    if arguments.output.exists() && !arguments.yes {
        return Err(Usage::error(format!(
            "{} is there already; add -y to replace it",
            arguments.output.display()
        )));
    }
    let mut examples = 0;
    for file in arguments.data.iter().chain(&arguments.held_out) {
        examples += data::read(file)?.len();
    }
    let recipe = Recipe {
        model: ModelPart {
            base: arguments.model.clone(),
        },
        data: DataPart {
            train: arguments.data.clone(),
            held_out: arguments.held_out.clone(),
            held_out_share: 0.05,
            length: 512,
            packing: true,
        },
        method: MethodPart::default(),
        optimizer: OptimizerPart::default(),
        run: RunPart::default(),
    };
    let path = arguments.output.display();
    std::fs::write(&arguments.output, recipe.to_toml()?).with_context(|| path.to_string())?;
    terminal.result(
        &json!({ "recipe": arguments.output, "examples": examples }),
        |out| {
            writeln!(
                out,
                "{path}: a recipe for {examples} examples; next: inkstone finetune run {path}"
            )
        },
    )
}
