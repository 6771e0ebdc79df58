//! `inkstone finetune init`: a recipe to begin with.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap::builder::PossibleValuesParser;
use inkstone_finetune::data::{self, Example};
use inkstone_finetune::recipe::{
    DataPart, Kind, MethodPart, ModelPart, OptimizerPart, Recipe, RunPart,
};
use inkstone_finetune::scratch::{self, Shape};
use inkstone_finetune::{duplicates, plan};
use serde_json::json;

use crate::exit::Usage;
use crate::files;
use crate::store::Reference;
use crate::terminal::Terminal;

/// Write a recipe for your examples
///
/// Every field is written with its default, to be changed. Examples are JSON, JSONL, CSV or text: OpenAI `messages`,
/// ShareGPT, Alpaca, XTuner, prompt and completion, question and answer, or text. With --new, the model is a folder that is
/// made: random weights, and a tokenizer learnt from the examples.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone finetune init smollm2-135m --data examples.csv -o recipe.toml\n  inkstone finetune init scratch --new 280k --data stories.jsonl -o recipe.toml"
)]
pub(crate) struct Arguments {
    /// The model to teach: a path or a name of the catalogue; with --new the folder to make it in
    #[arg(value_name = "MODEL")]
    model: String,
    /// Begin with a small Llama of random weights
    #[arg(long, value_name = "SHAPE", value_parser = shapes())]
    new: Option<String>,
    /// What such a model may be used for, as SPDX writes it
    #[arg(long, value_name = "SPDX", requires = "new")]
    licence: Option<String>,
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
    let (mut examples, mut texts, mut chats) = (0, Vec::new(), false);
    for file in arguments.data.iter().chain(&arguments.held_out) {
        let read = data::read(file)?;
        examples += read.len();
        chats |= read
            .iter()
            .any(|example| matches!(example, Example::Chat { .. }));
        texts.extend(read.iter().map(duplicates::text_of));
    }
    let shape = arguments.new.as_deref().map(Shape::find).transpose()?;
    if let Some(shape) = &shape {
        let folder = Path::new(&arguments.model);
        if folder.exists() && !arguments.yes {
            return Err(Usage::error(format!(
                "{} is there already; add -y to replace it",
                folder.display()
            )));
        }
        let (seed, licence) = (RunPart::default().seed, arguments.licence.as_deref());
        scratch::write(shape, &texts, chats, seed, licence, folder)?;
    }
    if shape.is_none() {
        // So that what is no model is said now, not by the run.
        Reference::parse(&arguments.model)?;
    }
    let recipe = recipe(arguments, shape.as_ref());
    let next = files::quoted(&arguments.output);
    let path = arguments.output.display();
    std::fs::write(&arguments.output, recipe.to_toml()?).with_context(|| path.to_string())?;
    terminal.result(
        &json!({ "recipe": arguments.output, "examples": examples }),
        |out| {
            writeln!(
                out,
                "{path}: a recipe for {examples} examples; next: inkstone finetune run {next}"
            )
        },
    )
}

/// The defaults; what begins with random weights learns all of them, faster and longer.
fn recipe(arguments: &Arguments, shape: Option<&Shape>) -> Recipe {
    let (mut method, mut optimizer) = (MethodPart::default(), OptimizerPart::default());
    let mut length = 512;
    if let Some(shape) = shape {
        length = shape.context;
        method.kind = Kind::Full;
        optimizer = OptimizerPart {
            rate: 3e-3,
            decay: 0.1,
            betas: [0.9, 0.95],
            epochs: 10.0,
            ..optimizer
        };
    } else {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        (length, optimizer.batch) = plan::occupying(processors, (length, optimizer.batch));
    }
    Recipe {
        model: ModelPart {
            base: arguments.model.clone(),
        },
        data: DataPart {
            train: arguments.data.clone(),
            held_out: arguments.held_out.clone(),
            held_out_share: 0.05,
            length,
            packing: true,
        },
        method,
        optimizer,
        run: RunPart::default(),
    }
}

fn shapes() -> PossibleValuesParser {
    let names = scratch::SHAPES.iter().map(|shape| shape.name);
    names.collect::<Vec<_>>().into()
}
