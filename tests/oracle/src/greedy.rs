//! The most likely continuation, with how sure each step was.

use crate::{Source, rank};
use anyhow::Result;
use serde::Serialize;

/// One token of a greedy continuation.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Step {
    /// The best token.
    pub token: u32,
    /// Its logit.
    pub logit: f32,
    /// How far its logit lies above the second best.
    pub margin: f32,
}

/// Whether two continuations agree up to the first step that `truth` was not sure of.
///
/// Where the two best logits of `truth` lie closer than `sure`, either token is a fair choice, and what follows is
/// another text.
pub fn agree(truth: &[Step], claim: &[Step], sure: f32) -> bool {
    let known = truth.iter().take_while(|step| step.margin >= sure);
    let mut claim = claim.iter();
    known
        .into_iter()
        .all(|step| claim.next().is_some_and(|other| other.token == step.token))
}

/// Continues `prompt` by up to `limit` best tokens; `ends` says which token is the last.
pub fn greedy(
    source: &mut dyn Source,
    prompt: &[u32],
    limit: usize,
    ends: impl Fn(u32) -> Result<bool>,
) -> Result<Vec<Step>> {
    let vocabulary = source.vocabulary();
    source.restart()?;
    let (mut steps, mut next) = (Vec::new(), prompt.to_vec());
    while steps.len() < limit {
        let logits = source.feed(&next)?;
        let row = &logits[logits.len() - vocabulary..];
        let token = u32::try_from(rank::best(row))?;
        steps.push(Step {
            token,
            logit: row[rank::best(row)],
            margin: rank::margin(row),
        });
        if ends(token)? {
            break;
        }
        next = vec![token];
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(tokens: &[(u32, f32)]) -> Vec<Step> {
        tokens
            .iter()
            .map(|&(token, margin)| Step {
                token,
                logit: 0.0,
                margin,
            })
            .collect()
    }

    #[test]
    fn what_follows_an_unsure_step_does_not_count() {
        let truth = steps(&[(1, 2.0), (2, 0.05), (3, 2.0)]);
        assert!(agree(&truth, &steps(&[(1, 2.0), (9, 2.0), (9, 2.0)]), 0.1));
        assert!(!agree(&truth, &steps(&[(9, 2.0), (2, 2.0), (3, 2.0)]), 0.1));
        assert!(!agree(&truth, &[], 0.1));
    }
}
