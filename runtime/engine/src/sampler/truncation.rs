//! Samplers that take candidates away by probability: top-k, typical, top-p, min-p, XTC; and temperature.

use inkstone_model::math::{exp, ln};

use super::Stage;
use super::candidates::by_logit;

/// Greedy choice: the best candidate alone stays.
pub(super) fn greedy(stage: &mut Stage<'_>) {
    stage.candidates.keep_best(1);
}

/// Top-k: the `k` best stay (Fan et al. 2018, arXiv:1805.04833).
pub(super) fn top_k(stage: &mut Stage<'_>) {
    stage.candidates.keep_best(stage.params.top_k as usize);
}

/// Top-p: the smallest set of the best whose probability reaches `p` stays (Holtzman et al. 2019, arXiv:1904.09751).
pub(super) fn top_p(stage: &mut Stage<'_>) {
    let highest = stage.candidates.highest();
    let total = stage.candidates.total();
    let wanted = f64::from(stage.params.top_p) * total;
    // All that lie below this come to less than what may go, by a factor e that outweighs every rounding: there is no
    // need to sort them.
    let least = (total - wanted) / stage.candidates.items().len() as f64;
    stage.candidates.keep_from(highest + ln(least as f32) - 1.0);
    let mut sum = 0.0;
    stage.candidates.keep_best_until(|candidate, _| {
        sum += f64::from(exp(candidate.logit - highest));
        sum >= wanted
    });
}

/// Min-p: those with at least `p` times the probability of the best stay (Nguyen et al. 2024, arXiv:2407.01082).
pub(super) fn min_p(stage: &mut Stage<'_>) {
    let least = stage.candidates.highest() + ln(stage.params.min_p);
    stage.candidates.keep_from(least);
}

/// Locally typical: those stay whose surprise is nearest to the entropy, until their probability reaches `p`
/// (Meister et al. 2022, arXiv:2202.00666).
pub(super) fn typical(stage: &mut Stage<'_>) {
    let highest = stage.candidates.highest();
    let total = stage.candidates.total();
    let ln_total = ln(total as f32);
    let surprise = |logit: f32| ln_total - (logit - highest);
    let weight = |logit: f32| f64::from(exp(logit - highest));
    let items = stage.candidates.items().iter();
    let entropy: f64 = items
        .map(|item| weight(item.logit) * f64::from(surprise(item.logit)))
        .sum();
    let entropy = (entropy / total) as f32;
    stage
        .candidates
        .set_keys(|logit| (surprise(logit) - entropy).abs());
    let wanted = f64::from(stage.params.typical_p) * total;
    let mut sum = 0.0;
    stage.candidates.keep_lowest_keys_until(|candidate, _| {
        sum += weight(candidate.logit);
        sum >= wanted
    });
}

/// XTC, "exclude top choices": with the given probability, of all candidates at or above the threshold only the
/// least probable stays (p-e-w 2024, text-generation-webui pull request 6335).
pub(super) fn xtc(stage: &mut Stage<'_>) {
    if stage.noise.xtc() >= f64::from(stage.params.xtc_probability) {
        return;
    }
    let highest = stage.candidates.highest();
    let least = f64::from(stage.params.xtc_threshold) * stage.candidates.total();
    let is_choice = |logit: f32| f64::from(exp(logit - highest)) >= least;
    let choices = stage
        .candidates
        .items()
        .iter()
        .filter(|item| is_choice(item.logit));
    let Some(last) = choices.max_by(|a, b| by_logit(a, b)).map(|item| item.id) else {
        return;
    };
    stage
        .candidates
        .retain(|item| item.id == last || !is_choice(item.logit));
}

/// Temperature: logits are divided by it (Ackley, Hinton and Sejnowski 1985).
pub(super) fn temperature(stage: &mut Stage<'_>) {
    // Below it all logits of any size would be the largest number alike.
    let temperature = stage.params.temperature.max(1e-30);
    let cooled = |logit: &mut f32| *logit = (*logit / temperature).clamp(f32::MIN, f32::MAX);
    stage.candidates.logits_mut().for_each(cooled);
}
