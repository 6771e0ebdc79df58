//! Perplexity as llama.cpp's `llama-perplexity` counts it: chunks, first token, scored half.

use crate::{Source, rank};
use anyhow::{Result, ensure};
use serde::Serialize;

/// A perplexity and what it was taken over.
#[derive(Clone, Debug, Serialize)]
pub struct Perplexity {
    /// `exp` of the mean negative log-likelihood.
    pub perplexity: f64,
    /// Tokens that were scored.
    pub scored: usize,
    /// Chunks that were scored.
    pub chunks: usize,
    /// The running perplexity after each chunk.
    pub running: Vec<f64>,
}

/// Scores up to `limit` chunks of `context` tokens; in each the second half but its last position.
///
/// `first` takes the place of the first token of every chunk where the model has such a token.
pub fn perplexity(
    source: &mut dyn Source,
    tokens: &[u32],
    context: usize,
    limit: usize,
    first: Option<u32>,
) -> Result<Perplexity> {
    ensure!(
        tokens.len() >= context,
        "{} tokens are less than one chunk of {context}",
        tokens.len()
    );
    let (mut loss, mut scored, mut running) = (0.0, 0, Vec::new());
    for chunk in tokens.chunks_exact(context).take(limit) {
        let mut fed = chunk.to_vec();
        if let Some(first) = first {
            fed[0] = first;
        }
        loss += chunk_loss(source, &fed)?;
        scored += context - 1 - context / 2;
        running.push((loss / scored as f64).exp());
    }
    Ok(Perplexity {
        perplexity: (loss / scored as f64).exp(),
        scored,
        chunks: running.len(),
        running,
    })
}

/// The sum of the negative log-likelihoods of the tokens that the second half predicts.
fn chunk_loss(source: &mut dyn Source, chunk: &[u32]) -> Result<f64> {
    let vocabulary = source.vocabulary();
    source.restart()?;
    let (unscored, scored) = chunk.split_at(chunk.len() / 2);
    source.feed(unscored)?;
    let rows = source.feed(scored)?;
    let predicted = scored[1..].iter().zip(rows.chunks_exact(vocabulary));
    Ok(predicted
        .map(|(&token, row)| rank::log_sum_exp(row) - f64::from(row[token as usize]))
        .sum())
}
