//! Softmax attention. A worker takes (some tokens, a key head, query heads over it), one after the other; the tiles of a
//! lone token that sees many are shared out instead (`shared`).
//!
//! Tiles of keys and values ascend; each is turned to numbers once for all tokens that see it, and what it gives is
//! joined to what earlier ones gave.
#![allow(unsafe_code)]

mod shared;
mod softmax;
mod tile;

use core::ops::Range;

use inkstone_model::cache::TILE;
use inkstone_model::op::Attend;
use inkstone_model::{Cache, Kv, Place, Places, Slot};
use inkstone_quant::activation::quantize_group;
use inkstone_quant::{GROUP, hadamard, math};

use super::{Run, round};
use crate::arena::{Arena, Plain, cut, quads_of, share};
use crate::simd::{self, LANES, Simd, Task};
use crate::team::Worker;
use softmax::{Sum, join, softmax};
use tile::{Joined, Keys, Queries, Tile, Values};

/// Query heads over one key head that are worked on together, at most.
const TOGETHER: usize = if cfg!(feature = "small") { 1 } else { 4 };

/// Tokens of a unit, at most.
const TOKENS: usize = if cfg!(feature = "small") { 16 } else { 32 };

/// Tokens that meet a tile together, or tiles that meet a token, at most: a tile's keys, then its values are in the first
/// cache for all tokens.
const AT_ONCE: usize = if cfg!(feature = "small") { 1 } else { 4 };

/// Query heads of a unit, at most.
const HEADS: usize = 8;

/// Numbers of scratch that are needed: a tile's keys and values, copies of queries, scores, rounded queries and their
/// scales, sums.
pub(super) fn scratch(op: &Attend) -> usize {
    let heads = (op.heads / op.cache.heads).min(HEADS);
    (2 * TILE + TOGETHER) * op.cache.width
        + AT_ONCE * heads * TILE
        + TOKENS * HEADS * (quads(&op.cache) + 1 + 2)
}

/// Quads of a rounded query: as many as keys have.
fn quads(cache: &Cache) -> usize {
    cache
        .width
        .next_multiple_of(cache.kv.together())
        .div_ceil(4)
}

pub(super) fn run(cx: &Run<'_>, op: &Attend, worker: &Worker<'_>) {
    let tokens = cx.batch.tokens.len();
    // SAFETY: once in this operation.
    let scratch = unsafe { cx.scratch(worker.index) };
    if shared::worth(cx, op, worker) {
        shared::run(cx, op, worker, scratch);
    } else {
        let together = match cx.batch.places {
            Places::From(_) => TOKENS,
            Places::Each(_) => 1,
        };
        let split = Split::new(op, tokens, together, worker.count);
        let units = split.units(op, tokens);
        while let Some(index) = worker.take(units) {
            Unit::new(cx, op, &split, index).attend(&mut *scratch);
        }
    }
    if !op.cache.width.is_multiple_of(GROUP) && cx.plan.slot(op.to).rounded {
        // Groups of codes span heads.
        worker.meet();
        for row in share(tokens, worker.index, worker.count) {
            // SAFETY: rows were written before the barrier.
            let x = unsafe { cx.read(op.to, row, 0, op.heads * op.cache.width) };
            // SAFETY: rows are shared out.
            unsafe { round::row(cx, op.to, row, 0, x) };
        }
    }
}

/// How tokens and heads are made into units.
struct Split {
    tokens: usize,
    heads: usize,
}

impl Split {
    /// Many tokens share the work of a tile; few units are made more, so that every worker has some.
    fn new(op: &Attend, tokens: usize, together: usize, workers: usize) -> Split {
        let group = op.heads / op.cache.heads;
        if tokens >= 2 * workers && together > 1 {
            let tokens = tokens.div_ceil(2 * workers).min(together);
            let heads = group.min(HEADS);
            return Split { tokens, heads };
        }
        let together = if tokens * op.cache.heads >= 2 * workers {
            group.min(TOGETHER)
        } else {
            1
        };
        Split {
            tokens: 1,
            heads: together,
        }
    }

    /// Units of a token block.
    fn runs(&self, op: &Attend) -> usize {
        (op.heads / op.cache.heads).div_ceil(self.heads)
    }

    fn units(&self, op: &Attend, tokens: usize) -> usize {
        tokens.div_ceil(self.tokens) * op.cache.heads * self.runs(op)
    }
}

/// Some query heads of some tokens of one sequence, at consecutive positions, over one key head.
struct Unit<'a> {
    cx: &'a Run<'a>,
    op: &'a Attend,
    tokens: Range<usize>,
    /// Where the first token stands.
    place: Place,
    kv_head: usize,
    heads: Range<usize>,
}

