//! The segmentation of a piece with the highest sum of scores (Kudo 2018), by dynamic programming.

use alloc::vec::Vec;

use crate::section::{Hash, NONE, Section};

/// What a character without a token costs beyond the worst token, as SentencePiece has it.
const UNKNOWN_PENALTY: f64 = 10.0;

/// The best way to reach one byte of the piece.
#[derive(Debug, Clone, Copy)]
struct Node {
    score: f64,
    start: u32,
    id: u32,
}

const UNREACHED: Node = Node {
    score: f64::NEG_INFINITY,
    start: NONE,
    id: NONE,
};

/// Room for the nodes of one piece; reused from piece to piece.
#[derive(Debug, Default)]
pub(crate) struct Lattice {
    nodes: Vec<Node>,
    path: Vec<(u32, usize, usize)>,
}

/// Bytes of a token that is looked for, at most: ten times those of any real vocabulary.
const LONGEST: usize = 1024;

impl Lattice {
    /// The tokens of `piece` with the bytes each covers; `NONE` stands for a character without one.
    pub(crate) fn segment(&mut self, section: &Section<'_>, piece: &str) -> &[(u32, usize, usize)] {
        let unknown = f64::from(f32::from_bits(section.header.worst)) - UNKNOWN_PENALTY;
        self.nodes.clear();
        self.nodes.resize(piece.len() + 1, UNREACHED);
        self.nodes[0].score = 0.0;
        for (start, character) in piece.char_indices() {
            let score = self.nodes[start].score;
            let single = start + character.len_utf8();
            if !self.extend(section, piece, start, single) {
                self.offer(single, start, NONE, score + unknown);
            }
        }
        self.walk_back(piece.len());
        &self.path
    }

    /// Offers every token that begins at `start`; tells whether one is exactly one character.
    fn extend(&mut self, section: &Section<'_>, piece: &str, start: usize, single: usize) -> bool {
        let score = self.nodes[start].score;
        let mut found_single = false;
        let mut hash = Hash::START;
        let mut before = None;
        for (offset, character) in piece[start..].char_indices() {
            if before.is_some_and(|before| !section.joins(before, character)) {
                break;
            }
            before = Some(character);
            let end = start + offset + character.len_utf8();
            if end - start > LONGEST.min(section.header.longest as usize) {
                break;
            }
            let bytes = piece.as_bytes();
            hash = bytes[start + offset..end]
                .iter()
                .fold(hash, |hash, &byte| hash.add(byte));
            if let Some(id) = section.find(&bytes[start..end], hash.finish()) {
                found_single |= end == single;
                self.offer(end, start, id, score + f64::from(section.score(id)));
            }
        }
        found_single
    }

    /// Among equal sums the first offered stays: the longest token.
    fn offer(&mut self, end: usize, start: usize, id: u32, score: f64) {
        let node = &mut self.nodes[end];
        if node.start == NONE || score > node.score {
            *node = Node {
                score,
                start: start as u32,
                id,
            };
        }
    }

    fn walk_back(&mut self, length: usize) {
        self.path.clear();
        let mut end = length;
        while end > 0 {
            let node = self.nodes[end];
            let start = (node.start as usize).min(end - 1);
            self.path.push((node.id, start, end));
            end = start;
        }
        self.path.reverse();
    }
}
