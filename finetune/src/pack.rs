//! Samples laid end to end, so that no position is padding.

use core::ops::Range;

/// A sequence, and which of its tokens are to be learnt.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Tokens.
    pub tokens: Vec<u32>,
    /// Whether the loss counts the prediction of the token; as many as there are tokens.
    pub learnt: Vec<bool>,
}

/// Sequences one after the other; each attends to itself alone, and its positions start at zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pack {
    /// Tokens of all sequences.
    pub tokens: Vec<u32>,
    /// Where each sequence stands.
    pub sequences: Vec<Range<usize>>,
    /// Rows whose prediction counts, ascending, and the token that follows each.
    pub targets: Vec<(usize, u32)>,
}

impl Sample {
    /// A sequence of which everything is learnt.
    #[must_use]
    pub fn whole(tokens: Vec<u32>) -> Sample {
        let learnt = vec![true; tokens.len()];
        Sample { tokens, learnt }
    }

    /// How many predictions count.
    #[must_use]
    pub fn labels(&self) -> usize {
        self.learnt.iter().skip(1).filter(|learnt| **learnt).count()
    }
}

impl Pack {
    /// Appends a sequence; it must have at least one token.
    pub fn push(&mut self, sample: &Sample) {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(&sample.tokens);
        self.sequences.push(start..self.tokens.len());
        let next = sample.tokens.iter().zip(&sample.learnt).enumerate().skip(1);
        let targets = next.filter(|(_, (_, learnt))| **learnt);
        self.targets
            .extend(targets.map(|(index, (token, _))| (start + index - 1, *token)));
    }

    /// The position of each token in its sequence.
    #[must_use]
    pub fn positions(&self) -> Vec<usize> {
        self.sequences
            .iter()
            .flat_map(|sequence| 0..sequence.len())
            .collect()
    }
}

/// Samples put into packs of at most `length` tokens: each goes to the first pack that has room (first fit), in the
/// order given. Gives the indices of samples by pack.
#[must_use]
pub fn first_fit(lengths: &[usize], length: usize) -> Vec<Vec<usize>> {
    let mut packs: Vec<(usize, Vec<usize>)> = Vec::new();
    // Packs before this one are full, or nearly so.
    let mut open = 0;
    for (index, &needed) in lengths.iter().enumerate() {
        let room = packs[open..]
            .iter_mut()
            .find(|(used, _)| used + needed <= length);
        match room {
            Some((used, pack)) => {
                *used += needed;
                pack.push(index);
            }
            None => packs.push((needed, vec![index])),
        }
        while packs.len() - open > MOST_OPEN {
            open += 1;
        }
    }
    packs.into_iter().map(|(_, pack)| pack).collect()
}

/// Packs that are looked through for room.
const MOST_OPEN: usize = 64;
