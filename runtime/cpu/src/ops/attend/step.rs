//! What some tiles give a token, or a tile gives some tokens: scores, softmax, sums of values.
#![allow(unsafe_code)]

use core::ops::Range;

use inkstone_model::Slot;
use inkstone_model::cache::TILE;

use super::queries::{Asked, Rounded};
use super::softmax::{Sum, join, softmax};
use super::tile::{Joined, Queries, Tile};
use super::{AT_ONCE, HEADS, TOGETHER, shared};
use crate::simd::{self, Simd, Task};

/// Some tiles for a token, or some tokens at a tile, and the heads of a unit.
pub(super) struct Step<'a, 'b> {
    queries: &'b Asked<'a, 'b>,
    rounded: Rounded<'b>,
    /// Whether workers share the tiles, so that what each gives is kept apart.
    shared: bool,
    count: usize,
    items: [Item<'b>; AT_ONCE],
    /// Positions of each item's tile that its token sees.
    visible: [Range<usize>; AT_ONCE],
}

/// A tile and a token that sees some of it.
#[derive(Clone, Copy)]
struct Item<'a> {
    token: usize,
    /// Its number.
    index: usize,
    tile: Tile<'a>,
    /// Whether it is the first that the token sees.
    fresh: bool,
}

impl Item<'_> {
    const NONE: Item<'static> = Item {
        token: 0,
        index: 0,
        tile: Tile::NONE,
        fresh: false,
    };
}

impl<'a, 'b> Step<'a, 'b> {
    #[inline(always)]
    pub(super) fn new(
        queries: &'b Asked<'a, 'b>,
        rounded: Rounded<'b>,
        shared: bool,
    ) -> Step<'a, 'b> {
        Step {
            queries,
            rounded,
            shared,
            count: 0,
            items: [const { Item::NONE }; AT_ONCE],
            visible: [const { 0..0 }; AT_ONCE],
        }
    }

    /// Adds a tile for a token if it sees any of it; `numbers` are the tile's if they were made.
    #[inline(always)]
    pub(super) fn push(&mut self, index: usize, token: usize, numbers: Option<Tile<'b>>) {
        let unit = self.queries.unit;
        let (base, seen) = (index * TILE, unit.seen(token));
        let (start, end) = (seen.start.max(base), seen.end.min(base + TILE));
        if start >= end {
            return;
        }
        self.visible[self.count] = start - base..end - base;
        self.items[self.count] = Item {
            token,
            index,
            tile: numbers.unwrap_or_else(|| unit.tile(base)),
            fresh: base <= seen.start,
        };
        self.count += 1;
    }

    #[inline(always)]
    pub(super) fn run<S: Simd>(&self, simd: S, sums: &mut [Sum], scores: &mut [[f32; TILE]]) {
        let unit = self.queries.unit;
        let (op, n) = (unit.op, unit.heads.len());
        let items = &self.items[..self.count];
        let scores = &mut scores[..items.len() * n];
        for (i, scores) in scores.chunks_exact_mut(n).enumerate() {
            self.heads(simd, i, scores, &Phase::Scores);
        }
        let (mut given, mut factors) = ([[0.0; 2]; AT_ONCE * HEADS], [[0.0; 2]; HEADS]);
        softmax(
            scores,
            n,
            &self.visible[..items.len()],
            op.scale,
            op.cap,
            &mut given,
        );
        for ((i, item), p) in items.iter().enumerate().zip(scores.chunks_exact_mut(n)) {
            for p in &mut *p {
                item.tile.ready(p);
            }
            let given = &given[i * n..][..n];
            let sums = &mut sums[(item.token - unit.tokens.start) * n..][..n];
            let fresh = item.fresh || self.shared;
            if self.shared {
                shared::keep(unit, item.index, given);
            } else if fresh {
                sums.copy_from_slice(given);
            } else {
                join(sums, given, &mut factors);
            }
            self.heads(simd, i, p, &Phase::Values((!fresh).then_some(&factors)));
        }
    }

    /// A phase of the heads of item `i`.
    ///
    /// Each count of heads is a function of its own: within one, what any of them needs would be made ready for every
    /// token. Where flash is dearer than time there is one count.
    #[inline(always)]
    fn heads<S: Simd>(&self, simd: S, i: usize, p: &mut [[f32; TILE]], phase: &Phase<'_>) {
        let (isa, step) = (self.queries.unit.cx.isa, self);
        for (index, p) in p.chunks_mut(TOGETHER).enumerate() {
            let first = index * TOGETHER;
            let (n, phase) = (p.len(), phase.of(first));
            match n {
                _ if cfg!(feature = "small") => Heads::<1>(step, i, first, p, phase).run(simd),
                1 => simd::run(isa, Heads::<1>(step, i, first, p, phase)),
                2 => simd::run(isa, Heads::<2>(step, i, first, p, phase)),
                3 => simd::run(isa, Heads::<3>(step, i, first, p, phase)),
                _ => simd::run(isa, Heads::<TOGETHER>(step, i, first, p, phase)),
            }
        }
    }
}

/// What is done with a tile.
enum Phase<'a> {
    /// Scores, from keys.
    Scores,
    /// Sums of values, with the factors of [`Joined`].
    Values(Option<&'a [[f32; 2]]>),
}

impl<'a> Phase<'a> {
    /// The same for heads `first` on.
    #[inline(always)]
    fn of(&self, first: usize) -> Phase<'a> {
        match self {
            Phase::Scores => Phase::Scores,
            Phase::Values(factors) => Phase::Values(factors.map(|factors| &factors[first..])),
        }
    }
}

/// `N` heads of a step's item, from a head of its unit on, with their scores or what became of them.
struct Heads<'a, 'b, const N: usize>(
    &'b Step<'a, 'b>,
    usize,
    usize,
    &'b mut [[f32; TILE]],
    Phase<'b>,
);

impl<const N: usize> Task for Heads<'_, '_, N> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Heads(step, i, first, p, phase) = self;
        let (item, visible) = (&step.items[i], &step.visible[i]);
        let unit = step.queries.unit;
        let (op, width, head) = (unit.op, unit.op.cache.width, unit.heads.start + first);
        let Some(p) = p.first_chunk_mut::<N>() else {
            return;
        };
        match phase {
            Phase::Scores => {
                let index = (item.token - unit.tokens.start) * unit.heads.len() + first;
                let query = Queries::<N> {
                    rows: step.queries.of(item.token, head, N),
                    rounded: step.rounded.of(index),
                };
                item.tile.scores(simd, width, &query, visible, p);
            }
            Phase::Values(factors) => {
                let (slot, row) = if step.shared {
                    (Slot::Parts, shared::row(unit, item.index))
                } else {
                    (op.to, item.token)
                };
                // SAFETY: a token's heads, or a tile's part of them, are given to one worker.
                let to = unsafe { unit.cx.write(slot, row, head * width, N * width) };
                let factors = factors.and_then(<[_]>::first_chunk::<N>);
                item.tile
                    .values(simd, width, visible, p, Joined { to, factors });
            }
        }
    }
}
