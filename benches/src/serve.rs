//! An engine's side of the conversation: reads requests, runs them, answers.

use crate::process;
use crate::protocol::{Memory, Open, Reply, Request, Text};
use anyhow::{Context as _, Result, bail};
use std::io::{self, BufRead as _, Write as _};
use std::time::Instant;

/// An opened model with one session.
pub trait Engine: Sized {
    /// Opens a model and reserves a session.
    ///
    /// # Errors
    /// The file or the system does not allow it.
    fn open(open: &Open) -> Result<Self>;

    /// How it was built and what it uses.
    fn build(&self) -> String;

    /// Forgets all positions from `to` on.
    ///
    /// # Errors
    /// So far back it cannot go.
    fn rewind(&mut self, to: u32) -> Result<()>;

    /// Runs the tokens of some positions in one call, and reads the logits of the last.
    ///
    /// # Errors
    /// They cannot be run.
    fn run(&mut self, from: u32, count: u32) -> Result<()>;

    /// The perplexity of a text, and chunks scored.
    ///
    /// # Errors
    /// The model or the text does not allow it.
    fn perplexity(text: &Text) -> Result<(f64, u32)>;
}

/// Answers requests until there are no more.
///
/// # Errors
/// The conversation broke; what an engine fails with is an answer.
pub fn serve<E: Engine>() -> Result<()> {
    process::end_with_parent();
    let mut served = Served::<E>::default();
    for line in io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let reply = served
            .answer(&request)
            .unwrap_or_else(|error| Reply::Failed(format!("{error:#}")));
        served.memory = served.memory.max(process::memory());
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, &reply)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}

/// An engine and what is known of it.
struct Served<E> {
    engine: Option<E>,
    memory: Memory,
    /// The processors to compute on.
    processors: Vec<usize>,
    /// Positions that are filled.
    filled: u32,
}

impl<E> Default for Served<E> {
    fn default() -> Self {
        Served {
            engine: None,
            memory: Memory::default(),
            processors: Vec::new(),
            filled: 0,
        }
    }
}

impl<E: Engine> Served<E> {
    fn answer(&mut self, request: &Request) -> Result<Reply> {
        Ok(match request {
            Request::Open(open) => self.open(open)?,
            Request::Prefill(tokens) => Reply::Seconds(self.prefill(*tokens)?),
            Request::Decode { depth, tokens } => Reply::Seconds(self.decode(*depth, *tokens)?),
            Request::Memory => Reply::Memory(self.memory.max(process::memory())),
            Request::Perplexity(text) => {
                let (perplexity, chunks) = E::perplexity(text)?;
                Reply::Perplexity { perplexity, chunks }
            }
        })
    }

    fn open(&mut self, open: &Open) -> Result<Reply> {
        if self.engine.is_some() {
            bail!("a model is open already");
        }
        self.processors = process::processors(open.threads as usize);
        process::pin(0, &self.processors);
        let start = Instant::now();
        let engine = E::open(open)?;
        let seconds = start.elapsed().as_secs_f64();
        let build = engine.build();
        self.engine = Some(engine);
        Ok(Reply::Opened { seconds, build })
    }

    fn prefill(&mut self, tokens: u32) -> Result<f64> {
        self.go_back(0)?;
        let start = Instant::now();
        self.engine()?.run(0, tokens)?;
        let seconds = start.elapsed().as_secs_f64();
        self.filled = tokens;
        // Some engines start their threads with the first run.
        process::spread(&self.processors);
        Ok(seconds)
    }

    fn decode(&mut self, depth: u32, tokens: u32) -> Result<f64> {
        if self.filled != depth {
            self.go_back(0)?;
            if depth > 0 {
                self.engine()?.run(0, depth)?;
            }
        }
        let engine = self.engine()?;
        let start = Instant::now();
        for position in depth..depth + tokens {
            engine.run(position, 1)?;
        }
        let seconds = start.elapsed().as_secs_f64();
        self.go_back(depth)?;
        Ok(seconds)
    }

    fn go_back(&mut self, to: u32) -> Result<()> {
        self.engine()?.rewind(to)?;
        self.filled = to;
        Ok(())
    }

    fn engine(&mut self) -> Result<&mut E> {
        self.engine.as_mut().context("no model is open")
    }
}
