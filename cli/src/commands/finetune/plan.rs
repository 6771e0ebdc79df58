//! `inkstone finetune plan`: what a run takes.

use std::path::PathBuf;

use clap::Args;
use inkstone_finetune::{Net, Trainer, plan};
use serde_json::json;

use super::setup::{pool, setup, threads};
use crate::terminal::{Bytes, Terminal};

/// Tell what memory and time a run takes
///
/// Memory is reckoned; time is that of one step, which is run and thrown away, times the steps.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone finetune plan recipe.toml")]
pub(crate) struct Arguments {
    /// The recipe
    #[arg(value_name = "RECIPE.toml")]
    recipe: PathBuf,
    /// Threads [default: one for each processor]
    #[arg(short, long, value_name = "N", value_parser = threads())]
    threads: Option<u32>,
}

/// Plans.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let setup = setup(&arguments.recipe, terminal)?;
    let (model, counts) = (&setup.model, setup.counts);
    let options = setup.recipe.options();
    let share = counts.learnt as f64 / counts.tokens.max(1) as f64;
    let view = model.view();
    let length = setup.recipe.data.length;
    let memory = plan::memory(
        &view,
        model.file_bytes().len() as u64,
        &options,
        length,
        share,
    );
    let learnt = plan::learnt(&view, &options);
    let pool = pool(arguments.threads)?;
    let (found, busy) = (pool.current_num_threads(), plan::threads(length));
    let (steps, event) = pool.install(|| {
        let net = Net::new(&view, model.file_bytes(), options);
        let mut trainer = Trainer::new(setup.recipe.clone(), net, setup.samples, setup.held_out)?;
        Ok::<_, anyhow::Error>((trainer.steps(), trainer.try_step()?))
    })?;
    let seconds = event.seconds * steps as f64;
    let rate = event.tokens as f64 / event.seconds;
    let value = json!({
        "counts": counts,
        "learnt_numbers": learnt,
        "steps": steps,
        "memory": memory,
        "tokens_per_second": rate,
        "seconds": seconds,
        "precision": options.form.name(),
        "threads": found,
        "busy_threads": found.min(busy),
    });
    terminal.result(&value, |out| {
        writeln!(
            out,
            "{} samples, {} tokens, {} of them learnt",
            counts.samples, counts.tokens, counts.learnt
        )?;
        writeln!(out, "{learnt} numbers are learnt, in {steps} steps")?;
        let rows = [
            ("file, shared", memory.file),
            ("frozen weights", memory.frozen),
            ("what is learnt", memory.learnt),
            ("kept for the way back", memory.kept),
            ("scratch", memory.scratch),
            ("memory in all", memory.total),
        ];
        for (name, bytes) in rows {
            writeln!(out, "{name:22} {:>10}", Bytes(bytes).to_string())?;
        }
        writeln!(
            out,
            "{rate:.0} tokens/s in this trial, products in {}: about {:.0} minutes",
            options.form.name(),
            seconds / 60.0
        )?;
        if busy < found {
            writeln!(
                out,
                "a pack of {length} tokens occupies {busy} of {found} threads: a larger data.length with a smaller optimizer.batch occupies more"
            )?;
        }
        Ok(())
    })
}
