//! `inkstone finetune`: a model learns from examples.

mod dashboard;
mod init;
mod plan;
mod prompts;
mod run;
mod setup;
mod tensorboard;

use clap::{Args, Subcommand};

use crate::terminal::Terminal;

/// Teach a model from examples
///
/// A recipe, one TOML file, says everything that a run depends on. Each step is a command of its own.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone finetune init smollm2-135m --data examples.csv -o recipe.toml\n  inkstone finetune plan recipe.toml\n  inkstone finetune run recipe.toml"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    Init(init::Arguments),
    Plan(plan::Arguments),
    Run(run::Arguments),
    Resume(run::Resume),
}

/// Trains, or prepares it.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    match &arguments.step {
        Step::Init(arguments) => init::run(arguments, terminal),
        Step::Plan(arguments) => plan::run(arguments, terminal),
        Step::Run(arguments) => run::run(arguments, terminal, false),
        Step::Resume(arguments) => run::resume(arguments, terminal),
    }
}
