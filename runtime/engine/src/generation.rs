//! Text from a session, piece by piece.

use core::fmt;
use core::time::Duration;
use std::time::Instant;

use inkstone_text::Unfinished;

use crate::energy::Meter;
use crate::error::{Error, ErrorKind, Result};
use crate::grammar::Constraint;
use crate::model::Model;
use crate::sampler::{Stops, in_vocabulary};
use crate::session::{Event, Session};
use crate::speculation::Guesses;

/// How an answer is made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Most tokens of the answer; `None` for no limit but the context's.
    pub limit: Option<u32>,
    /// Texts that end the answer and do not belong to it.
    pub stops: Vec<String>,
    /// Tokens that end the answer, beside the model's own.
    pub stop_ids: Vec<u32>,
    /// Goes on behind the model's own stop tokens: for measuring.
    pub ignore_stops: bool,
    /// Shows the names of control tokens.
    pub show_special: bool,
}

/// An answer as it comes. Allocates nothing after [`Generation::new`]; what it writes to is the caller's.
pub struct Generation {
    model: Model,
    unfinished: Unfinished,
    stops: Stops,
    limit: u32,
    ignore_stops: bool,
    constraint: Option<Constraint>,
    finish: Option<Finish>,
    clock: Clock,
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// A chunk of what was fed has been run.
    Prompt {
        /// Tokens run.
        done: u32,
        /// Tokens in the sequence.
        total: u32,
    },
    /// A token was drawn; its text, as far as it is certain, was appended.
    Token(u32),
    /// The context was full and this many tokens were dropped.
    Shifted {
        /// Tokens dropped.
        dropped: u32,
    },
    /// The answer is over, its last text was appended.
    Finished(Finish),
}

/// Why an answer is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// This stop token was drawn.
    Stop(u32),
    /// The text of this index of [`Options::stops`] was met.
    StopText(usize),
    /// [`Options::limit`] was reached.
    Limit,
    /// The context is full.
    ContextFull,
    /// It was cancelled.
    Cancelled,
    /// Nothing had been fed.
    Idle,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Stats {
    /// Tokens run before the first was drawn.
    pub prompt_tokens: u32,
    /// Tokens drawn, a stop token included.
    pub tokens: u32,
    /// From the first call until the first token was drawn; zero where none was.
    pub first: Duration,
    /// From the first token until the last.
    pub rest: Duration,
    /// Tokens that were run as guesses.
    pub drafted: u32,
    /// Those of them that were drawn.
    pub accepted: u32,
    /// Time that the grammar took, where there is one.
    pub grammar: Duration,
    /// Energy that all processors of the machine have drawn meanwhile, where the system tells.
    pub joules: Option<f64>,
}

impl Stats {
    /// Prompt tokens a second.
    pub fn prompt_rate(&self) -> f64 {
        rate(self.prompt_tokens, self.first)
    }

    /// Tokens a second, the first one aside.
    pub fn token_rate(&self) -> f64 {
        rate(self.tokens.saturating_sub(1), self.rest)
    }
}

fn rate(tokens: u32, time: Duration) -> f64 {
    if time.is_zero() {
        0.0
    } else {
        f64::from(tokens) / time.as_secs_f64()
    }
}

impl Generation {
    /// An answer by a session of `model` whose prompt has been fed.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a stop text that is empty or too long, or too many, and for a stop token that is not
    /// of the vocabulary.
    pub fn new(model: &Model, options: &Options) -> Result<Generation> {
        let vocabulary = model.spec().vocabulary as usize;
        for &id in &options.stop_ids {
            in_vocabulary("stop_ids", id, vocabulary)?;
        }
        let unfinished = Unfinished::default();
        Ok(Generation {
            model: model.clone(),
            unfinished: if options.show_special {
                unfinished.showing_special()
            } else {
                unfinished
            },
            stops: Stops::new(&options.stop_ids, &options.stops)?,
            limit: options.limit.unwrap_or(u32::MAX),
            ignore_stops: options.ignore_stops,
            constraint: None,
            finish: None,
            clock: Clock {
                meter: Meter::here(),
                ..Clock::default()
            },
        })
    }

    /// Holds the answer to a grammar, which then may allocate. The answer ends where the grammar ends.
    #[must_use]
    pub fn within(mut self, constraint: Constraint) -> Self {
        self.constraint = Some(constraint);
        self
    }

    /// One step of the session; text that is certain is appended to `out`, in whole characters of UTF-8.
    ///
    /// After [`Piece::Finished`] every call says the same again.
    ///
    /// # Errors
    /// As [`Session::step`], but for those that are a [`Finish`].
    pub fn next(&mut self, session: &mut Session, out: &mut Vec<u8>) -> Result<Piece> {
        if let Some(finish) = self.finish {
            return Ok(Piece::Finished(finish));
        }
        if self.clock.stats.tokens >= self.limit {
            return Ok(self.end(Finish::Limit, out));
        }
        self.clock.start(session);
        let event = match session.step_within(self.constraint.as_mut()) {
            Ok(event) => event,
            Err(error) => return self.failed(error, out),
        };
        Ok(match event {
            Event::Idle => self.end(Finish::Idle, out),
            Event::Progress { done, total } => Piece::Prompt { done, total },
            Event::Shifted { dropped } => Piece::Shifted { dropped },
            Event::Token(token) => self.token(session, token, out),
            Event::Stop(token) if self.ignore_stops => {
                session.go_on();
                self.token(session, token, out)
            }
            Event::Stop(token) => {
                self.clock.drawn(session);
                self.end(Finish::Stop(token), out)
            }
        })
    }

