//! `inkstone finetune run` and `resume`: the run itself.

use std::path::PathBuf;

use clap::Args;
use inkstone_engine::Model;
use inkstone_finetune::trainer::End;
use inkstone_finetune::{Net, Recipe, Trainer};
use serde_json::json;

use super::dashboard::Dashboard;
use super::prompts;
use super::setup::{pool, setup, threads};
use crate::exit::{Interrupted, Usage};
use crate::files::quoted;
use crate::interrupt;
use crate::terminal::Terminal;

/// Run a recipe
///
/// Writes to the recipe's output folder: the recipe with every default, log.jsonl, TensorBoard's curves, loss.svg,
/// checkpoints, and at the end the adapter and model.ink, the base with the adapter in it. Ctrl-C stops after the step and can be resumed.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone finetune run recipe.toml")]
pub(crate) struct Arguments {
    /// The recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// Threads [default: one for each processor]; their number changes no bit of the result
    #[arg(short, long, value_name = "N", value_parser = threads())]
    threads: Option<u32>,
    /// Begin anew where the output folder holds a run
    #[arg(short, long)]
    yes: bool,
}

/// Go on with a run where it stopped, to the same bits
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone finetune resume recipe.toml")]
pub(crate) struct Resume {
    /// The recipe of the run
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// Threads [default: one for each processor]; their number changes no bit of the result
    #[arg(short, long, value_name = "N", value_parser = threads())]
    threads: Option<u32>,
}

/// Goes on.
pub(crate) fn resume(arguments: &Resume, terminal: &Terminal) -> anyhow::Result<()> {
    let arguments = Arguments {
        recipe: arguments.recipe.clone(),
        threads: arguments.threads,
        yes: false,
    };
    run(&arguments, terminal, true)
}

/// Trains.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal, resume: bool) -> anyhow::Result<()> {
    let setup = setup(&arguments.recipe, terminal)?;
    let (model, options) = (&setup.model, setup.recipe.options());
    let view = model.view();
    interrupt::watch();
    let mut trainer = pool(arguments.threads)?.install(|| {
        let net = Net::new(&view, model.file_bytes(), options);
        Trainer::new(setup.recipe.clone(), net, setup.samples, setup.held_out)
    })?;
    if resume && !trainer.checkpoint().exists() {
        return Err(Usage::error(format!(
            "{} holds no run to go on with; `inkstone finetune run` begins one",
            trainer.output().display()
        )));
    }
    if resume {
        trainer.resume()?;
    } else if trainer.checkpoint().exists() && !arguments.yes {
        return Err(Usage::error(format!(
            "{} holds a run: `inkstone finetune resume` goes on with it, -y begins anew",
            trainer.output().display()
        )));
    }
    trainer.prepare()?;
    let mut dashboard =
        Dashboard::new(terminal, trainer.output(), trainer.steps(), trainer.done())?;
    let pool = pool(arguments.threads)?;
    let end = pool.install(|| {
        trainer.run(&mut |net, event| {
            let asked = event.held_out.and(Some(&setup.recipe));
            let answers = asked
                .map(|recipe| prompts::answers(model, net, recipe))
                .transpose();
            let answers = answers.unwrap_or_else(|error| {
                terminal.note(format_args!("prompts: {error:#}"));
                None
            });
            let answers = answers.unwrap_or_default();
            dashboard.show(event, &answers) && !interrupt::take()
        })
    })?;
    dashboard.finish()?;
    if end == End::Stopped {
        let recipe = quoted(&arguments.recipe);
        terminal.note(format_args!(
            "stopped; `inkstone finetune resume {recipe}` goes on"
        ));
        return Err(Interrupted.into());
    }
    finish(&mut trainer, &setup.recipe, model, end, terminal)
}

/// Writes what was learnt, and tells of it.
fn finish(
    trainer: &mut Trainer<'_>,
    recipe: &Recipe,
    model: &Model,
    end: End,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let held_out = trainer.take_best();
    let output = trainer.output().to_owned();
    let to = output.join("model.ink");
    prompts::write(model, trainer.net(), recipe, &output.join("adapter"), &to)?;
    let value = json!({
        "model": to,
        "steps": trainer.done(),
        "ended": format!("{end:?}").to_lowercase(),
        "held_out_loss": held_out,
    });
    terminal.result(&value, |out| {
        let loss = held_out.map_or(String::new(), |loss| format!(", held-out loss {loss:.4}"));
        let steps = trainer.done();
        let next = if model.has_template() { "chat" } else { "run" };
        writeln!(
            out,
            "{}: {steps} steps{loss}; next: inkstone {next} {}",
            to.display(),
            quoted(&to)
        )
    })
}
