//! Lossless speculation: guesses at the next tokens are run together with the last one, as further rows of one batch.
//!
//! What is drawn is not touched: each token is drawn from its own row of logits, by the sampler, when it is asked for,
//! and rows of a batch have the bits that they have alone. A guess that is the token drawn has saved a run.

mod drafters;
mod policy;

use core::time::Duration;

use crate::config::{Full, Plan, SessionConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;
use crate::sampler::Params;
use crate::session::Session;
use drafters::{Draft, Sources};
use policy::{KINDS, Odds, Offer, Policy};

pub use drafters::{DRAFTERS, Drafter};

/// Guesses of [`Speculation::Auto`] at most.
const DEPTH: u32 = 8;

/// Most guesses that can be asked for.
const DEEPEST: u32 = 64;

/// Whether tokens are guessed; what is drawn is the same in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speculation {
    /// Never.
    Off,
    /// As many at a time as pay by the odds and times measured so far, none where they lose.
    #[default]
    Auto,
    /// So many at a time wherever there is something to guess: for measuring.
    Depth(u32),
}

/// What was guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guesses {
    /// Tokens that were run as guesses.
    pub drafted: u64,
    /// Those of them that were drawn.
    pub accepted: u64,
}

impl Speculation {
    /// Guesses at most at a time, of a session whose batches are so long.
    pub(crate) fn depth(self, batch: u32) -> Result<u32> {
        match self {
            Speculation::Off => Ok(0),
            Speculation::Auto => Ok(DEPTH.min(batch.saturating_sub(1))),
            Speculation::Depth(depth) if depth <= DEEPEST && depth < batch => Ok(depth),
            Speculation::Depth(depth) => {
                let most = DEEPEST.min(batch.saturating_sub(1));
                let text = format!("{depth} guesses at a time are more than {most}");
                Err(Error::text(ErrorKind::Invalid, text))
            }
        }
    }
}

/// The configuration of the draft's session.
pub(crate) fn draft_config(config: &SessionConfig, context: u32, depth: u32) -> SessionConfig {
    SessionConfig {
        context: Some(context),
        logits: 1,
        rewind: config.rewind.saturating_add(depth),
        full: Full::Error,
        speculation: Speculation::Off,
        draft: None,
        ..config.clone()
    }
}

/// Refuses a draft whose tokens mean something else.
pub(crate) fn check_vocabulary(model: &Model, draft: &Model) -> Result<()> {
    let (ours, theirs) = (model.tokenizer(), draft.tokenizer());
    let differs = |&id: &u32| {
        ours.token_bytes(id) != theirs.token_bytes(id) || ours.kind(id) != theirs.kind(id)
    };
    let text = if ours.len() != theirs.len() {
        format!("{} and {} tokens", ours.len(), theirs.len())
    } else if let Some(id) = (0..ours.len() as u32).find(differs) {
        format!("token {id} differs")
    } else {
        return Ok(());
    };
    let (model, draft) = (model.name(), draft.name());
    let text = format!("the draft {draft} has another vocabulary than {model}: {text}");
    Err(Error::text(ErrorKind::Mismatch, text))
}

/// The guessing of one session. Allocates nothing after [`Speculator::new`].
pub(crate) struct Speculator {
    adaptive: bool,
    /// Guesses that may be made at a time now.
    depth: usize,
    sources: Sources,
    policy: Policy,
    /// By drafter and kind.
    odds: Vec<[Odds; KINDS]>,
    /// The guesses that are run next: room for all, and how many there are.
    guesses: Vec<u32>,
    count: usize,
    /// Drafter and kind of the guesses last run, while they come true.
    by: Option<(usize, usize)>,
    /// Seconds that the guesses took.
    guessing: f64,
    total: Guesses,
}