    /// Calls [`Self::next`] until the answer is over.
    ///
    /// # Errors
    /// As there.
    pub fn finish(&mut self, session: &mut Session, out: &mut Vec<u8>) -> Result<Finish> {
        loop {
            if let Piece::Finished(finish) = self.next(session, out)? {
                return Ok(finish);
            }
        }
    }

    /// What it took so far.
    pub fn stats(&self) -> Stats {
        let spent = self.constraint.as_ref().map(Constraint::spent);
        Stats {
            grammar: spent.unwrap_or_default(),
            ..self.clock.stats
        }
    }

    fn token(&mut self, session: &Session, token: u32, out: &mut Vec<u8>) -> Piece {
        self.clock.drawn(session);
        if self.stops.is_stop_id(token) {
            return self.end(Finish::Stop(token), out);
        }
        let mut sink = Sink {
            stops: &mut self.stops,
            out,
            met: None,
        };
        let tokenizer = self.model.tokenizer();
        let written = self.unfinished.push(tokenizer, token, &mut sink);
        let met = sink.met;
        // The sink fails only to end early once a stop text was met.
        debug_assert!(written.is_ok() || met.is_some());
        match met {
            Some(index) => self.over(Finish::StopText(index)),
            None => Piece::Token(token),
        }
    }

    fn failed(&mut self, error: Error, out: &mut Vec<u8>) -> Result<Piece> {
        match error.kind() {
            ErrorKind::ContextFull => Ok(self.end(Finish::ContextFull, out)),
            ErrorKind::Cancelled => Ok(self.end(Finish::Cancelled, out)),
            _ => Err(error),
        }
    }

    /// Ends the answer with what was held back: an incomplete character, a beginning of a stop text.
    fn end(&mut self, finish: Finish, out: &mut Vec<u8>) -> Piece {
        let mut sink = Sink {
            stops: &mut self.stops,
            out,
            met: None,
        };
        let _ = self.unfinished.finish(&mut sink);
        match sink.met {
            Some(index) => self.over(Finish::StopText(index)),
            None => {
                self.stops.finish(|bytes| out.extend_from_slice(bytes));
                self.over(finish)
            }
        }
    }

    fn over(&mut self, finish: Finish) -> Piece {
        self.clock.measure();
        self.finish = Some(finish);
        Piece::Finished(finish)
    }
}

/// Passes text on as far as no stop text can begin in it.
struct Sink<'a> {
    stops: &'a mut Stops,
    out: &'a mut Vec<u8>,
    met: Option<usize>,
}

impl fmt::Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.met.is_none() {
            self.met = self
                .stops
                .push(text.as_bytes(), |bytes| self.out.extend_from_slice(bytes));
        }
        if self.met.is_some() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

/// How often energy is measured at least, so that no counter begins again twice.
const MEASURE: Duration = Duration::from_secs(60);

/// Times what happens.
#[derive(Default)]
struct Clock {
    stats: Stats,
    started: Option<Start>,
    first: Option<Instant>,
    meter: Option<Meter>,
    /// When energy was last measured.
    measured: Option<Instant>,
}

/// How things stood at the first call.
struct Start {
    at: Instant,
    /// Tokens that had been run.
    done: u32,
    guesses: Guesses,
    /// What the meter said.
    joules: f64,
}

impl Clock {
    fn start(&mut self, session: &Session) {
        if self.started.is_some() {
            return;
        }
        let joules = self.meter.as_mut().and_then(Meter::joules);
        self.started = Some(Start {
            at: Instant::now(),
            done: session.done(),
            guesses: session.guesses(),
            joules: joules.unwrap_or_default(),
        });
    }

    fn drawn(&mut self, session: &Session) {
        let now = Instant::now();
        let stats = &mut self.stats;
        stats.tokens += 1;
        let Some(start) = &self.started else {
            return;
        };
        let guesses = session.guesses();
        stats.drafted = (guesses.drafted - start.guesses.drafted) as u32;
        stats.accepted = (guesses.accepted - start.guesses.accepted) as u32;
        let first = *self.first.get_or_insert_with(|| {
            stats.prompt_tokens = session.done().saturating_sub(start.done);
            stats.first = now - start.at;
            now
        });
        stats.rest = now - first;
        if now - self.measured.unwrap_or(start.at) > MEASURE {
            self.measure();
        }
    }

    fn measure(&mut self) {
        if let (Some(meter), Some(start)) = (&mut self.meter, &self.started) {
            self.stats.joules = meter.joules().map(|joules| joules - start.joules);
            self.measured = Some(Instant::now());
        }
    }
}
