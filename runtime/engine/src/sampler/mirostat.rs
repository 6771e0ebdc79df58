//! Mirostat v2: a bound on surprise that is steered to a target (Basu et al. 2020, arXiv:2007.14966, algorithm 2).

use inkstone_model::math::ln;

use super::candidates::Candidates;
use super::{Params, Stage};

/// The bound, and what the next accepted token may change about it.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// Bits of surprise above which tokens are out.
    mu: f32,
    /// Of the last distribution, before truncation: the highest logit and ln of the softmax's sum.
    scale: Option<(f32, f32)>,
    /// The token last drawn and its surprise in bits.
    drawn: Option<(u32, f32)>,
}

const BITS_PER_NAT: f32 = core::f32::consts::LOG2_E;

impl State {
    /// The paper starts the bound at twice the target.
    pub(super) const fn new(tau: f32) -> Self {
        Self {
            mu: 2.0 * tau,
            scale: None,
            drawn: None,
        }
    }

    pub(super) const fn mu(&self) -> f32 {
        self.mu
    }

    pub(super) fn set_mu(&mut self, mu: f32) {
        self.mu = mu;
    }

    /// Remembers the surprise of the `token` that was drawn from `candidates`.
    pub(super) fn expect(&mut self, token: u32, candidates: &Candidates) {
        let Some((highest, ln_total)) = self.scale.take() else {
            return;
        };
        let drawn = candidates.items().iter().find(|item| item.id == token);
        self.drawn = drawn.map(|item| (token, (ln_total - (item.logit - highest)) * BITS_PER_NAT));
    }

    /// Moves the bound if `token` is the one drawn.
    pub(super) fn accept(&mut self, token: u32, params: &Params) {
        if let Some((drawn, surprise)) = self.drawn.take()
            && drawn == token
        {
            self.mu -= params.mirostat_eta * (surprise - params.mirostat_tau);
        }
    }
}

/// Takes away the tokens whose surprise is above the bound; the best stays.
pub(super) fn mirostat(stage: &mut Stage<'_>) {
    let highest = stage.candidates.highest();
    let ln_total = ln(stage.candidates.total() as f32);
    stage.surprise.scale = Some((highest, ln_total));
    stage
        .candidates
        .keep_from(highest + ln_total - stage.surprise.mu / BITS_PER_NAT);
}
