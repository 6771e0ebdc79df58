//! Several sequences of one model that take their steps together, so that each weight is read once for all of them.

use std::sync::{Mutex, PoisonError};
use std::thread;

use inkstone_model::{Backend, Batch, Fault, Place, Places, SessionError, Wanted};

use crate::cancel::Canceller;
use crate::config::{Plan, SessionConfig};
use crate::device::{Lent, Running};
use crate::error::{Error, ErrorKind, Result};
use crate::generation::Finish;
use crate::model::Model;
use crate::sampler::{Limits, Params, Sampler};
use crate::speculation::Speculation;

/// Sequences side by side, each drawn from as a [`Session`](crate::Session) of its own would be: the same tokens, since
/// rows of a batch have the bits that they have alone.
pub struct Sequences {
    backend: Running,
    model: Model,
    plan: Plan,
    canceller: Canceller,
    all: Vec<Sequence>,
    /// Of the next run.
    tokens: Vec<u32>,
    places: Vec<Place>,
    /// Of the last one.
    drawn: Vec<Drawn>,
}

struct Sequence {
    tokens: Vec<u32>,
    /// Tokens that have been run.
    done: usize,
    sampler: Sampler,
    /// Whether tokens are drawn for it.
    going: bool,
}

/// A token that was drawn and stands at the end of its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// Which sequence.
    pub sequence: u32,
    /// The token.
    pub token: u32,
    /// Why it is the sequence's last, if it is: a stop token of the model, or the context is full.
    pub end: Option<Finish>,
}

impl Model {
    /// Reserves `count` sequences, all their memory and threads. Nothing is guessed ahead.
    ///
    /// # Errors
    /// As [`Self::session`].
    pub fn sequences(&self, config: &SessionConfig, count: u32) -> Result<Sequences> {
        let config = SessionConfig {
            batch: config.batch.max(count),
            speculation: Speculation::Off,
            draft: None,
            embeddings: false,
            ..config.clone()
        };
        let plan = self.plan_for(&config, count)?;
        let backend = plan
            .device
            .open(self, &plan, config.isa.as_deref(), Lent::default())?;
        let context = plan.config.context as usize;
        let limits = Limits {
            vocabulary: self.spec().vocabulary as usize,
            history: context,
        };
        let sequence = || {
            Ok(Sequence {
                tokens: Vec::with_capacity(context),
                done: 0,
                sampler: Sampler::new(&Params::default(), limits)?,
                going: false,
            })
        };
        Ok(Sequences {
            backend,
            model: self.clone(),
            plan,
            canceller: Canceller::default(),
            all: (0..count).map(|_| sequence()).collect::<Result<_>>()?,
            tokens: Vec::with_capacity(count as usize),
            places: Vec::with_capacity(count as usize),
            drawn: Vec::with_capacity(count as usize),
        })
    }
}

