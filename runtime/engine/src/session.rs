//! A sequence of tokens and what follows it, in memory that is reserved once.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::fs;
use std::io::BufReader;
use std::path::Path;
use std::thread;
use std::time::Instant;

use inkstone_model::{Core, Fault, SessionError, Step};

use crate::cancel::Canceller;
use crate::config::{Full, Plan, SessionConfig};
use crate::device::{Lent, Running};
use crate::energy::Meter;
use crate::error::{Error, ErrorKind, Result};
use crate::governor::{CAPS, Caps, Conditions, Governor};
use crate::grammar::Constraint;
use crate::model::Model;
use crate::sampler::{Limits, Params, Sampler};
use crate::speculation::{Guesses, Speculator};
use crate::{atomic, snapshot};

/// Rests are cut into parts, for cancelling to be heard in between.
const REST: Duration = Duration::from_millis(10);

/// A sequence of tokens on a device. Pull style: what is fed is run, and followed, by [`step`](Session::step).
pub struct Session {
    pub(crate) core: Core<Running, Vec<u32>>,
    pub(crate) sampler: Sampler,
    pub(crate) model: Model,
    pub(crate) plan: Plan,
    /// Room for the tokens of a context while they are put together again.
    pub(crate) spare: Vec<u32>,
    /// Room for what the final norm gives of a token, where that is read.
    pub(crate) row: Vec<f32>,
    /// Tokens that shifts have dropped.
    pub(crate) dropped: u64,
    /// Positions below this one cannot be gone back to, other than 0: a loaded state does not hold them.
    pub(crate) floor: usize,
    pub(crate) config: SessionConfig,
    canceller: Canceller,
    /// The row of logits that follow the last token, where they are there.
    ready: Option<usize>,
    /// The device's row that is row 0 to whoever asks: another one where a guess came true.
    first_row: usize,
    /// A stop token was drawn and nothing fed since.
    stopped: bool,
    speculator: Option<Speculator>,
    governor: Option<Governor>,
}

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Nothing to do: feed tokens.
    Idle,
    /// A chunk of what was fed has been run.
    Progress {
        /// Tokens run.
        done: u32,
        /// Tokens in the sequence.
        total: u32,
    },
    /// A token was drawn and stands at the end of the sequence.
    Token(u32),
    /// A stop token of the model was drawn and stands at the end of the sequence; feed tokens to go on.
    Stop(u32),
    /// The context was full: this many tokens were dropped, and what stays is run again by the next steps.
    Shifted {
        /// Tokens dropped.
        dropped: u32,
    },
}

/// A place in a session to go back to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mark {
    position: u32,
    /// What had been dropped by then, and the sampler's state; unknown of a bare position.
    state: Option<(u64, f32)>,
}

impl Mark {
    /// Tokens before it.
    pub fn position(&self) -> u32 {
        self.position
    }
}

impl From<u32> for Mark {
    fn from(position: u32) -> Mark {
        Mark {
            position,
            state: None,
        }
    }
}

impl Model {
    /// Reserves a session: all its memory and threads.
    ///
    /// # Errors
    /// As [`Self::plan`], and [`ErrorKind::OutOfMemory`].
    pub fn session(&self, config: &SessionConfig) -> Result<Session> {
        Session::new(self, config)
    }

    /// As [`Self::session`], computing with what is lent. Forks take memory and threads of their own.
    ///
    /// # Errors
    /// As there; [`ErrorKind::OutOfMemory`] for too little memory, [`ErrorKind::Invalid`] where it begins elsewhere.
    pub fn session_with(&self, lent: Lent, config: &SessionConfig) -> Result<Session> {
        Session::make(self, config, lent)
    }
}

impl Session {
    /// As [`Model::session`].
    ///
    /// # Errors
    /// As there.
    pub fn new(model: &Model, config: &SessionConfig) -> Result<Session> {
        Session::make(model, config, Lent::default())
    }