impl<'a> Unit<'a> {
    fn new(cx: &'a Run<'a>, op: &'a Attend, split: &Split, index: usize) -> Unit<'a> {
        let (runs, group) = (split.runs(op), op.heads / op.cache.heads);
        let per_block = op.cache.heads * runs;
        let (block, kv_head, run) = (index / per_block, index % per_block / runs, index % runs);
        let (token, first) = (block * split.tokens, run * split.heads);
        Unit {
            cx,
            op,
            tokens: token..cx.batch.tokens.len().min(token + split.tokens),
            place: cx.batch.place(token),
            kv_head,
            heads: kv_head * group + first..kv_head * group + group.min(first + split.heads),
        }
    }

    fn attend(self, scratch: &mut [f32]) {
        simd::run(
            self.cx.isa,
            Attention {
                unit: &self,
                part: None,
                scratch,
            },
        );
        let width = self.op.cache.width;
        if !width.is_multiple_of(GROUP) {
            return;
        }
        let (at, n) = (self.heads.start * width, self.heads.len() * width);
        for token in self.tokens.clone() {
            // SAFETY: a token's heads are given to one worker.
            let x = unsafe { self.cx.read(self.op.to, token, at, n) };
            // SAFETY: a head is whole groups, and a token's heads are given to one worker.
            unsafe { round::row(self.cx, self.op.to, token, at, x) };
        }
    }

    /// Makes queries what is multiplied with keys, or is rounded for it: see [`Attend`].
    #[inline(always)]
    fn ready(&self, q: &mut [f32]) {
        let (kv, width) = (self.op.cache.kv, self.op.cache.width);
        match kv {
            Kv::F16 => q.iter_mut().for_each(|q| *q = math::short(*q)),
            Kv::Int4 => q.chunks_exact_mut(width).for_each(hadamard::rotate),
            Kv::F32 | Kv::Int8 => {}
        }
    }

    /// Positions that a token sees; at least one.
    #[inline(always)]
    fn seen(&self, token: usize) -> Range<usize> {
        let end = self.place.position as usize + token - self.tokens.start + 1;
        let window = self.op.window.unwrap_or(end);
        end.saturating_sub(window)..end
    }

    /// Tiles that any token sees.
    #[inline(always)]
    fn tiles(&self) -> Range<usize> {
        let (first, last) = (self.tokens.start, self.tokens.end - 1);
        self.seen(first).start / TILE..self.seen(last).end.div_ceil(TILE)
    }

    /// The tile from absolute position `base` on, as it is stored. Rings are whole tiles.
    #[inline(always)]
    fn tile(&self, base: usize) -> Tile<'a> {
        let (cache, arena) = (self.op.cache.of(self.place.sequence), self.cx.arena);
        let first = self.kv_head * cache.positions + base % cache.positions;
        let (keys, values) = (first * cache.key_width(), first * cache.value_width());
        let (k, v) = (TILE * cache.key_width(), TILE * cache.value_width());
        match cache.kv {
            Kv::F32 => Tile {
                keys: Keys::F32(of(arena, cache.k, keys, k)),
                values: Values::F32(of(arena, cache.v, values, v)),
            },
            Kv::F16 => Tile {
                keys: Keys::F16(of(arena, cache.k, keys, k)),
                values: Values::F16(of(arena, cache.v, values, v)),
            },
            Kv::Int8 => Tile {
                keys: Keys::Int8(
                    of(arena, cache.k, keys, k),
                    of(arena, cache.k_scales, first, TILE),
                ),
                values: Values::Int8(
                    of(arena, cache.v, values, v),
                    of(arena, cache.v_scales, first, TILE),
                ),
            },
            Kv::Int4 => Tile {
                keys: Keys::Int4(
                    of(arena, cache.k, keys, k),
                    of(arena, cache.k_scales, first, TILE),
                ),
                values: Values::Int4(
                    of(arena, cache.v, values, v),
                    of(arena, cache.v_scales, first, TILE),
                ),
            },
        }
    }
}

/// `count` numbers from element `first` of a plane on.
#[inline(always)]
fn of<'a, T: Plain>(arena: Arena<'a>, plane: usize, first: usize, count: usize) -> &'a [T] {
    // SAFETY: the cache was written before the last barrier, and this operation does not write it.
    unsafe { arena.read(plane + first * size_of::<T>(), count) }
}

struct Attention<'a, 'b> {
    unit: &'b Unit<'a>,
    /// The tiles that are worked on where workers share a token's, each of them apart.
    part: Option<Range<usize>>,
    scratch: &'b mut [f32],
}