impl Sequences {
    /// What they have reserved.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        self.all.len() as u32
    }

    /// A sequence for which nothing is drawn.
    pub fn idle(&self) -> Option<u32> {
        self.all.iter().position(|s| !s.going).map(|s| s as u32)
    }

    /// Tokens of a sequence, fed and drawn.
    pub fn tokens(&self, sequence: u32) -> &[u32] {
        &self.all[sequence as usize].tokens
    }

    /// What stops the steps, from any thread.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Makes `tokens` the whole of a sequence, of which the next steps draw by `params`; nothing is computed.
    ///
    /// # Errors
    /// [`ErrorKind::ContextFull`], [`ErrorKind::Invalid`] for no token, one beyond the vocabulary or a parameter; the
    /// sequence is then as it was.
    pub fn begin(&mut self, sequence: u32, tokens: &[u32], params: &Params) -> Result<()> {
        let (context, vocabulary) = (
            self.plan.config.context as usize,
            self.model.spec().vocabulary,
        );
        if tokens.is_empty() {
            return Err(Error::text(
                ErrorKind::Invalid,
                "a sequence begins with a token",
            ));
        }
        if tokens.len() >= context {
            let wanted = tokens.len() + 1;
            return Err(SessionError::ContextFull { context, wanted }.into());
        }
        if let Some(&token) = tokens.iter().find(|&&token| token >= vocabulary) {
            return Err(SessionError::NoSuchToken { token, vocabulary }.into());
        }
        let limits = Limits {
            vocabulary: vocabulary as usize,
            history: context,
        };
        let place = &mut self.all[sequence as usize];
        if place.sampler.params() == params {
            place.sampler.reset();
        } else {
            place.sampler = Sampler::new(params, limits)?;
        }
        tokens.iter().for_each(|&token| place.sampler.accept(token));
        place.tokens.clear();
        place.tokens.extend_from_slice(tokens);
        (place.done, place.going) = (0, true);
        Ok(())
    }

    /// Draws no more tokens for a sequence.
    pub fn end(&mut self, sequence: u32) {
        self.all[sequence as usize].going = false;
    }

    /// Runs the next chunk of one that has more than a token queued, or else the last token of all; draws what follows
    /// wherever all of a sequence is run. `None` where nothing is to be run.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`], [`ErrorKind::NotFinite`]: everything stands as before.
    pub fn step(&mut self) -> Result<Option<&[Drawn]>> {
        self.drawn.clear();
        if self.canceller.reset() {
            return Err(SessionError::Fault(Fault::Cancelled).into());
        }
        let waiting = |s: &Sequence| s.going && s.tokens.len() > s.done + 1;
        if let Some(index) = self.all.iter().position(waiting) {
            self.chunk(index)?;
        } else {
            self.together()?;
            if self.places.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(&self.drawn))
    }

    /// Runs the next chunk of a sequence alone: attention over a prompt shares the work of its tokens.
    fn chunk(&mut self, index: usize) -> Result<()> {
        let sequence = &self.all[index];
        let (start, fed) = (sequence.done, sequence.tokens.len());
        let end = fed.min(start + self.plan.config.batch as usize);
        let wanted = if end == fed {
            Wanted::Last
        } else {
            Wanted::None
        };
        let place = Place {
            sequence: index as u32,
            position: start as u32,
        };
        let tokens = &sequence.tokens[start..end];
        let stop = Some(self.canceller.flag());
        let run = self.backend.run(&Batch {
            tokens,
            places: Places::From(place),
            wanted,
            stop,
        });
        self.heard(run)?;
        self.all[index].done = end;
        if end == fed {
            let logits = self.backend.logits(0..1);
            self.all[index].draw(logits);
            self.tell(index);
        }
        Ok(())
    }

    /// Runs the last token of every sequence.
    fn together(&mut self) -> Result<()> {
        self.tokens.clear();
        self.places.clear();
        for (index, sequence) in self.all.iter().enumerate().filter(|(_, s)| s.going) {
            self.tokens.extend(sequence.tokens.last());
            self.places.push(Place {
                sequence: index as u32,
                position: sequence.done as u32,
            });
        }
        if self.places.is_empty() {
            return Ok(());
        }
        let run = self.backend.run(&Batch {
            tokens: &self.tokens,
            places: Places::Each(&self.places),
            wanted: Wanted::All,
            stop: Some(self.canceller.flag()),
        });
        self.heard(run)?;
        self.draw();
        for row in 0..self.places.len() {
            let index = self.places[row].sequence as usize;
            self.all[index].done += 1;
            self.tell(index);
        }
        Ok(())
    }

    /// Draws the next token of all that go on, each by its row of logits, on as many threads as the plan has.
    fn draw(&mut self) {
        let rows = self.places.len();
        let logits = self.backend.logits(0..rows);
        let each = logits.chunks(self.model.spec().vocabulary as usize);
        let work = Mutex::new(self.all.iter_mut().filter(|s| s.going).zip(each));
        let next = || work.lock().unwrap_or_else(PoisonError::into_inner).next();
        let draw = || {
            while let Some((sequence, logits)) = next() {
                sequence.draw(logits);
            }
        };
        thread::scope(|scope| {
            for _ in 1..rows.min(self.plan.config.threads as usize) {
                // The others do the share of one that cannot be had.
                let _ = thread::Builder::new().spawn_scoped(scope, draw);
            }
            draw();
        });
    }

    fn heard(&self, run: core::result::Result<(), Fault>) -> Result<()> {
        if run == Err(Fault::Cancelled) {
            self.canceller.reset();
        }
        run.map_err(|fault| SessionError::Fault(fault).into())
    }

    /// Adds what a sequence has drawn to what the step tells.
    fn tell(&mut self, index: usize) {
        let sequence = &mut self.all[index];
        let token = sequence.tokens[sequence.tokens.len() - 1];
        let end = if self.model.stops().contains(&token) {
            Some(Finish::Stop(token))
        } else if sequence.tokens.len() == self.plan.config.context as usize {
            Some(Finish::ContextFull)
        } else {
            None
        };
        sequence.going = end.is_none();
        self.drawn.push(Drawn {
            sequence: index as u32,
            token,
            end,
        });
    }
}

impl Sequence {
    /// Draws its next token from a row of logits.
    fn draw(&mut self, logits: &[f32]) {
        let token = self.sampler.sample(logits, self.tokens.len() as u64);
        self.sampler.accept(token);
        self.tokens.push(token);
    }
}
