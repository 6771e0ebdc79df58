//! What `plan` and `run` share: from a recipe to a model and samples.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use inkstone_engine::Model;
use inkstone_finetune::sample::Counts;
use inkstone_finetune::{Cache, Recipe, Sample, written};

use crate::files;
use crate::resolve;
use crate::store::Home;
use crate::terminal::Terminal;

/// Everything that a run is made of.
pub(super) struct Setup {
    pub(super) recipe: Recipe,
    pub(super) model: Model,
    pub(super) samples: Vec<Sample>,
    pub(super) held_out: Vec<Sample>,
    pub(super) counts: Counts,
}

/// Reads a recipe, its model and its examples.
pub(super) fn setup(path: &Path, terminal: &Terminal) -> anyhow::Result<Setup> {
    let recipe = Recipe::parse(&files::text(path)?).with_context(|| path.display().to_string())?;
    let model = resolve::model(terminal, &recipe.model.base)?;
    ensure!(
        !written::is_adapted(&model),
        "{}: has an adapter; train its base, or merge the adapter first",
        recipe.model.base
    );
    let cache = Cache::new(Home::find()?.tokens());
    let mut counts = Counts::default();
    let mut read = |files: &[PathBuf]| -> anyhow::Result<Vec<Sample>> {
        let mut samples = Vec::new();
        for file in files {
            let (made, seen) = cache.samples(&model, file, recipe.data.length)?;
            samples.extend(made);
            counts += seen;
        }
        Ok(samples)
    };
    let samples = read(&recipe.data.train)?;
    let held_out = read(&recipe.data.held_out)?;
    if counts.cut > 0 {
        terminal.note(format_args!(
            "{} of {} examples are longer than data.length = {} and were cut",
            counts.cut, counts.examples, recipe.data.length
        ));
    }
    if counts.empty > 0 {
        terminal.note(format_args!(
            "{} examples were left out: nothing of them would be learnt",
            counts.empty
        ));
    }
    Ok(Setup {
        recipe,
        model,
        samples,
        held_out,
        counts,
    })
}

/// As many threads as a session may have.
pub(super) fn threads() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=1024)
}

/// A pool of `threads` threads, or of as many as there are processors.
pub(super) fn pool(threads: Option<u32>) -> anyhow::Result<rayon::ThreadPool> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0) as usize);
    pool.build().map_err(|e| anyhow!("threads: {e}"))
}
