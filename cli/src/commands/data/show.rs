//! `inkstone data show`: examples as the model sees them, and what of them it learns.

use core::num::NonZeroUsize;
use std::io::{self, Write};
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use inkstone_engine::Model;
use inkstone_finetune::sample::Sampler;
use inkstone_finetune::{Sample, data};
use serde_json::json;

use crate::exit::Usage;
use crate::resolve;
use crate::terminal::{Terminal, visible};

/// Show examples as the model sees them, and what of them is learnt
///
/// What is learnt stands in green between the marks « and »; everything else is only read.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone data show examples.csv -m smollm2-135m -n 2")]
pub(crate) struct Arguments {
    /// Examples: JSON, JSONL, CSV or text
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The model whose template and tokenizer are used
    #[arg(short, long, value_name = "MODEL")]
    model: String,
    /// How many examples
    #[arg(short, value_name = "N", default_value_t = 1)]
    n: usize,
    /// The first one, counted from 1
    #[arg(long, value_name = "N", default_value = "1")]
    from: NonZeroUsize,
    /// Tokens of a sample, at most
    #[arg(long, value_name = "N", default_value_t = 512)]
    length: usize,
}

/// Shows.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let examples = data::read(&arguments.file)?;
    let model = resolve::model(terminal, &arguments.model)?;
    let sampler = Sampler::new(&model, arguments.length)?;
    let (from, all) = (arguments.from.get() - 1, examples.len());
    if from >= all {
        let file = arguments.file.display();
        return Err(Usage::error(format!("{file}: has {all} examples")));
    }
    let mut samples = Vec::new();
    for example in examples.iter().skip(from).take(arguments.n) {
        samples.extend(sampler.sample(example)?);
    }
    for sample in &mut samples {
        sampler.cut(sample);
    }
    let value: Vec<_> = samples
        .iter()
        .map(|s| json!({"tokens": s.tokens, "learnt": s.learnt, "labels": s.labels()}))
        .collect();
    terminal.result(&value, |out| {
        samples
            .iter()
            .try_for_each(|sample| show(&model, sample, out))
    })
}

fn show(model: &Model, sample: &Sample, out: &mut dyn Write) -> io::Result<()> {
    let green = Style::new().fg_color(Some(AnsiColor::Green.into()));
    let tokenizer = model.tokenizer();
    let mut at = 0;
    while at < sample.tokens.len() {
        let learnt = sample.learnt[at];
        let end = at
            + sample.learnt[at..]
                .iter()
                .take_while(|l| **l == learnt)
                .count();
        let bytes: Vec<u8> = sample.tokens[at..end]
            .iter()
            .flat_map(|token| tokenizer.token_bytes(*token).unwrap_or_default().to_vec())
            .collect();
        let text = visible(&String::from_utf8_lossy(&bytes));
        if learnt {
            write!(out, "{green}«{text}»{green:#}")?;
        } else {
            write!(out, "{text}")?;
        }
        at = end;
    }
    writeln!(
        out,
        "\n{} tokens, {} learnt",
        sample.tokens.len(),
        sample.labels()
    )
}
