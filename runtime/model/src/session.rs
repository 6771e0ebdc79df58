//! The heart of a session: tokens in, steps, logits out. No clock, no threads, no allocation.

use core::sync::atomic::AtomicBool;

use crate::backend::{Backend, Batch, Fault, Wanted};
use crate::plan::Plan;

/// A sequence of tokens and how far the backend has come with it.
///
/// `T` holds the tokens: room for [`Config::context`](crate::Config::context) of them.
pub struct Core<B, T> {
    backend: B,
    tokens: T,
    plan: Plan,
    fed: usize,
    done: usize,
    /// The furthest position ever written: rings forget what is too far behind it. Guesses are not counted: a batch
    /// of them is no longer than the plan's, for which rings have room beside what they promise.
    furthest: usize,
    /// The first place behind what the caches hold of the tokens' buffer: behind `done`, guesses that have been run.
    ahead: usize,
    /// The position of row 0 of the last run's logits, where every row was wanted.
    first_row: usize,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do: feed tokens.
    Idle,
    /// A chunk was run; more are waiting.
    More {
        /// Tokens behind us.
        done: usize,
        /// Tokens fed.
        fed: usize,
    },
    /// The logits of the last token fed are there.
    Ready,
}

/// Why a session refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionError {
    /// The context has no room for these tokens.
    ContextFull {
        /// Positions the session can hold.
        context: usize,
        /// Positions these tokens would need.
        wanted: usize,
    },
    /// A token is not of the vocabulary.
    NoSuchToken {
        /// The token.
        token: u32,
        /// Tokens of the vocabulary.
        vocabulary: u32,
    },
    /// Going back further than the rings of windowed layers hold.
    RewindTooFar {
        /// The position asked for.
        to: usize,
        /// The earliest position that can be had.
        earliest: usize,
    },
    /// The backend gave up.
    Fault(Fault),
}

impl core::fmt::Display for SessionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            SessionError::ContextFull { context, wanted } => {
                write!(f, "the context holds {context} tokens, {wanted} are needed")
            }
            SessionError::NoSuchToken { token, vocabulary } => {
                write!(f, "token {token} is not of the vocabulary of {vocabulary}")
            }
            SessionError::RewindTooFar { to, earliest } => {
                write!(
                    f,
                    "cannot go back to position {to}, the windows hold {earliest} and later"
                )
            }
            SessionError::Fault(fault) => fault.fmt(f),
        }
    }
}

impl core::error::Error for SessionError {}

impl From<Fault> for SessionError {
    fn from(fault: Fault) -> Self {
        SessionError::Fault(fault)
    }
}

impl<B: Backend, T: AsRef<[u32]> + AsMut<[u32]>> Core<B, T> {
    /// An empty session. `tokens` holds at least the plan's context, else the context is what it holds.
    pub fn new(backend: B, tokens: T, plan: Plan) -> Core<B, T> {
        Core {
            backend,
            tokens,
            plan,
            fed: 0,
            done: 0,
            furthest: 0,
            ahead: 0,
            first_row: 0,
        }
    }

    /// Positions this session can hold.
    pub fn context(&self) -> usize {
        self.tokens
            .as_ref()
            .len()
            .min(self.plan.config.context as usize)
    }