impl Speculator {
    /// For a session of this plan; `None` where it is not to guess.
    pub(crate) fn new(
        model: &Model,
        plan: &Plan,
        config: &SessionConfig,
    ) -> Result<Option<Speculator>> {
        if plan.depth == 0 {
            return Ok(None);
        }
        let depth = plan.depth as usize;
        let draft = match &config.draft {
            Some(draft) => Some(Draft {
                session: Box::new(draft.session(&draft_config(
                    config,
                    plan.config.context,
                    plan.depth,
                ))?),
                share: draft.mapped() as f64 / model.mapped() as f64,
                seconds: None,
            }),
            None => None,
        };
        let odds = DRAFTERS.iter().map(|drafter| {
            core::array::from_fn(|kind| {
                let kind = drafter.kinds.get(kind);
                kind.map_or(Odds::default(), |kind| Odds::new(kind.1))
            })
        });
        Ok(Some(Speculator {
            adaptive: config.speculation == Speculation::Auto,
            depth,
            sources: Sources {
                draft,
                ..Sources::default()
            },
            policy: Policy::new(depth),
            odds: odds.collect(),
            guesses: vec![0; depth],
            count: 0,
            by: None,
            guessing: 0.0,
            total: Guesses::default(),
        }))
    }

    /// The draft's session.
    pub(crate) fn draft(&mut self) -> Option<&mut Session> {
        self.sources.draft.as_mut().map(|draft| &mut *draft.session)
    }

    /// Draws drafts by these parameters.
    pub(crate) fn set_sampling(&mut self, params: &Params) -> Result<()> {
        let Some(draft) = self.draft() else {
            return Ok(());
        };
        // A parameter may name a token that only the model has: then drafts are plain.
        let set = draft.set_sampling(params);
        set.or_else(|_| draft.set_sampling(&Params::default()))
    }

    /// Guesses at what follows `tokens`, at most `most`; how many there are.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`].
    pub(crate) fn guess(
        &mut self,
        tokens: &[u32],
        most: usize,
        dropped: u64,
        mu: f32,
    ) -> Result<usize> {
        (self.count, self.by, self.guessing) = (0, None, 0.0);
        (self.sources.dropped, self.sources.mu) = (dropped, mu);
        for (index, drafter) in DRAFTERS.iter().enumerate() {
            let Some(found) = (drafter.find)(&self.sources, tokens) else {
                continue;
            };
            let Some(kind) = drafter.kind(found) else {
                continue;
            };
            let seconds = (drafter.seconds)(&self.sources, self.policy.one().unwrap_or(0.0));
            let depth = self.worth(self.odds[index][kind].probability(), most, seconds);
            let out = &mut self.guesses[..depth];
            if out.is_empty() {
                continue;
            }
            self.count = (drafter.guess)(&mut self.sources, tokens, found, out)?;
            if self.count > 0 {
                self.by = Some((index, kind));
                self.guessing = seconds * self.count as f64;
                break;
            }
        }
        Ok(self.count)
    }

    /// The guesses last made.
    pub(crate) fn guesses(&self) -> &[u32] {
        &self.guesses[..self.count]
    }

    /// A run of one token and, behind it, `guesses` took so long.
    pub(crate) fn ran(&mut self, guesses: usize, time: Duration) {
        let guessing = core::mem::take(&mut self.guessing);
        self.total.drafted += guesses as u64;
        self.policy.ran(guesses + 1, time.as_secs_f64(), guessing);
    }

    /// A token was drawn where a guess had been run; whether it was the guess.
    pub(crate) fn judge(&mut self, hit: bool) {
        if let Some((drafter, kind)) = self.by {
            self.odds[drafter][kind].note(hit);
        }
        if hit {
            self.total.accepted += 1;
            self.policy.won();
        } else {
            self.by = None;
        }
    }

    /// Guesses at most `depth` at a time from now on, with so many workers.
    pub(crate) fn limit(&mut self, depth: u32, workers: u32) {
        self.depth = (depth as usize).min(self.guesses.len());
        self.policy.forget_costs();
        if let Some(draft) = self.draft() {
            draft.core.backend().limit(workers);
        }
    }

    /// What was guessed so far.
    pub(crate) fn total(&self) -> Guesses {
        self.total
    }

    /// Guesses to be made, where they come true so often and take so long.
    fn worth(&self, probability: f64, most: usize, seconds: f64) -> usize {
        let most = most.min(self.depth);
        if !self.adaptive {
            return most;
        }
        self.policy.depth(Offer {
            probability,
            most,
            guess: seconds,
        })
    }
}
