//! `inkstone embed`: texts as vectors.

use std::io::{self, Read};

use anyhow::Context;
use clap::Args;
use inkstone_engine::{POOLINGS, SessionConfig};
use serde_json::json;

use crate::arguments::{self, Model, named, names};
use crate::exit::Usage;
use crate::interrupt;
use crate::terminal::Terminal;

/// Turn texts into vectors, whose products say how alike they are
///
/// Each TEXT, or each line of stdin, becomes a line of numbers: what the model's final norm gives of its tokens,
/// pooled, of length 1. A model that was not trained for it tells little.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone embed smollm2-135m \"a cup of tea\" \"a pot of coffee\" --json"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Model,
    /// The texts
    #[arg(value_name = "TEXT")]
    texts: Vec<String>,
    /// How the vectors of tokens become one
    #[arg(long, value_name = "HOW", default_value = "mean", value_parser = names(POOLINGS))]
    pooling: String,
    /// Leave the vectors as long as they are
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    session: arguments::Session,
}

/// Embeds.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let texts = match arguments.texts.is_empty() {
        false => arguments.texts,
        true => lines()?,
    };
    let model = arguments.session.model(terminal, arguments.model.name()?)?;
    let config = SessionConfig {
        embeddings: true,
        ..arguments.session.config()
    };
    let mut session = model.session(&config)?;
    interrupt::cancels(session.canceller());
    let pooling = named(POOLINGS, &arguments.pooling);
    let mut rows = Vec::new();
    for text in &texts {
        let tokens = model.encode(text);
        let mut vector = vec![0.0; model.spec().width as usize];
        session
            .embed(&tokens, pooling, !arguments.raw, &mut vector)
            .with_context(|| format!("`{text}`"))?;
        rows.push((text, tokens.len(), vector));
    }
    let value = rows.iter().map(
        |(text, tokens, vector)| json!({ "text": text, "tokens": tokens, "embedding": vector }),
    );
    let value = json!({ "embeddings": value.collect::<Vec<_>>() });
    terminal.result(&value, |out| {
        for (_, _, vector) in &rows {
            let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
            writeln!(out, "{}", numbers.join(" "))?;
        }
        Ok(())
    })
}

/// The lines of stdin that are not empty.
fn lines() -> anyhow::Result<Vec<String>> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut text)
        .context("stdin")?;
    let lines: Vec<String> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect();
    match lines.is_empty() {
        true => Err(Usage::error("no TEXT was given, and stdin has no line")),
        false => Ok(lines),
    }
}
