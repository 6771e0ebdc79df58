//! An answer as it comes.

use core::time::Duration;
use std::sync::{Arc, Mutex};

use inkstone_engine as engine;
use inkstone_engine::Generation;

use crate::error::{Result, lock};
use crate::session::Session;

/// An answer of a session, pulled piece by piece.
#[derive(uniffi::Object)]
pub struct Answer {
    session: Arc<Session>,
    state: Mutex<State>,
}

struct State {
    generation: Generation,
    text: Vec<u8>,
    /// Its last piece was given.
    over: bool,
}

/// What a step of an answer came to.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Enum)]
pub enum Piece {
    /// A chunk of what was fed has been run.
    Prompt {
        /// Tokens run.
        done: u32,
        /// Tokens in the sequence.
        total: u32,
    },
    /// A token was drawn.
    Token {
        /// The token.
        token: u32,
        /// Text that is certain by now, in whole characters; may be empty.
        text: String,
    },
    /// The context was full.
    Shifted {
        /// Tokens dropped.
        dropped: u32,
    },
    /// The answer is over.
    Finished {
        /// Why.
        finish: Finish,
        /// Its last text; may be empty.
        text: String,
    },
}

/// Why an answer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, uniffi::Enum)]
pub enum Finish {
    /// A stop token was drawn, or the grammar ended.
    Stop,
    /// A stop text was met.
    StopText,
    /// The limit was reached.
    Limit,
    /// The context is full.
    ContextFull,
    /// It was cancelled.
    Cancelled,
    /// Nothing had been fed.
    Idle,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, uniffi::Record)]
pub struct Stats {
    /// Tokens run before the first was drawn.
    pub prompt_tokens: u32,
    /// Tokens drawn, a stop token included.
    pub tokens: u32,
    /// From the first call until the first token was drawn.
    pub first: Duration,
    /// From the first token until the last.
    pub rest: Duration,
    /// Prompt tokens a second.
    pub prompt_rate: f64,
    /// Tokens a second, the first one aside.
    pub token_rate: f64,
    /// Tokens that were run as guesses.
    pub drafted: u32,
    /// Those of them that were drawn.
    pub accepted: u32,
    /// Energy that the machine's processors have drawn meanwhile, where the system tells.
    pub joules: Option<f64>,
}

#[uniffi::export]
impl Answer {
    /// Computes the next piece; nothing after the one that says how it ended.
    pub fn next(&self) -> Result<Option<Piece>> {
        // In this order everywhere: the session, then what draws from it.
        let mut session = lock(self.session.engine())?;
        let mut state = lock(&self.state)?;
        let state = &mut *state;
        if state.over {
            return Ok(None);
        }
        state.text.clear();
        let piece = state.generation.next(&mut session, &mut state.text)?;
        state.over = matches!(piece, engine::Piece::Finished(_));
        Ok(Some(told(piece, &state.text)))
    }

    /// What it took so far.
    pub fn stats(&self) -> Result<Stats> {
        let stats = lock(&self.state)?.generation.stats();
        Ok(Stats {
            prompt_tokens: stats.prompt_tokens,
            tokens: stats.tokens,
            first: stats.first,
            rest: stats.rest,
            prompt_rate: stats.prompt_rate(),
            token_rate: stats.token_rate(),
            drafted: stats.drafted,
            accepted: stats.accepted,
            joules: stats.joules,
        })
    }
}

impl Answer {
    pub(crate) fn new(session: Arc<Session>, generation: Generation) -> Arc<Answer> {
        let state = Mutex::new(State {
            generation,
            text: Vec::new(),
            over: false,
        });
        Arc::new(Answer { session, state })
    }
}

fn told(piece: engine::Piece, text: &[u8]) -> Piece {
    let text = String::from_utf8_lossy(text).into_owned();
    match piece {
        engine::Piece::Prompt { done, total } => Piece::Prompt { done, total },
        engine::Piece::Token(token) => Piece::Token { token, text },
        engine::Piece::Shifted { dropped } => Piece::Shifted { dropped },
        engine::Piece::Finished(finish) => Piece::Finished {
            finish: finish.into(),
            text,
        },
    }
}

impl From<engine::Finish> for Finish {
    fn from(finish: engine::Finish) -> Finish {
        match finish {
            engine::Finish::Stop(_) => Finish::Stop,
            engine::Finish::StopText(_) => Finish::StopText,
            engine::Finish::Limit => Finish::Limit,
            engine::Finish::ContextFull => Finish::ContextFull,
            engine::Finish::Cancelled => Finish::Cancelled,
            engine::Finish::Idle => Finish::Idle,
        }
    }
}
