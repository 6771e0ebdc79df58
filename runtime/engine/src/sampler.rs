//! The choice of the next token from logits: a table of samplers, applied in its order.
//!
//! Everything is f32 arithmetic in a stated order (sums in f64), with the project's own `exp` and `ln`; ties go to
//! the lower id. The token depends on the seed, the position, the logits and the history alone, on every machine.
//! All memory is reserved by [`Sampler::new`].

mod candidates;
mod mirostat;
mod noise;
mod params;
mod penalties;
mod stops;
mod table;
#[cfg(test)]
mod tests;
mod truncation;

use std::collections::VecDeque;

use candidates::Candidates;
use noise::Noise;

pub(crate) use params::in_vocabulary;
pub use params::{ParamError, Params};
pub use stops::Stops;
pub use table::{Parameter, Row, TABLE};

/// What a [`Sampler`] reserves memory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Tokens of the vocabulary; ids are below it.
    pub vocabulary: usize,
    /// The most recent tokens that penalties can see.
    pub history: usize,
}

/// Chooses tokens; one for each conversation.
#[derive(Debug, Clone)]
pub struct Sampler {
    params: Params,
    limits: Limits,
    candidates: Candidates,
    past: Past,
    surprise: mirostat::State,
}

/// The history and the scratch memory of what looks at it.
#[derive(Debug, Clone)]
struct Past {
    tokens: VecDeque<u32>,
    /// `(token, number)` pairs, one for each place of the history.
    pairs: Vec<(u32, u32)>,
    /// The history, newest first.
    newest_first: Vec<u32>,
}

/// What one sampler of the table works on.
struct Stage<'a> {
    candidates: &'a mut Candidates,
    past: &'a mut Past,
    surprise: &'a mut mirostat::State,
    params: &'a Params,
    noise: &'a Noise,
}

impl Sampler {
    /// Checks `params` and reserves all memory: 12 bytes for each token of the vocabulary, 16 for each of the history.
    ///
    /// # Errors
    ///
    /// The first parameter, in the order of [`TABLE`], that lies outside its range.
    pub fn new(params: &Params, limits: Limits) -> Result<Self, ParamError> {
        params.check(limits.vocabulary)?;
        Ok(Self {
            params: params.clone(),
            limits,
            candidates: Candidates::with_capacity(limits.vocabulary),
            past: Past::with_capacity(limits.history),
            surprise: mirostat::State::new(params.mirostat_tau),
        })
    }

    /// Chooses the token that follows the accepted ones; `position` is its place in the sequence.
    ///
    /// `logits` holds one number for each token; what lies beyond the vocabulary is not looked at. Tokens of logit
    /// −∞ or NaN are never chosen while others are there. Changes nothing that a second call would see.
    pub fn sample(&mut self, logits: &[f32], position: u64) -> u32 {
        let logits = &logits[..logits.len().min(self.limits.vocabulary)];
        let mut active = TABLE
            .iter()
            .filter(|row| (row.active)(&self.params))
            .peekable();
        if active
            .peek()
            .is_some_and(|row| row.name == table::GREEDY.name)
        {
            return candidates::best(logits);
        }
        self.candidates.load(logits);
        let noise = Noise::new(self.params.seed, position);
        for row in active {
            (row.apply)(&mut Stage {
                candidates: &mut self.candidates,
                past: &mut self.past,
                surprise: &mut self.surprise,
                params: &self.params,
                noise: &noise,
            });
        }
        let token = self.candidates.draw(noise.token());
        self.surprise.expect(token, &self.candidates);
        token
    }

    /// Takes note that `token` stands in the sequence, be it sampled or from the prompt.
    pub fn accept(&mut self, token: u32) {
        self.past.push(token, self.limits.history);
        self.surprise.accept(token, &self.params);
    }

    /// Forgets the history, as after [`Sampler::new`].
    pub fn reset(&mut self) {
        self.past.tokens.clear();
        self.surprise = mirostat::State::new(self.params.mirostat_tau);
    }

    /// The parameters in force.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// The accepted tokens that are remembered, oldest first.
    pub fn history(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.past.tokens.iter().copied()
    }

    /// Mirostat's running bound on surprise in bits; with [`Sampler::history`] the whole state to be saved.
    #[must_use]
    pub const fn mirostat_mu(&self) -> f32 {
        self.surprise.mu()
    }

    /// Takes up a saved state; of `history`, oldest first, the newest tokens that fit.
    pub fn restore(&mut self, history: impl IntoIterator<Item = u32>, mirostat_mu: f32) {
        self.reset();
        history
            .into_iter()
            .for_each(|token| self.past.push(token, self.limits.history));
        self.surprise.set_mu(mirostat_mu);
    }
}

impl Past {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            tokens: VecDeque::with_capacity(capacity),
            pairs: Vec::with_capacity(capacity),
            newest_first: Vec::with_capacity(capacity),
        }
    }

    fn push(&mut self, token: u32, capacity: usize) {
        if capacity == 0 {
            return;
        }
        if self.tokens.len() == capacity {
            self.tokens.pop_front();
        }
        self.tokens.push_back(token);
    }
}
