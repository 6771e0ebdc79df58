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
