//! `inkstone embed`: texts as vectors.

use std::io::{self, Write};

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
/// Each TEXT, or each line of stdin as it comes, becomes a line of numbers: what the model's final norm gives of its
/// tokens, pooled, of length 1. A model that was not trained for it tells little.
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

/// Characters of a text that an error names it by.
const SHOWN: usize = 40;

/// Embeds.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let mut texts = texts(arguments.texts).peekable();
    if texts.peek().is_none() {
        return Err(Usage::error("no TEXT was given, and stdin has no line"));
    }
    let model = arguments.session.model(terminal, arguments.model.name()?)?;
    let config = SessionConfig {
        embeddings: true,
        ..arguments.session.config()
    };
    let mut session = model.session(&config)?;
    interrupt::cancels(session.canceller());
    let pooling = named(POOLINGS, &arguments.pooling);
    let mut values = Vec::new();
    for text in texts {
        let text = text.context("stdin")?;
        let tokens = model.encode(&text);
        let mut vector = vec![0.0; model.spec().width as usize];
        session
            .embed(&tokens, pooling, !arguments.raw, &mut vector)
            .with_context(|| {
                let mut begin: String = text.chars().take(SHOWN).collect();
                if begin.len() < text.len() {
                    begin.push('…');
                }
                format!("`{begin}`")
            })?;
        if terminal.json {
            values.push(json!({ "text": text, "tokens": tokens.len(), "embedding": vector }));
        } else {
            let numbers: Vec<String> = vector.iter().map(f32::to_string).collect();
            writeln!(anstream::stdout(), "{}", numbers.join(" "))?;
        }
    }
    terminal.result(&json!({ "embeddings": values }), |_| Ok(()))
}

/// Those that were given, else the lines of stdin that are not empty, as they come.
fn texts(given: Vec<String>) -> Box<dyn Iterator<Item = io::Result<String>>> {
    if !given.is_empty() {
        return Box::new(given.into_iter().map(Ok));
    }
    let empty = |line: &io::Result<String>| line.as_ref().is_ok_and(|line| line.trim().is_empty());
    Box::new(io::stdin().lines().filter(move |line| !empty(line)))
}
