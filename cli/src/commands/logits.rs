//! `inkstone logits`: the numbers behind the next token, or their hash.

use std::io::{self, BufWriter, Write};

use anyhow::bail;
use clap::Args;
use inkstone_engine::{LogitsHash, SessionConfig};
use serde_json::json;

use crate::arguments::{Model, Session};
use crate::exit::Usage;
use crate::terminal::Terminal;

/// Show the logits that follow a text, or their hash
///
/// The hash is equal wherever the numbers are: on every machine, with any number of threads, in chunks of any size.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone logits smollm2-135m --text \"Tea is\" --hash")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    what: What,
    /// The logits after every token, not only after the last
    #[arg(long)]
    all: bool,
    /// Print BLAKE3 of the logits only
    #[arg(long)]
    hash: bool,
    #[command(flatten)]
    session: Session,
}

/// What the model is given.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct What {
    /// This text; what begins a text is put before it where the tokenizer does so
    #[arg(long)]
    text: Option<String>,
    /// These tokens, and nothing else
    #[arg(long, value_name = "1,2,3", value_delimiter = ',')]
    tokens: Option<Vec<u32>>,
}

/// How many of the likeliest tokens are shown.
const SHOWN: usize = 10;

/// Computes and prints.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let model = arguments.session.model(terminal, arguments.model.name()?)?;
    let tokens = match (arguments.what.text, arguments.what.tokens) {
        (Some(text), _) => model.encode(&text),
        (_, tokens) => tokens.unwrap_or_default(),
    };
    if tokens.is_empty() {
        return Err(Usage::error(
            "there is nothing to compute: the text has no tokens",
        ));
    }
    let config = config(&arguments.session, tokens.len(), arguments.all);
    let mut session = model.session(&config)?;
    session.feed(&tokens)?;
    let mut sink: Box<dyn Sink> = match (arguments.hash, terminal.json) {
        (true, json) => Box::new(Hash {
            hash: LogitsHash::new(),
            tokens: tokens.clone(),
            json,
        }),
        (false, true) => Box::new(Json {
            out: BufWriter::new(io::stdout()),
            tokens: tokens.clone(),
        }),
        (false, false) => Box::new(Top {
            model: model.clone(),
            row: 0,
        }),
    };
    sink.begin()?;
    let mut done = 0;
    while done < tokens.len() {
        let rows = match arguments.all {
            true => session.advance_all()?,
            false => advance(&mut session)?,
        };
        if rows == 0 {
            bail!("the session ran {done} of {} tokens", tokens.len());
        }
        let kept = if arguments.all {
            0..rows
        } else {
            0..u32::from(session.done() as usize == tokens.len())
        };
        for row in kept {
            sink.row(session.logits(row))?;
        }
        done = session.done() as usize;
    }
    sink.end()
}

/// One chunk; how many tokens it ran.
fn advance(session: &mut inkstone_engine::Session) -> anyhow::Result<u32> {
    let before = session.done();
    session.advance()?;
    Ok(session.done() - before)
}

fn config(session: &Session, tokens: usize, all: bool) -> SessionConfig {
    let mut config = session.config();
    let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
    config.context.get_or_insert(tokens.max(64));
    config.batch = config.batch.min(tokens).max(1);
    config.logits = if all { config.batch } else { 1 };
    config
}

/// What becomes of rows of logits.
trait Sink {
    fn begin(&mut self) -> anyhow::Result<()>;
    fn row(&mut self, logits: &[f32]) -> anyhow::Result<()>;
    fn end(self: Box<Self>) -> anyhow::Result<()>;
}

struct Hash {
    hash: LogitsHash,
    tokens: Vec<u32>,
    json: bool,
}

impl Sink for Hash {
    fn begin(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn row(&mut self, logits: &[f32]) -> anyhow::Result<()> {
        self.hash.row(logits);
        Ok(())
    }

    fn end(self: Box<Self>) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        let hash = self.hash.finish().to_string();
        match self.json {
            true => writeln!(
                out,
                "{}",
                json!({"tokens": self.tokens, "rows": self.hash.rows(), "hash": hash})
            )?,
            false => writeln!(out, "{hash}")?,
        }
        Ok(())
    }
}

/// `{"tokens": […], "logits": [[…], …]}`, row by row, because a row is as long as the vocabulary.
struct Json {
    out: BufWriter<io::Stdout>,
    tokens: Vec<u32>,
}

impl Sink for Json {
    fn begin(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn row(&mut self, logits: &[f32]) -> anyhow::Result<()> {
        // With the first row, so that a failure before it prints nothing.
        let tokens = core::mem::take(&mut self.tokens);
        if tokens.is_empty() {
            self.out.write_all(b",")?;
        } else {
            write!(self.out, "{{\"tokens\":{},\"logits\":[", json!(tokens))?;
        }
        serde_json::to_writer(&mut self.out, logits).map_err(io::Error::from)?;
        Ok(())
    }

    fn end(mut self: Box<Self>) -> anyhow::Result<()> {
        writeln!(self.out, "]}}")?;
        Ok(self.out.flush()?)
    }
}

/// The likeliest tokens of each row.
struct Top {
    model: inkstone_engine::Model,
    row: usize,
}

impl Sink for Top {
    fn begin(&mut self) -> anyhow::Result<()> {
        Ok(writeln!(
            io::stdout(),
            "{:>4} {:>8} {:>12}  text",
            "row",
            "token",
            "logit"
        )?)
    }

    fn row(&mut self, logits: &[f32]) -> anyhow::Result<()> {
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let tokenizer = self.model.tokenizer();
        let mut out = io::stdout().lock();
        for &token in order.iter().take(SHOWN) {
            let text =
                String::from_utf8_lossy(tokenizer.token_bytes(token as u32).unwrap_or_default());
            writeln!(
                out,
                "{:>4} {token:>8} {:>12.6}  {:?}",
                self.row, logits[token], text
            )?;
        }
        self.row += 1;
        Ok(())
    }

    fn end(self: Box<Self>) -> anyhow::Result<()> {
        Ok(())
    }
}
