//! `inkstone tokenize`: text to token ids, and back.

use std::io::{self, Read, Write};

use anyhow::{Context, bail};
use clap::Args;
use inkstone_engine::text::{Detokenizer, Options, Tokenizer};
use serde_json::{Value, json};

use crate::exit::Usage;
use crate::resolve;
use crate::terminal::Terminal;
use crate::text_side::tokenizer_section;

/// Turn text on stdin into token ids, or ids into text
///
/// SOURCE is a model, a vocabulary-only GGUF, a tokenizer.json or a SentencePiece .model. Nothing is added to the
/// text, its last newline included.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone tokenize smollm2-135m --json < README.md")]
pub(crate) struct Arguments {
    /// Whose tokenizer
    source: String,
    /// Names of control tokens in the text become the tokens; with --decode, tokens show their names
    #[arg(long)]
    special: bool,
    /// Add the tokens that begin and end a text, where the tokenizer does so
    #[arg(long, conflicts_with = "decode")]
    add_special: bool,
    /// Read ids (`1 2 3`, `[1,2,3]` or `{"ids": [1,2,3]}`), write their text
    #[arg(long)]
    decode: bool,
}

/// Tokenises or decodes stdin.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let path = resolve::source(terminal, &arguments.source)?;
    let section = tokenizer_section(&path)?;
    let tokenizer = Tokenizer::parse(&section).context(arguments.source.clone())?;
    let mut input = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut input)
        .context("stdin")?;
    if arguments.decode {
        decode(arguments, terminal, tokenizer, &input)
    } else {
        encode(arguments, terminal, tokenizer, &input)
    }
}

fn encode(
    arguments: &Arguments,
    terminal: &Terminal,
    tokenizer: Tokenizer<'_>,
    input: &[u8],
) -> anyhow::Result<()> {
    let text = core::str::from_utf8(input).context("stdin: not UTF-8")?;
    let added = (!arguments.add_special).then_some(false);
    let options = Options {
        parse_special: arguments.special,
        add_bos: added,
        add_eos: added,
    };
    let mut ids = Vec::new();
    tokenizer.encode(text, options, &mut ids);
    if terminal.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &json!({ "ids": ids })).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let words: Vec<String> = ids.iter().map(u32::to_string).collect();
    terminal.result(&ids, |out| writeln!(out, "{}", words.join(" ")))
}

fn decode(
    arguments: &Arguments,
    terminal: &Terminal,
    tokenizer: Tokenizer<'_>,
    input: &[u8],
) -> anyhow::Result<()> {
    let ids = ids(core::str::from_utf8(input).context("stdin: not UTF-8")?)?;
    if let Some(id) = ids.iter().find(|id| tokenizer.token_bytes(**id).is_none()) {
        bail!(
            "stdin: token {id} is not of the vocabulary of {}",
            tokenizer.len()
        );
    }
    let mut detokenizer = Detokenizer::new(tokenizer);
    if arguments.special {
        detokenizer = detokenizer.showing_special();
    }
    let mut text = String::new();
    let written = ids
        .iter()
        .try_for_each(|&id| detokenizer.push(id, &mut text));
    written
        .and_then(|()| detokenizer.finish(&mut text))
        .expect("writing to a string does not fail");
    terminal.result(&json!({ "text": text }), |out| {
        out.write_all(text.as_bytes())
    })
}

/// Reads ids as this command prints them, and as people write them.
fn ids(text: &str) -> anyhow::Result<Vec<u32>> {
    let malformed =
        || Usage::error("stdin: write ids as `1 2 3`, `[1,2,3]` or `{\"ids\": [1,2,3]}`");
    let list = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object.get("ids").cloned().ok_or_else(malformed)?,
        Ok(list @ Value::Array(_)) => list,
        _ => {
            let words = text
                .split(|c: char| c.is_whitespace() || c == ',')
                .filter(|w| !w.is_empty());
            return words
                .map(|word| word.parse().map_err(|_| malformed()))
                .collect();
        }
    };
    serde_json::from_value(list).map_err(|_| malformed())
}
