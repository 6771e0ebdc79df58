//! `inkstone data check`: what would go wrong in learning from examples.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use inkstone_finetune::data;
use inkstone_finetune::duplicates;
use inkstone_finetune::sample::Sampler;
use serde_json::json;

use crate::resolve;
use crate::terminal::Terminal;

/// Find what would go wrong: nothing learnt, cut short, said twice, in the test set
///
/// Near duplicates are found by MinHash over five-word shingles. Fails where examples of --test stand among the others.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone data check train.jsonl -m smollm2-135m --test test.jsonl"
)]
pub(crate) struct Arguments {
    /// Examples: JSON, JSONL, CSV or text
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The model whose template and tokenizer are used
    #[arg(short, long, value_name = "MODEL")]
    model: String,
    /// Examples that must not be among them
    #[arg(long, value_name = "FILE")]
    test: Option<PathBuf>,
    /// Tokens of a sample, at most
    #[arg(long, value_name = "N", default_value_t = 512)]
    length: usize,
    /// Share of shingles from which examples count as near duplicates
    #[arg(long, value_name = "SHARE", default_value_t = 0.8, value_parser = super::share)]
    near: f64,
}

/// Duplicates that are shown.
const SHOWN: usize = 5;

/// Checks.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let examples = data::read(&arguments.file)?;
    let model = resolve::model(terminal, &arguments.model)?;
    let mut sampler = Sampler::new(&model, arguments.length)?;
    let named = || arguments.file.display().to_string();
    sampler.samples(&examples).with_context(named)?;
    let counts = sampler.counts;
    let texts: Vec<String> = examples.iter().map(duplicates::text_of).collect();
    let within = duplicates::within(&texts, arguments.near);
    let leaks = match &arguments.test {
        Some(test) => {
            let test: Vec<String> = data::read(test)?.iter().map(duplicates::text_of).collect();
            duplicates::between(&texts, &test, arguments.near)
        }
        None => Vec::new(),
    };
    let leaked: BTreeSet<usize> = leaks.iter().map(|near| near.first).collect();
    let exact = within.iter().filter(|near| near.exact).count();
    let value = json!({
        "counts": counts,
        "exact_duplicates": exact,
        "near_duplicates": within.len() - exact,
        "duplicates": within,
        "leaks": leaks,
    });
    terminal.result(&value, |out| {
        let c = &counts;
        writeln!(
            out,
            "{} examples, {} tokens, {} learnt",
            c.examples, c.tokens, c.learnt
        )?;
        writeln!(
            out,
            "{} of which nothing is learnt, {} cut at {} tokens",
            c.empty, c.cut, arguments.length
        )?;
        writeln!(out, "{} said twice, {} nearly", exact, within.len() - exact)?;
        for near in within.iter().take(SHOWN) {
            writeln!(
                out,
                "  {} is {}like {}",
                near.second + 1,
                near.degree(),
                near.first + 1
            )?;
        }
        if arguments.test.is_some() {
            writeln!(out, "{} of the test set are among them", leaked.len())?;
        }
        for near in leaks.iter().take(SHOWN) {
            writeln!(
                out,
                "  {} is {}like {} of the test set",
                near.second + 1,
                near.degree(),
                near.first + 1
            )?;
        }
        Ok(())
    })?;
    ensure!(
        leaks.is_empty(),
        "{}: {} examples of the test set are among them; take them out",
        named(),
        leaked.len()
    );
    Ok(())
}
