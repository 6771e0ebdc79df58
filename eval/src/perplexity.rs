//! Perplexity of a text, by the rules of llama.cpp's `llama-perplexity`.
//!
//! The text is tokenised as a whole, with what begins a text where the vocabulary says so, and cut into chunks of
//! `context` tokens; what is left over is dropped. Where texts begin with a token, each chunk's first token becomes
//! that one. Each chunk is run on its own; of its tokens those after place `context / 2` are scored, each by the logits
//! of the token before it. The result is `exp` of the mean of their negative log-likelihoods.

use core::f64::consts::LOG2_E;
use core::fmt;

use inkstone_engine::math::exp;
use inkstone_engine::text::Options as TextOptions;
use inkstone_engine::{Model, Session, SessionConfig};

/// Bytes of logits that are kept at once.
const LOGITS_BYTES: u64 = 64 << 20;
/// Tokens that are run at once, at most.
const BATCH: u32 = 256;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Tokens of a chunk, at least 4.
    pub context: u32,
    /// Most chunks, from the beginning of the text; `None` for all.
    pub chunks: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            context: 512,
            chunks: None,
        }
    }
}

/// Where the measurement stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chunk {
    /// Chunks behind us.
    pub done: u32,
    /// Chunks in all.
    pub total: u32,
    /// Perplexity so far.
    pub perplexity: f64,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// `exp(nll)`.
    pub perplexity: f64,
    /// Standard error of the perplexity.
    pub error: f64,
    /// Mean negative log-likelihood of a scored token, natural logarithm.
    pub nll: f64,
    /// Bits that a byte of the scored tokens' text costs: models with other vocabularies can be compared by it.
    pub bits_per_byte: f64,
    /// Tokens scored.
    pub tokens: u64,
    /// Chunks run.
    pub chunks: u32,
    /// Tokens of a chunk.
    pub context: u32,
}

/// Why nothing was measured.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The model could not be run.
    Engine(inkstone_engine::Error),
    /// Chunks of so many tokens cannot be scored.
    Context(u32),
    /// No chunks were asked for.
    Chunks,
    /// The text has too few tokens for two chunks.
    TooShort {
        /// Tokens of the text.
        tokens: usize,
        /// Tokens wanted.
        wanted: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Engine(error) => error.fmt(f),
            Error::Context(n) => write!(
                f,
                "chunks of {n} tokens cannot be scored, at least 4 are needed"
            ),
            Error::Chunks => write!(f, "no chunks are to be scored"),
            Error::TooShort { tokens, wanted } => {
                write!(
                    f,
                    "the text has {tokens} tokens, two chunks need {wanted}: take a longer text or a smaller context"
                )
            }
        }
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Error::Engine(error) => error.source(),
            _ => None,
        }
    }
}

impl From<inkstone_engine::Error> for Error {
    fn from(error: inkstone_engine::Error) -> Error {
        Error::Engine(error)
    }
}

/// Measures the perplexity of `text`; `progress` hears of each chunk.
///
/// Context, batch and rows of logits are set here, all else is as `config` says.
///
/// # Errors
/// A text that is too short, and what running a model can fail with.
pub fn perplexity(
    model: &Model,
    config: &SessionConfig,
    text: &str,
    options: &Options,
    progress: &mut dyn FnMut(&Chunk),
) -> Result<Report, Error> {
    let context = options.context;
    if context < 4 {
        return Err(Error::Context(context));
    }
    let tokens = tokens(model, text);
    let (found, wanted) = (tokens.len(), 2 * context as usize);
    if found < wanted {
        return Err(Error::TooShort {
            tokens: found,
            wanted,
        });
    }
    let total = ((found / context as usize) as u32).min(options.chunks.unwrap_or(u32::MAX));
    if total == 0 {
        return Err(Error::Chunks);
    }
    let mut session = model.session(&sized(model, config, context))?;
    let mut sum = Sum::default();
    for (done, chunk) in (1..=total).zip(tokens.chunks(context as usize)) {
        score(&mut session, model, chunk, &mut sum)?;
        progress(&Chunk {
            done,
            total,
            perplexity: sum.mean().exp(),
        });
    }
    Ok(sum.report(total, context))
}

/// A model that says how probable texts are, one after the other.
pub struct Judge {
    model: Model,
    session: Session,
    most: usize,
}

impl Judge {
    /// Looks at the first `most` tokens of each text.
    ///
    /// # Errors
    /// The model cannot be run.
    pub fn new(model: &Model, config: &SessionConfig, most: u32) -> Result<Judge, Error> {
        Ok(Judge {
            model: model.clone(),
            session: model.session(&sized(model, config, most))?,
            most: most as usize,
        })
    }

