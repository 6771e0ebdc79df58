//! How far one stream of logits lies from another, position by position, in constant memory.

use crate::{Source, rank};
use anyhow::{Result, ensure};
use serde::Serialize;
use std::thread;

/// Positions that are held in memory at once, for each source.
pub const BLOCK: usize = 64;

/// What a candidate's logits have in common with the reference's.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Agreement {
    /// Positions compared.
    pub positions: usize,
    /// Positions with the same best token.
    pub same_best: usize,
    /// Positions with the same best token among those whose reference margin is at least 0.1.
    pub same_best_clear: usize,
    /// Positions whose two best reference logits differ by at least 0.1.
    pub clear: usize,
    /// The sum over positions of KL(reference ‖ candidate), in nats.
    pub kl_sum: f64,
    /// The largest KL of one position.
    pub kl_max: f64,
    /// The largest difference of two logits.
    pub difference_max: f64,
}

impl Agreement {
    /// The part of positions with the same best token.
    pub fn top1(&self) -> f64 {
        self.same_best as f64 / self.positions as f64
    }

    /// The mean KL(reference ‖ candidate) of a position, in nats.
    pub fn kl(&self) -> f64 {
        self.kl_sum / self.positions as f64
    }

    /// Takes in the positions of `other`.
    pub fn add(&mut self, other: &Agreement) {
        self.positions += other.positions;
        self.same_best += other.same_best;
        self.same_best_clear += other.same_best_clear;
        self.clear += other.clear;
        self.kl_sum += other.kl_sum;
        self.kl_max = self.kl_max.max(other.kl_max);
        self.difference_max = self.difference_max.max(other.difference_max);
    }
}

/// Compares each of `candidates` with `reference` at every position of the sequence.
pub fn sequence(
    reference: &mut dyn Source,
    candidates: &mut [Box<dyn Source + '_>],
    tokens: &[u32],
) -> Result<Vec<Agreement>> {
    let vocabulary = reference.vocabulary();
    reference.restart()?;
    let mut agreements = vec![Agreement::default(); candidates.len()];
    for candidate in candidates.iter_mut() {
        ensure!(
            candidate.vocabulary() == vocabulary,
            "{} logits against {vocabulary}",
            candidate.vocabulary()
        );
        candidate.restart()?;
    }
    for block in tokens.chunks(BLOCK) {
        let truth = reference.feed(block)?;
        for (candidate, agreement) in candidates.iter_mut().zip(&mut agreements) {
            agreement.add(&rows(truth, candidate.feed(block)?, vocabulary));
        }
    }
    Ok(agreements)
}

/// Compares two blocks of rows, on all processors.
pub fn rows(truth: &[f32], claim: &[f32], vocabulary: usize) -> Agreement {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let part = vocabulary * (truth.len() / vocabulary).div_ceil(threads).max(1);
    let mut total = Agreement::default();
    thread::scope(|scope| {
        let parts = truth.chunks(part).zip(claim.chunks(part));
        let workers: Vec<_> = parts
            .map(|(t, c)| scope.spawn(move || rows_here(t, c, vocabulary)))
            .collect();
        for worker in workers {
            total.add(
                &worker
                    .join()
                    .expect("comparing rows of equal length does not panic"),
            );
        }
    });
    total
}

fn rows_here(truth: &[f32], claim: &[f32], vocabulary: usize) -> Agreement {
    let mut total = Agreement::default();
    for (truth, claim) in truth
        .chunks_exact(vocabulary)
        .zip(claim.chunks_exact(vocabulary))
    {
        total.add(&row(truth, claim));
    }
    total
}

/// Compares two rows of logits over the same vocabulary.
pub fn row(truth: &[f32], claim: &[f32]) -> Agreement {
    let (truth_sum, claim_sum) = (rank::log_sum_exp(truth), rank::log_sum_exp(claim));
    let (mut kl, mut difference_max) = (0.0, 0f64);
    for (&truth, &claim) in truth.iter().zip(claim) {
        let (truth, claim) = (f64::from(truth), f64::from(claim));
        let log = truth - truth_sum;
        kl += log.exp() * (log - (claim - claim_sum));
        difference_max = difference_max.max((truth - claim).abs());
    }
    let same = usize::from(rank::best(truth) == rank::best(claim));
    let clear = usize::from(rank::margin(truth) >= 0.1);
    Agreement {
        positions: 1,
        same_best: same,
        same_best_clear: same & clear,
        clear,
        kl_sum: kl,
        kl_max: kl,
        difference_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_agrees_with_itself() {
        let logits: Vec<f32> = (0..6 * 5).map(|i| (i * 7 % 11) as f32).collect();
        let same = rows(&logits, &logits, 5);
        assert_eq!((same.positions, same.top1(), same.kl()), (6, 1.0, 0.0));
    }

    #[test]
    fn kl_is_that_of_two_coins() {
        // p = (1/2, 1/2), q = (3/4, 1/4): KL = ln(2/sqrt(3)).
        let apart = row(&[0.0, 0.0], &[3f32.ln(), 0.0]);
        assert!((apart.kl() - (2.0 / 3f64.sqrt()).ln()).abs() < 1e-7);
    }

    #[test]
    fn a_shift_of_all_logits_changes_nothing() {
        let shifted = row(&[1.0, 2.0, 4.0], &[11.0, 12.0, 14.0]);
        assert!(shifted.kl().abs() < 1e-12 && shifted.same_best == 1);
    }
}
