//! Samplers that change single logits: the user's bias, and what was said before.

use super::candidates::Candidates;
use super::{Past, Stage};

/// Logit bias: a number is added to the logit of each named token (OpenAI API, `logit_bias`).
pub(super) fn bias(stage: &mut Stage<'_>) {
    for &(token, bias) in &stage.params.logit_bias {
        change(stage.candidates, token, |logit| logit + bias);
    }
}

/// Repetition penalty (Keskar et al. 2019, arXiv:1909.05858: logits above zero are divided by it, others multiplied),
/// then frequency and presence penalties (OpenAI API: `count × frequency + presence` is taken off).
pub(super) fn penalties(stage: &mut Stage<'_>) {
    let params = stage.params;
    stage.past.count(params.penalty_last_n as usize);
    for &(token, count) in &stage.past.pairs {
        let less = count as f32 * params.frequency_penalty + params.presence_penalty;
        let factor = params.repetition_penalty;
        change(stage.candidates, token, |logit| {
            let repeated = if logit > 0.0 {
                logit / factor
            } else {
                logit * factor
            };
            repeated - less
        });
    }
}

/// DRY, "don't repeat yourself": a token that would lengthen a repetition of `length` tokens loses
/// `multiplier × base^(length − allowed_length)` (p-e-w 2024, text-generation-webui pull request 5677).
/// Repetitions end at breakers.
pub(super) fn dry(stage: &mut Stage<'_>) {
    let params = stage.params;
    stage
        .past
        .find_repetitions(params.dry_last_n as usize, &params.dry_breakers);
    let mut last = None;
    // Pairs ascend by token and descend by length: the first of a token counts.
    for &(token, length) in &stage.past.pairs {
        if last.replace(token) == Some(token) || length < params.dry_allowed_length {
            continue;
        }
        let growth = power(params.dry_base, length - params.dry_allowed_length);
        change(stage.candidates, token, |logit| {
            logit - params.dry_multiplier * growth
        });
    }
}

/// Changes the logit of `token`, if it is in the running, within the finite numbers.
fn change(candidates: &mut Candidates, token: u32, to: impl FnOnce(f32) -> f32) {
    if let Some(logit) = candidates.logit_mut(token) {
        *logit = to(*logit).clamp(f32::MIN, f32::MAX) + 0.0;
    }
}

/// `base ^ exponent` by repeated multiplication, up to a bound that outweighs every logit.
fn power(base: f32, exponent: u32) -> f32 {
    const BOUND: f32 = 1e30;
    let mut product = 1.0;
    for _ in 0..exponent {
        product *= base;
        if product > BOUND || base <= 1.0 {
            return product.min(BOUND);
        }
    }
    product
}

impl Past {
    /// Sets the pairs to `(token, count)` over the newest `last` tokens, by ascending token.
    fn count(&mut self, last: usize) {
        self.pairs.clear();
        self.pairs
            .extend(self.tokens.iter().rev().take(last).map(|&token| (token, 1)));
        self.pairs.sort_unstable();
        self.pairs.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += u32::from(same);
            same
        });
    }

    /// Sets the pairs to `(token, length)`: within the newest `last` tokens (all of them for 0), `token` has followed
    /// an earlier copy of the newest `length` tokens. By ascending token and descending length.
    fn find_repetitions(&mut self, last: usize, breakers: &[u32]) {
        let last = if last == 0 { usize::MAX } else { last };
        self.newest_first.clear();
        self.newest_first
            .extend(self.tokens.iter().rev().take(last));
        let longest = self
            .newest_first
            .iter()
            .take_while(|token| !breakers.contains(token))
            .count();
        self.pairs.clear();
        if longest == 0 {
            return;
        }
        match_prefixes(&self.newest_first, &mut self.pairs);
        for pair in &mut self.pairs {
            pair.1 = pair.1.min(longest as u32);
        }
        self.pairs
            .retain(|&(token, length)| length > 0 && !breakers.contains(&token));
        self.pairs
            .sort_unstable_by_key(|&(token, length)| (token, core::cmp::Reverse(length)));
    }
}

/// For each place `i` from 1, pushes `text[i - 1]` and how many tokens `text[i..]` and `text` have in common, by the
/// Z algorithm (Gusfield 1997, section 1.3).
fn match_prefixes(text: &[u32], pairs: &mut Vec<(u32, u32)>) {
    let (mut left, mut right) = (0, 0);
    for place in 1..text.len() {
        // The pair of place p lies at p − 1.
        let known = if place < right {
            pairs_length(pairs, place - left).min(right - place)
        } else {
            0
        };
        let mut length = known;
        while place + length < text.len() && text[length] == text[place + length] {
            length += 1;
        }
        if place + length > right {
            (left, right) = (place, place + length);
        }
        pairs.push((text[place - 1], length as u32));
    }
}

/// The length recorded for `place`.
fn pairs_length(pairs: &[(u32, u32)], place: usize) -> usize {
    pairs[place - 1].1 as usize
}