    fn make(model: &Model, config: &SessionConfig, lent: Lent) -> Result<Session> {
        let plan = model.plan(config)?;
        let context = plan.config.context as usize;
        let limits = Limits {
            vocabulary: model.spec().vocabulary as usize,
            history: context,
        };
        let isa = config.isa.as_deref();
        let backend = plan.device.open(model, &plan, isa, lent)?;
        let mut session = Session {
            speculator: Speculator::new(model, &plan, config)?,
            core: Core::new(backend, reserved(context, context)?, plan.layout),
            sampler: Sampler::new(&Params::default(), limits)?,
            spare: reserved(context, 0)?,
            row: vec![
                0.0;
                if config.embeddings {
                    plan.layout.spec.width as usize
                } else {
                    0
                }
            ],
            model: model.clone(),
            plan,
            dropped: 0,
            floor: 0,
            config: config.clone(),
            canceller: Canceller::default(),
            ready: None,
            first_row: 0,
            stopped: false,
            governor: None,
        };
        // Who stops this session stops its draft.
        let canceller = session.canceller();
        if let Some(draft) = session.speculator.as_mut().and_then(Speculator::draft) {
            draft.canceller = canceller;
        }
        Ok(session)
    }

    /// The model it runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What it has reserved.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What it was asked to be.
    pub fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The sequence: fed and drawn tokens that have not been dropped.
    pub fn tokens(&self) -> &[u32] {
        self.core.tokens()
    }

    /// Tokens in the sequence.
    pub fn position(&self) -> u32 {
        self.core.tokens().len() as u32
    }

    /// Positions it can hold.
    pub fn context(&self) -> u32 {
        self.core.context() as u32
    }

    /// Tokens of the sequence that have been run; the others are queued.
    pub fn done(&self) -> u32 {
        self.core.done() as u32
    }

    /// Draws by these parameters from now on. Reserves memory anew; the default is greedy choice.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the parameter.
    pub fn set_sampling(&mut self, params: &Params) -> Result<()> {
        let limits = Limits {
            vocabulary: self.model.spec().vocabulary as usize,
            history: self.core.context(),
        };
        let mut sampler = Sampler::new(params, limits)?;
        self.core
            .tokens()
            .iter()
            .for_each(|&token| sampler.accept(token));
        if let Some(speculator) = &mut self.speculator {
            speculator.set_sampling(params)?;
        }
        self.sampler = sampler;
        Ok(())
    }

    /// The parameters in force.
    pub fn sampling(&self) -> &Params {
        self.sampler.params()
    }