    /// Perplexity of the beginning of a text, each token by all before it; `None` where there are fewer than two.
    ///
    /// # Errors
    /// The model fails.
    pub fn perplexity(&mut self, text: &str) -> Result<Option<f64>, Error> {
        let mut tokens = tokens(&self.model, text);
        tokens.truncate(self.most);
        if tokens.len() < 2 {
            return Ok(None);
        }
        self.session.rewind(0)?;
        self.session.feed(&tokens[..tokens.len() - 1])?;
        let mut sum = Sum::default();
        loop {
            let before = self.session.done() as usize;
            let rows = self.session.advance_all()? as usize;
            if rows == 0 {
                return Ok(Some(sum.mean().exp()));
            }
            for row in 0..rows {
                let next = tokens[before + row + 1] as usize;
                sum.add(cost(self.session.logits(row as u32), next));
            }
        }
    }
}

fn tokens(model: &Model, text: &str) -> Vec<u32> {
    let mut tokens = Vec::new();
    let options = TextOptions {
        add_eos: Some(false),
        ..TextOptions::default()
    };
    model.tokenizer().encode(text, options, &mut tokens);
    tokens
}

/// The configuration with room for a chunk and as many rows of logits as are sensible.
fn sized(model: &Model, config: &SessionConfig, context: u32) -> SessionConfig {
    let batch = context.min(BATCH);
    let rows = LOGITS_BYTES / (4 * u64::from(model.spec().vocabulary));
    SessionConfig {
        context: Some(context),
        batch,
        logits: u32::try_from(rows).unwrap_or(batch).clamp(1, batch),
        ..config.clone()
    }
}

/// Runs a chunk and adds what the second half's tokens cost.
fn score(session: &mut Session, model: &Model, chunk: &[u32], sum: &mut Sum) -> Result<(), Error> {
    let tokenizer = model.tokenizer();
    let first = chunk.len() / 2;
    session.rewind(0)?;
    match tokenizer.bos().filter(|_| tokenizer.adds_bos()) {
        Some(bos) => {
            session.feed(&[bos])?;
            session.feed(&chunk[1..first])?;
        }
        None => session.feed(&chunk[..first])?,
    }
    while (session.done() as usize) < first {
        session.advance()?;
    }
    // Nothing is scored by the last token's logits.
    session.feed(&chunk[first..chunk.len() - 1])?;
    loop {
        let before = session.done() as usize;
        let rows = session.advance_all()?;
        if rows == 0 {
            return Ok(());
        }
        for row in 0..rows {
            let next = chunk[before + row as usize + 1];
            sum.bytes += tokenizer.token_bytes(next).map_or(0, <[u8]>::len) as u64;
            sum.add(cost(session.logits(row), next as usize));
        }
    }
}

/// `−ln softmax(logits)[token]`: exponentials in f32, their sum and its logarithm in f64.
fn cost(logits: &[f32], token: usize) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for part in logits.chunks(64) {
        let mut powers = [0.0; 64];
        for (power, x) in powers.iter_mut().zip(part) {
            *power = exp(x - highest);
        }
        total += powers.iter().copied().map(f64::from).sum::<f64>();
    }
    total.ln() - f64::from(logits[token] - highest)
}

/// Costs so far.
#[derive(Default)]
struct Sum {
    costs: f64,
    squares: f64,
    tokens: u64,
    /// What the tokens stand for, where that is counted.
    bytes: u64,
}

impl Sum {
    fn add(&mut self, cost: f64) {
        self.costs += cost;
        self.squares += cost * cost;
        self.tokens += 1;
    }

    fn mean(&self) -> f64 {
        self.costs / self.tokens as f64
    }

    fn report(&self, chunks: u32, context: u32) -> Report {
        let nll = self.mean();
        let variance = (self.squares / self.tokens as f64 - nll * nll).max(0.0);
        let deviation = (variance / (self.tokens - 1).max(1) as f64).sqrt();
        let perplexity = nll.exp();
        Report {
            perplexity,
            error: deviation * perplexity,
            nll,
            bits_per_byte: self.costs * LOG2_E / self.bytes.max(1) as f64,
            tokens: self.tokens,
            chunks,
            context,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_negative_logarithms_of_the_softmax() {
        assert!((cost(&[0.0; 8], 3) - 8_f64.ln()).abs() < 1e-12);
        let logits = [1.0, 2.0, -1.0];
        let total: f64 = logits.iter().map(|&x: &f32| f64::from(x).exp()).sum();
        for (token, &x) in logits.iter().enumerate() {
            assert!((cost(&logits, token) - (total.ln() - f64::from(x))).abs() < 1e-6);
        }
        assert!(cost(&[1e30, -1e30], 0).abs() < 1e-12);
    }

    #[test]
    fn the_error_is_the_standard_error_of_the_mean_times_the_perplexity() {
        let mut sum = Sum::default();
        [1.0, 2.0, 3.0, 4.0]
            .into_iter()
            .for_each(|cost| sum.add(cost));
        let report = sum.report(1, 8);
        assert_eq!((report.nll, report.tokens), (2.5, 4));
        let expected = (1.25_f64 / 3.0).sqrt() * 2.5_f64.exp();
        assert!((report.error - expected).abs() < 1e-12);
    }
}