impl Task for Attention<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Attention {
            unit,
            part,
            mut scratch,
        } = self;
        let (width, n) = (unit.op.cache.width, unit.heads.len());
        let many = unit.tokens.len() * n > TOGETHER
            || unit.op.cache.kv == Kv::Int4
            || (S::DEAR_F16 && !width.is_multiple_of(LANES))
            || cfg!(feature = "small");
        let keys = cut(&mut scratch, TILE * width);
        let values = cut(&mut scratch, TILE * width);
        let (scores, _) = cut(&mut scratch, AT_ONCE * n * TILE).as_chunks_mut::<TILE>();
        let (sums, _) = cut(&mut scratch, 2 * TOKENS * HEADS).as_chunks_mut::<2>();
        let own = match part {
            Some(_) => cut(&mut scratch, TOGETHER * width),
            None => &mut [],
        };
        let queries = Asked::new(unit, own);
        let rounded = Rounded::new(&queries, scratch);
        let shared = part.is_some();
        let tiles = part.unwrap_or_else(|| unit.tiles());
        // A tile that is made numbers meets all tokens; where there are few, they meet several tiles.
        let at_once = if many {
            1
        } else {
            (AT_ONCE / unit.tokens.len()).max(1)
        };
        for first in tiles.clone().step_by(at_once) {
            let some = first..tiles.end.min(first + at_once);
            let numbers = if many {
                let stored = unit.tile(first * TILE);
                Some(stored.numbers(simd, &mut *keys, &mut *values))
            } else {
                None
            };
            for token in unit.tokens.clone().step_by(AT_ONCE) {
                let mut step = Step::new(&queries, rounded, shared);
                for tile in some.clone() {
                    for token in token..unit.tokens.end.min(token + AT_ONCE) {
                        step.push(tile, token, numbers);
                    }
                }
                step.run(simd, sums, scores);
            }
        }
        if shared {
            return;
        }
        for (t, token) in unit.tokens.clone().enumerate() {
            for (sum, head) in sums[t * n..].iter().zip(unit.heads.clone()) {
                // SAFETY: a token's heads are given to one worker.
                let to = unsafe { unit.cx.write(unit.op.to, token, head * width, width) };
                to.iter_mut().for_each(|o| *o /= sum[1]);
                if unit.op.cache.kv == Kv::Int4 {
                    hadamard::rotate(to);
                }
            }
        }
    }
}

/// A unit's queries, made ready.
struct Asked<'a, 'b> {
    unit: &'b Unit<'a>,
    /// Copies of one token's, where workers share its heads; else they stand where they stood.
    own: &'b [f32],
}

impl<'a, 'b> Asked<'a, 'b> {
    #[inline(always)]
    fn new(unit: &'b Unit<'a>, own: &'b mut [f32]) -> Asked<'a, 'b> {
        let width = unit.op.cache.width;
        let (at, n) = (unit.heads.start * width, unit.heads.len() * width);
        if own.is_empty() {
            for token in unit.tokens.clone() {
                // SAFETY: a token's heads are given to one worker, which has no reference to them here.
                unit.ready(unsafe { unit.cx.write(unit.op.q, token, at, n) });
            }
        } else {
            // SAFETY: queries were written before the last barrier, and where workers share them none writes them.
            own[..n].copy_from_slice(unsafe { unit.cx.read(unit.op.q, unit.tokens.start, at, n) });
            unit.ready(&mut own[..n]);
        }
        Asked { unit, own }
    }

    /// Those of `n` heads of a token.
    #[inline(always)]
    fn of(&self, token: usize, head: usize, n: usize) -> &[f32] {
        let width = self.unit.op.cache.width;
        if self.own.is_empty() {
            // SAFETY: a token's heads are given to one worker, and what it wrote of its queries it has written.
            unsafe {
                self.unit
                    .cx
                    .read(self.unit.op.q, token, head * width, n * width)
            }
        } else {
            &self.own[(head - self.unit.heads.start) * width..][..n * width]
        }
    }
}

/// Queries in the form that int8 keys are multiplied with; empty for other keys.
#[derive(Clone, Copy)]
struct Rounded<'a> {
    /// Quads of a query.
    quads: usize,
    codes: &'a [[i8; 4]],
    scales: &'a [f32],
}

impl<'a> Rounded<'a> {
    /// Those of a unit, token by token.
    #[inline(always)]
    fn new(queries: &Asked<'_, '_>, mut scratch: &'a mut [f32]) -> Rounded<'a> {
        let unit = queries.unit;
        let quads = quads(&unit.op.cache);
        if !unit.op.cache.kv.codes() {
            return Rounded {
                quads,
                codes: &[],
                scales: &[],
            };
        }
        let n = unit.heads.len();
        let scales = cut(&mut scratch, TOKENS * HEADS);
        let codes = quads_of(cut(&mut scratch, TOKENS * HEADS * quads));
        let rows = scales.iter_mut().zip(codes.chunks_exact_mut(quads));
        for (i, (scale, codes)) in rows.enumerate().take(unit.tokens.len() * n) {
            let (token, head) = (unit.tokens.start + i / n, unit.heads.start + i % n);
            *scale = quantize_group(queries.of(token, head, 1), codes.as_flattened_mut());
        }
        Rounded {
            quads,
            codes,
            scales,
        }
    }

    /// Those from query `index` on.
    #[inline(always)]
    fn of(&self, index: usize) -> Rounded<'a> {
        Rounded {
            quads: self.quads,
            codes: self.codes.get(index * self.quads..).unwrap_or_default(),
            scales: self.scales.get(index..).unwrap_or_default(),
        }
    }
}

/// Some tiles for a token, or some tokens at a tile, and the heads of a unit.
struct Step<'a, 'b> {
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
    fn new(queries: &'b Asked<'a, 'b>, rounded: Rounded<'b>, shared: bool) -> Step<'a, 'b> {
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
    fn push(&mut self, index: usize, token: usize, numbers: Option<Tile<'b>>) {
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
    fn run<S: Simd>(&self, simd: S, sums: &mut [Sum], scores: &mut [[f32; TILE]]) {
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