    /// Appends tokens to the sequence; nothing is computed.
    ///
    /// # Errors
    /// [`ErrorKind::ContextFull`], [`ErrorKind::Invalid`] for a token beyond the vocabulary; nothing was appended.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        let vocabulary = self.plan.layout.spec.vocabulary;
        if let Some(&token) = tokens.iter().find(|&&token| token >= vocabulary) {
            return Err(SessionError::NoSuchToken { token, vocabulary }.into());
        }
        if tokens.is_empty() {
            return Ok(());
        }
        self.make_room(tokens.len())?;
        self.append(tokens)
    }

    /// Makes `tokens` the sequence, keeping what it begins with already; returns how many tokens were kept.
    ///
    /// What a chat needs: its whole conversation each time, of which most has been run.
    ///
    /// # Errors
    /// As [`Self::feed`], whatever [`SessionConfig::full`] says; the sequence is then as it was.
    pub fn prompt(&mut self, tokens: &[u32]) -> Result<u32> {
        let (context, wanted) = (self.core.context(), tokens.len());
        if wanted > context {
            return Err(SessionError::ContextFull { context, wanted }.into());
        }
        let vocabulary = self.plan.layout.spec.vocabulary;
        if let Some(&token) = tokens.iter().find(|&&token| token >= vocabulary) {
            return Err(SessionError::NoSuchToken { token, vocabulary }.into());
        }
        let same = self
            .tokens()
            .iter()
            .zip(tokens)
            .take_while(|(a, b)| a == b)
            .count();
        let kept = if self.rewind(same as u32).is_ok() {
            same
        } else {
            0
        };
        self.rewind(kept as u32)?;
        self.feed(&tokens[kept..])?;
        self.stopped = false;
        Ok(kept as u32)
    }

    /// Runs the next chunk of what is queued; when all of it is run, draws the next token.
    ///
    /// A token alone may be run with guesses behind it, which costs no other token, error or order of events than
    /// [`Speculation::Off`](crate::Speculation) has.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`]: the session stands as before this step, and what is queued stays queued.
    /// [`ErrorKind::ContextFull`] where no drawn token has room. [`ErrorKind::NotFinite`].
    pub fn step(&mut self) -> Result<Event> {
        self.step_within(None)
    }

    /// As [`Self::step`], by a grammar: tokens that it leaves no choice about are drawn without being run for.
    pub(crate) fn step_within(&mut self, mut constraint: Option<&mut Constraint>) -> Result<Event> {
        self.draws()?;
        if self.stopped {
            return Ok(Event::Idle);
        }
        if let Some(token) = constraint.as_mut().and_then(|c| c.next_forced()) {
            if let Some(dropped) = self.make_room(1)? {
                return Ok(Event::Shifted { dropped });
            }
            if let Some(constraint) = constraint {
                constraint.take_forced();
            }
            return self.drawn(token);
        }
        if self.ready.is_none() {
            match self.reach()? {
                Step::Idle => return Ok(Event::Idle),
                Step::More { done, fed } => {
                    return Ok(Event::Progress {
                        done: done as u32,
                        total: fed as u32,
                    });
                }
                Step::Ready => {}
            }
        }
        if let Some(dropped) = self.make_room(1)? {
            return Ok(Event::Shifted { dropped });
        }
        let row = self.ready.unwrap_or_default();
        let place = self.dropped + self.core.tokens().len() as u64;
        let logits = self.core.logits(self.first_row + row);
        if let Some(constraint) = &mut constraint {
            constraint.mask(logits)?;
        }
        let token = self.sampler.sample(logits, place);
        if let Some(constraint) = constraint {
            constraint.accept(token)?;
        }
        self.drawn(token)
    }

    /// Appends a token that was drawn.
    fn drawn(&mut self, token: u32) -> Result<Event> {
        if let (Some(speculator), Some(guess)) = (&mut self.speculator, self.core.guess()) {
            speculator.judge(guess == token);
        }
        self.append(&[token])?;
        self.stopped = self.model.stops().contains(&token);
        Ok(if self.stopped {
            Event::Stop(token)
        } else {
            Event::Token(token)
        })
    }

    /// Runs the next chunk of what is queued and draws nothing; after [`Step::Ready`] the logits that follow the last
    /// token are row 0 of [`Self::logits`].
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn advance(&mut self) -> Result<Step> {
        self.draws()?;
        self.heed()?;
        self.obey();
        self.plain()
    }

    /// As [`Self::advance`], keeping the logits of each token of the chunk, at most [`SessionConfig::logits`]; returns
    /// the chunk's tokens, 0 where nothing is queued.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn advance_all(&mut self) -> Result<u32> {
        self.draws()?;
        self.heed()?;
        self.obey();
        let before = self.core.done();
        let rows = self.config.logits.min(self.plan.config.batch) as usize;
        let begun = Instant::now();
        let (step, _) = self.run(begun, |core, stop| core.step_all(rows, Some(stop)))?;
        let rows = self.core.done() - before;
        if step != Step::Idle {
            (self.ready, self.first_row) = ((step == Step::Ready).then_some(rows - 1), 0);
        }
        Ok(rows as u32)
    }

    /// Logits by row of the last chunk, `vocabulary` long.
    pub fn logits(&mut self, row: u32) -> &[f32] {
        self.core.logits(self.first_row + row as usize)
    }

    /// Goes on behind a stop token that was drawn; whether there was one.
    pub fn go_on(&mut self) -> bool {
        core::mem::take(&mut self.stopped)
    }

    /// What was guessed since the session began.
    pub fn guesses(&self) -> Guesses {
        self.speculator
            .as_ref()
            .map_or(Guesses::default(), Speculator::total)
    }

    /// Asks `host` for the conditions between runs from now on, and takes as much of workers, time and guesses as
    /// [`CAPS`](crate::CAPS) leaves. What is drawn does not change. A fork has no host.
    pub fn govern(&mut self, host: impl FnMut() -> Conditions + Send + 'static) {
        self.governor = Some(Governor::new(Box::new(host), Meter::here()));
    }

    /// What the session takes by the host's last answer.
    pub fn caps(&self) -> &'static Caps {
        self.governor
            .as_ref()
            .map_or(&CAPS[0], |governor| governor.caps)
    }

    /// What stops this session's steps, from any thread.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// The end of the sequence, to go back to.
    pub fn mark(&self) -> Mark {
        Mark {
            position: self.position(),
            state: Some((self.dropped, self.sampler.mirostat_mu())),
        }
    }

    /// Forgets all tokens from a mark or position on: the session is as one that was fed only what stands before.
    ///
    /// # Errors
    /// [`ErrorKind::RewindTooFar`] where windows have forgotten what is needed; 0 always works.
    /// [`ErrorKind::Invalid`] for a mark beyond the end, or from before a shift.
    pub fn rewind(&mut self, to: impl Into<Mark>) -> Result<()> {
        let mark = to.into();
        let (to, end) = (mark.position as usize, self.core.tokens().len());
        if to > end
            || mark
                .state
                .is_some_and(|(dropped, _)| dropped != self.dropped)
        {
            return Err(Error::text(
                ErrorKind::Invalid,
                "the mark is not of this sequence",
            ));
        }
        if to < end {
            self.truncate(to)?;
        }
        let mu = mark.state.map_or(self.sampler.mirostat_mu(), |(_, mu)| mu);
        self.sampler.restore(self.core.tokens().iter().copied(), mu);
        self.stopped = false;
        Ok(())
    }

    /// A session of its own that stands where this one stands.
    ///
    /// # Errors
    /// [`ErrorKind::OutOfMemory`].
    pub fn fork(&mut self) -> Result<Session> {
        let mut other = Session::new(&self.model, &self.config)?;
        let mut state = snapshot::Buffer::default();
        snapshot::write(self, &mut state)?;
        snapshot::read(&mut other, &mut state.bytes())?;
        other.sampler = self.sampler.clone();
        other.stopped = self.stopped;
        Ok(other)
    }

    /// Writes the session's state to a file, which is whole or not there.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn save(&mut self, path: &Path) -> Result<()> {
        let written = atomic::write(path, |file| snapshot::write(self, file));
        written.map_err(|e: Error| e.at(path))
    }

    /// Takes a state over that [`Self::save`] wrote, of the same model and configuration. The sampling parameters stay
    /// this session's own.
    ///
    /// # Errors
    /// [`ErrorKind::Mismatch`], [`ErrorKind::Damaged`], [`ErrorKind::ContextFull`], [`ErrorKind::NotFound`],
    /// [`ErrorKind::Io`]. The session is then as it was, or empty where the file turned out damaged late.
    pub fn load(&mut self, path: &Path) -> Result<()> {
        let file = fs::File::open(path).map_err(|e| Error::from(e).at(path))?;
        let mut file = BufReader::with_capacity(1 << 18, file);
        snapshot::read(self, &mut file).map_err(|e| e.at(path))
    }

    /// Puts a state's tokens and caches in place of the present ones; false where `source` ended early, then empty.
    pub(crate) fn restore(
        &mut self,
        done: usize,
        mu: f32,
        source: &mut dyn FnMut(&mut [u8]) -> bool,
    ) -> Result<bool> {
        (self.ready, self.stopped) = (None, false);
        let whole = self.core.restore(&self.spare[..done], source)?;
        if whole {
            self.core.feed(&self.spare[done..])?;
        }
        self.sampler.restore(self.core.tokens().iter().copied(), mu);
        Ok(whole)
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.core.rewind(0).expect("going back to 0 always works");
        (self.ready, self.stopped) = (None, false);
        (self.dropped, self.floor) = (0, 0);
        self.sampler.reset();
    }

    /// Makes `tokens` the sequence of a draft, which draws as the session does that has dropped so many and stands at
    /// this bound on surprise.
    ///
    /// # Errors
    /// As [`Self::prompt`].
    pub(crate) fn follow(&mut self, tokens: &[u32], dropped: u64, mu: f32) -> Result<()> {
        self.prompt(tokens)?;
        self.dropped = dropped;
        self.sampler.restore(tokens.iter().copied(), mu);
        Ok(())
    }

    /// Comes to the logits that follow what is queued, or a chunk nearer: by a guess that came true, by a run with
    /// new guesses, or by a plain run.
    fn reach(&mut self) -> Result<Step> {
        self.heed()?;
        if let Some(row) = self.core.guessed() {
            (self.ready, self.first_row) = (Some(0), row);
            return Ok(Step::Ready);
        }
        self.obey();
        match self.guess()? {
            Some(step) => Ok(step),
            None => self.plain(),
        }
    }

    /// Runs the next chunk of what is queued.
    fn plain(&mut self) -> Result<Step> {
        let before = self.core.done();
        let batch = self.plan.config.batch as usize;
        let begun = Instant::now();
        let (step, time) = self.run(begun, |core, stop| core.step(batch, Some(stop)))?;
        if let (Some(speculator), 1) = (&mut self.speculator, self.core.done() - before) {
            speculator.ran(0, time);
        }
        if step != Step::Idle {
            (self.ready, self.first_row) = ((step == Step::Ready).then_some(0), 0);
        }
        Ok(step)
    }

    /// Runs the last token and guesses behind it, where it is queued alone and there is something to guess.
    fn guess(&mut self) -> Result<Option<Step>> {
        let Some(speculator) = &mut self.speculator else {
            return Ok(None);
        };
        let tokens = self.core.tokens();
        let most = self.core.context() - tokens.len();
        if tokens.len() != self.core.done() + 1 {
            return Ok(None);
        }
        let begun = Instant::now();
        let mu = self.sampler.mirostat_mu();
        let count = speculator.guess(tokens, most, self.dropped, mu)?;
        if count == 0 {
            return Ok(None);
        }
        // The guesses go beside the session for as long as it runs them.
        let Some(mut speculator) = self.speculator.take() else {
            return Ok(None);
        };
        let ran = self.run(begun, |core, stop| {
            core.step_ahead(speculator.guesses(), Some(stop))
        });
        if let Ok((_, time)) = ran {
            speculator.ran(count, time);
            (self.ready, self.first_row) = (Some(0), 0);
        }
        self.speculator = Some(speculator);
        match ran {
            Ok((step, _)) => Ok(Some(step)),
            Err(error) if error.kind() == ErrorKind::Cancelled => Err(error),
            // A guess may be what plain drawing would never have run.
            Err(_) => Ok(None),
        }
    }

    /// Whether there are logits to draw from.
    fn draws(&self) -> Result<()> {
        if self.config.embeddings {
            let text = "the session was made for embeddings; it draws no tokens";
            return Err(Error::text(ErrorKind::Invalid, text));
        }
        Ok(())
    }

    /// Gives up where that was asked for.
    pub(crate) fn heed(&self) -> Result<()> {
        if self.canceller.reset() {
            return Err(SessionError::Fault(Fault::Cancelled).into());
        }
        Ok(())
    }

    /// Has the core run something that may be given up; how long that took. Rests afterwards where it must, from all
    /// work since `begun`.
    pub(crate) fn run(
        &mut self,
        begun: Instant,
        step: impl FnOnce(
            &mut Core<Running, Vec<u32>>,
            &AtomicBool,
        ) -> core::result::Result<Step, SessionError>,
    ) -> Result<(Step, Duration)> {
        let start = Instant::now();
        let result = step(&mut self.core, self.canceller.flag());
        if result == Err(SessionError::Fault(Fault::Cancelled)) {
            self.canceller.reset();
        }
        let time = start.elapsed();
        self.rest(self.caps().rest(begun.elapsed()));
        Ok((result?, time))
    }

    /// Asks the host, and keeps to what it leaves.
    pub(crate) fn obey(&mut self) {
        let changed = self.governor.as_mut().is_some_and(Governor::poll);
        if !changed {
            return;
        }
        let caps = self.caps();
        let workers = caps.workers(self.plan.config.threads);
        self.core.backend().limit(workers);
        if let Some(speculator) = &mut self.speculator {
            speculator.limit(caps.guesses, workers);
        }
    }

    /// Lets so much time pass, unless the session is to stop.
    fn rest(&self, mut time: Duration) {
        while !time.is_zero() && !self.canceller.flag().load(Ordering::Relaxed) {
            let part = time.min(REST);
            thread::sleep(part);
            time -= part;
        }
    }

    fn append(&mut self, tokens: &[u32]) -> Result<()> {
        self.core.feed(tokens)?;
        tokens.iter().for_each(|&token| self.sampler.accept(token));
        (self.ready, self.stopped) = (None, false);
        Ok(())
    }

    /// Shortens the sequence to `to` tokens, the last of which is queued.
    fn truncate(&mut self, to: usize) -> Result<()> {
        self.ready = None;
        if to == 0 {
            self.clear();
            return Ok(());
        }
        if to > self.core.done() {
            return Ok(self.core.rewind(to)?);
        }
        let last = self.core.tokens()[to - 1];
        self.back(to - 1)?;
        Ok(self.core.feed(&[last])?)
    }

    /// Goes back to where the first `to` tokens have been run.
    fn back(&mut self, to: usize) -> Result<()> {
        if to != 0 && to < self.floor {
            return Err(SessionError::RewindTooFar {
                to,
                earliest: self.floor,
            }
            .into());
        }
        self.core.rewind(to)?;
        if to == 0 {
            self.floor = 0;
        }
        Ok(())
    }

    /// Sees to it that `wanted` more tokens have room; how many were dropped for it, if any.
    fn make_room(&mut self, wanted: usize) -> Result<Option<u32>> {
        let (fed, context) = (self.core.tokens().len(), self.core.context());
        let total = fed.saturating_add(wanted);
        let full = || {
            Err(SessionError::ContextFull {
                context,
                wanted: total,
            }
            .into())
        };
        if total <= context {
            return Ok(None);
        }
        let Full::Shift { keep } = self.config.full else {
            return full();
        };
        let keep = (keep as usize).min(fed);
        let dropped = (total - context).max((fed - keep) / 2);
        if dropped > fed - keep {
            return full();
        }
        self.shift(keep, dropped)?;
        Ok(Some(dropped as u32))
    }

    /// Drops `dropped` tokens after the first `keep`; all that follow them are queued.
    fn shift(&mut self, keep: usize, dropped: usize) -> Result<()> {
        self.ready = None;
        let tokens = self.core.tokens();
        self.spare.clear();
        self.spare.extend(&tokens[..keep]);
        self.spare.extend(&tokens[keep + dropped..]);
        let kept = if self.core.done() >= keep && self.back(keep).is_ok() {
            keep
        } else {
            0
        };
        self.back(kept)?;
        self.core.feed(&self.spare[kept..])?;
        self.dropped += dropped as u64;
        self.sampler
            .restore(self.spare.iter().copied(), self.sampler.mirostat_mu());
        Ok(())
    }
}

/// A vector of `len` zeros with room for `capacity`.
fn reserved(capacity: usize, len: usize) -> Result<Vec<u32>> {
    let mut tokens = Vec::new();
    let full = |_| {
        Error::text(
            ErrorKind::OutOfMemory,
            "no memory for the tokens of the context",
        )
    };
    tokens.try_reserve_exact(capacity).map_err(full)?;
    tokens.resize(len, 0);
    Ok(tokens)
}