    /// The plan it was made from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Every token fed.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens.as_ref()[..self.fed]
    }

    /// Tokens the backend has run.
    pub fn done(&self) -> usize {
        self.done
    }

    /// The backend.
    pub fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Queues tokens; nothing is computed.
    ///
    /// # Errors
    /// No room, or a token beyond the vocabulary; then nothing was queued.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<(), SessionError> {
        let (context, vocabulary) = (self.context(), self.plan.spec.vocabulary);
        let wanted = self.fed.saturating_add(tokens.len());
        if wanted > context {
            return Err(SessionError::ContextFull { context, wanted });
        }
        if let Some(&token) = tokens.iter().find(|&&t| t >= vocabulary) {
            return Err(SessionError::NoSuchToken { token, vocabulary });
        }
        let places = self.tokens.as_mut()[self.fed..wanted].iter_mut();
        for (index, (place, &token)) in places.zip(tokens).enumerate() {
            if *place != token {
                self.ahead = self.ahead.min(self.fed + index);
            }
            *place = token;
        }
        self.fed = wanted;
        Ok(())
    }

    /// Runs the next chunk, of at most `chunk` tokens and the plan's batch; logits follow the last one.
    ///
    /// # Errors
    /// A fault; the session then stands where it stood before.
    pub fn step(&mut self, chunk: usize, stop: Option<&AtomicBool>) -> Result<Step, SessionError> {
        self.advance(
            chunk,
            stop,
            |last| if last { Wanted::Last } else { Wanted::None },
        )
    }

    /// As [`Self::step`], with the logits of every token of the chunk; at most the plan's rows of logits.
    ///
    /// # Errors
    /// A fault; the session then stands where it stood before.
    pub fn step_all(
        &mut self,
        chunk: usize,
        stop: Option<&AtomicBool>,
    ) -> Result<Step, SessionError> {
        self.advance(chunk.min(self.plan.config.logits as usize), stop, |_| {
            Wanted::All
        })
    }

    /// As [`Self::step`], with no logits: where the plan keeps none, the slot of the final norm then holds a row for
    /// each token of the chunk.
    ///
    /// # Errors
    /// A fault; the session then stands where it stood before.
    pub fn step_silent(
        &mut self,
        chunk: usize,
        stop: Option<&AtomicBool>,
    ) -> Result<Step, SessionError> {
        self.advance(chunk, stop, |_| Wanted::None)
    }

    /// Runs all that is queued, and behind it `guesses` at what may be fed next, with the logits of every token.
    ///
    /// The sequence is then as after [`Self::step`]; what is fed and was guessed need not be run again: see
    /// [`Self::guessed`].
    ///
    /// # Errors
    /// As [`Self::feed`] and [`Self::step`]; the session then stands where it stood before. All must fit a batch and
    /// the rows of logits.
    pub fn step_ahead(
        &mut self,
        guesses: &[u32],
        stop: Option<&AtomicBool>,
    ) -> Result<Step, SessionError> {
        let (start, fed) = (self.done, self.fed);
        if start == fed {
            return Ok(Step::Idle);
        }
        self.feed(guesses)?;
        let end = core::mem::replace(&mut self.fed, fed);
        self.ahead = 0;
        self.furthest = self.furthest.max(fed);
        self.backend.run(&Batch {
            tokens: &self.tokens.as_ref()[start..end],
            places: (start as u32).into(),
            wanted: Wanted::All,
            stop,
        })?;
        (self.done, self.ahead, self.first_row) = (fed, end, start);
        Ok(Step::Ready)
    }

    /// The guess at the next token to be fed, where one has been run.
    pub fn guess(&self) -> Option<u32> {
        (self.fed < self.ahead).then(|| self.tokens.as_ref()[self.fed])
    }

    /// Where all that is queued was guessed, counts it as run: the row of logits that follow the last token.
    pub fn guessed(&mut self) -> Option<usize> {
        if self.done == self.fed || self.fed > self.ahead {
            return None;
        }
        self.done = self.fed;
        self.furthest = self.furthest.max(self.fed);
        Some(self.fed - 1 - self.first_row)
    }

    fn advance(
        &mut self,
        chunk: usize,
        stop: Option<&AtomicBool>,
        wanted: impl Fn(bool) -> Wanted,
    ) -> Result<Step, SessionError> {
        let n = (self.fed - self.done)
            .min(chunk.max(1))
            .min(self.plan.config.batch as usize);
        if n == 0 {
            return Ok(Step::Idle);
        }
        let (start, end) = (self.done, self.done + n);
        let tokens = &self.tokens.as_ref()[start..end];
        // Even a run that fails has overwritten what the rings held so far behind.
        self.furthest = self.furthest.max(end);
        self.ahead = 0;
        let wanted = wanted(end == self.fed);
        self.backend.run(&Batch {
            tokens,
            places: (start as u32).into(),
            wanted,
            stop,
        })?;
        self.done = end;
        Ok(if end == self.fed {
            Step::Ready
        } else {
            Step::More {
                done: end,
                fed: self.fed,
            }
        })
    }

    /// Row `row` of the last step's logits: row 0 after [`Step::Ready`].
    pub fn logits(&mut self, row: usize) -> &mut [f32] {
        self.backend.logits(row..row + 1)
    }

    /// The earliest position that [`Self::rewind`] can go back to.
    pub fn earliest(&self) -> usize {
        if self.plan.ring {
            self.furthest
                .saturating_sub(self.plan.config.rewind as usize)
        } else {
            0
        }
    }

    /// Forgets all tokens from `position` on. Going back to 0 always works.
    ///
    /// # Errors
    /// Windowed layers hold no more than [`Config::rewind`](crate::Config::rewind) positions behind the furthest.
    pub fn rewind(&mut self, position: usize) -> Result<(), SessionError> {
        let earliest = self.earliest();
        if position != 0 && position < earliest.min(self.fed) {
            return Err(SessionError::RewindTooFar {
                to: position,
                earliest,
            });
        }
        if position == 0 {
            self.furthest = 0;
        }
        self.fed = self.fed.min(position);
        self.done = self.done.min(position);
        self.ahead = 0;
        Ok(())
    }

    /// Takes a saved state over: `tokens` that have been run and, from `source`, their caches.
    ///
    /// # Errors
    /// No room for the tokens or a token beyond the vocabulary. False when `source` ended early; the session is then
    /// empty.
    pub fn restore(
        &mut self,
        tokens: &[u32],
        source: &mut dyn FnMut(&mut [u8]) -> bool,
    ) -> Result<bool, SessionError> {
        self.rewind(0)?;
        self.feed(tokens)?;
        if !self.backend.load(tokens.len() as u32, source) {
            self.rewind(0)?;
            return Ok(false);
        }
        self.done = self.fed;
        self.furthest = self.fed;
        Ok(true)
    }
}
