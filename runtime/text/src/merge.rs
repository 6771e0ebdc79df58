//! Joins neighbouring symbols, the best pair first, in `O(n log n)`.

use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::section::NONE;

/// A stretch of the piece that is one token, or `NONE` where it has not been looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Symbol {
    pub(crate) id: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
    previous: u32,
    next: u32,
}

/// The symbols of one piece and the pairs that may be joined; reused from piece to piece.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    symbols: Vec<Symbol>,
    queue: Queue,
}

/// Candidates, the best first. Most are sorted once and then taken from the end, which for a long piece is many times
/// faster than a heap of them all; only those queued meanwhile lie in a heap.
#[derive(Debug, Default)]
struct Queue {
    /// The best last.
    sorted: Vec<Reverse<Candidate>>,
    late: BinaryHeap<Reverse<Candidate>>,
}

/// Ordered by rank, then from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    /// Where the pair ends: an older entry whose pair has changed since ends elsewhere.
    end: u32,
    into: u32,
}

impl Merger {
    pub(crate) fn clear(&mut self) {
        self.symbols.clear();
        self.queue.clear();
    }

    /// Appends the symbol `start..end` of the piece.
    pub(crate) fn push(&mut self, id: u32, start: usize, end: usize) {
        let index = self.symbols.len() as u32;
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        self.symbols.push(Symbol {
            id,
            start: start as u32,
            end: end as u32,
            previous: index.checked_sub(1).unwrap_or(NONE),
            next: NONE,
        });
    }

    /// Joins pairs until `pair` knows none; `pair` gives a rank, lowest first, and the new id.
    pub(crate) fn run(&mut self, pair: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        let pairs = self.symbols.iter().zip(self.symbols.iter().skip(1));
        self.queue
            .fill(pairs.enumerate().filter_map(|(index, (left, right))| {
                let (rank, into) = pair(left, right)?;
                Some(Candidate {
                    rank,
                    left: index as u32,
                    end: right.end,
                    into,
                })
            }));
        while let Some(best) = self.queue.pop() {
            if let Some(joined) = self.join(best) {
                self.propose(self.symbols[joined].previous, &pair);
                self.propose(joined as u32, &pair);
            }
        }
    }

    /// Symbols that are left, from left to right.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.is_alive())
    }

    /// Joins the pair of `candidate` if it still exists.
    fn join(&mut self, candidate: Candidate) -> Option<usize> {
        let index = candidate.left as usize;
        let left = *self.symbols.get(index).filter(|symbol| symbol.is_alive())?;
        let right = *self.symbols.get(left.next as usize)?;
        if right.end != candidate.end {
            return None;
        }
        self.symbols[left.next as usize].kill();
        self.symbols[index] = Symbol {
            id: candidate.into,
            end: right.end,
            next: right.next,
            ..left
        };
        if let Some(after) = self.symbols.get_mut(right.next as usize) {
            after.previous = candidate.left;
        }
        Some(index)
    }

    /// Queues the pair that begins with symbol `left`, if there is one.
    fn propose(&mut self, left: u32, pair: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        let Some(first) = self.symbols.get(left as usize) else {
            return;
        };
        let Some(second) = self.symbols.get(first.next as usize) else {
            return;
        };
        if let Some((rank, into)) = pair(first, second) {
            self.queue.late.push(Reverse(Candidate {
                rank,
                left,
                end: second.end,
                into,
            }));
        }
    }
}

impl Queue {
    fn clear(&mut self) {
        self.sorted.clear();
        self.late.clear();
    }

    /// Queues the first candidates.
    fn fill(&mut self, candidates: impl Iterator<Item = Candidate>) {
        self.clear();
        self.sorted.extend(candidates.map(Reverse));
        self.sorted.sort_unstable();
    }

    fn pop(&mut self) -> Option<Candidate> {
        if self.sorted.is_empty() {
            let emptied = core::mem::take(&mut self.sorted);
            self.sorted = core::mem::replace(&mut self.late, emptied.into()).into_vec();
            self.sorted.sort_unstable();
        }
        let late = self.late.peek() > self.sorted.last();
        let best = if late {
            self.late.pop()
        } else {
            self.sorted.pop()
        };
        best.map(|Reverse(candidate)| candidate)
    }
}

impl Symbol {
    fn is_alive(&self) -> bool {
        self.start < self.end
    }

    fn kill(&mut self) {
        self.end = self.start;
    }
}

/// A rank that orders scores from the highest to the lowest.
pub(crate) fn rank_of(score: f32) -> u32 {
    let bits = score.to_bits();
    // Flipping the sign of positives and all bits of negatives makes bits ascend with the value.
    let ascending = bits ^ (((bits as i32) >> 31) as u32 | 0x8000_0000);
    !ascending
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn ranks_fall_as_scores_rise() {
        let scores = [f32::NEG_INFINITY, -3.5, -1.0, 0.0, 1e-3, 7.0, f32::INFINITY];
        assert!(scores.is_sorted_by(|a, b| rank_of(*a) > rank_of(*b)));
    }

    #[test]
    fn the_leftmost_of_equal_pairs_is_joined_first() {
        let mut merger = Merger::default();
        for at in 0..5 {
            merger.push(0, at, at + 1);
        }
        merger.run(|left, right| (left.id == 0 && right.id == 0).then_some((0, 1)));
        let ids: Vec<u32> = merger.symbols().map(|symbol| symbol.id).collect();
        assert_eq!(ids, [1, 1, 0]);
    }
}
