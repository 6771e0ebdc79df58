//! `inkstone eval ppl`: perplexity of a text.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use inkstone_engine::hash::hex;
use inkstone_eval::perplexity::{Options, perplexity};
use serde_json::json;

use crate::arguments::{Model, Session};
use crate::files;
use crate::terminal::Terminal;

/// Perplexity of a text, counted as llama.cpp's llama-perplexity does
///
/// The text is cut into chunks of --context tokens, each begins with the token that begins texts, and the second half
/// of each is scored.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone eval ppl smollm2-135m --text wiki.test.txt --context 512 --chunks 40"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Model,
    /// The text, UTF-8
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Most chunks, from the beginning [default: all]
    #[arg(long, value_name = "N")]
    chunks: Option<u32>,
    #[command(flatten)]
    session: Session,
}

/// Measures.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let named = || arguments.text.display().to_string();
    let text = files::text(&arguments.text)?;
    let model = arguments.session.model(terminal, arguments.model.name()?)?;
    let options = Options {
        context: arguments
            .session
            .context
            .unwrap_or(Options::default().context),
        chunks: arguments.chunks,
    };
    let config = arguments.session.config();
    let report = perplexity(&model, &config, &text, &options, &mut |chunk| {
        terminal.note(format_args!(
            "chunk {} of {}: {:.4}",
            chunk.done, chunk.total, chunk.perplexity
        ));
    })
    .with_context(named)?;
    let value = json!({
        "perplexity": report.perplexity,
        "error": report.error,
        "nll": report.nll,
        "bits_per_byte": report.bits_per_byte,
        "tokens": report.tokens,
        "chunks": report.chunks,
        "context": report.context,
        "model": hex(&model.id()),
    });
    terminal.result(&value, |out| {
        writeln!(
            out,
            "perplexity {:.4} ± {:.4}, {:.4} bits a byte, over {} chunks of {}, {} tokens scored",
            report.perplexity,
            report.error,
            report.bits_per_byte,
            report.chunks,
            report.context,
            report.tokens
        )
    })
}
