//! Softmax attention. A worker takes (some tokens, a key head, query heads over it), one after the other.
//!
//! Tiles of keys and values ascend; each is turned to numbers once for all tokens that see it, and what it gives is
//! joined to what earlier ones gave.
#![allow(unsafe_code)]

mod softmax;
mod tile;

use core::ops::Range;

use inkstone_model::cache::TILE;
use inkstone_model::op::Attend;
use inkstone_model::{Cache, Kv, Place, Places};
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

/// Tokens that meet a tile together, at most: its keys, then its values are in the first cache for all of them.
const AT_ONCE: usize = if cfg!(feature = "small") { 1 } else { 4 };

/// Query heads of a unit, at most.
const HEADS: usize = 8;

/// Numbers of scratch that are needed: a tile's keys and values, scores, rounded queries and their scales, sums.
pub(super) fn scratch(op: &Attend) -> usize {
    let heads = (op.heads / op.cache.heads).min(HEADS);
    2 * TILE * op.cache.width + AT_ONCE * heads * TILE + TOKENS * HEADS * (quads(&op.cache) + 1 + 2)
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
    let together = match cx.batch.places {
        Places::From(_) => TOKENS,
        Places::Each(_) => 1,
    };
    let split = Split::new(op, tokens, together, worker.count);
    let units = split.units(op, tokens);
    while let Some(index) = worker.take(units) {
        Unit::new(cx, op, &split, index).attend(&mut *scratch);
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
    fn ready(&self) {
        let (kv, width) = (self.op.cache.kv, self.op.cache.width);
        let (at, n) = (self.heads.start * width, self.heads.len() * width);
        for token in self.tokens.clone() {
            // SAFETY: a token's heads are given to one worker, which has no reference to them here.
            let q = unsafe { self.cx.write(self.op.q, token, at, n) };
            match kv {
                Kv::F16 => q.iter_mut().for_each(|q| *q = math::short(*q)),
                Kv::Int4 => q.chunks_exact_mut(width).for_each(hadamard::rotate),
                Kv::F32 | Kv::Int8 => {}
            }
        }
    }

    /// Positions that a token sees; at least one.
    #[inline(always)]
    fn seen(&self, token: usize) -> Range<usize> {
        let end = self.place.position as usize + token - self.tokens.start + 1;
        let window = self.op.window.unwrap_or(end);
        end.saturating_sub(window)..end
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
    scratch: &'b mut [f32],
}

impl Task for Attention<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Attention { unit, mut scratch } = self;
        let (width, n) = (unit.op.cache.width, unit.heads.len());
        let many = unit.tokens.len() * n > TOGETHER
            || unit.op.cache.kv == Kv::Int4
            || (S::DEAR_F16 && !width.is_multiple_of(LANES))
            || cfg!(feature = "small");
        let keys = cut(&mut scratch, TILE * width);
        let values = cut(&mut scratch, TILE * width);
        let (scores, _) = cut(&mut scratch, AT_ONCE * n * TILE).as_chunks_mut::<TILE>();
        let (sums, _) = cut(&mut scratch, 2 * TOKENS * HEADS).as_chunks_mut::<2>();
        unit.ready();
        let rounded = Rounded::new(unit, scratch);
        let first = unit.seen(unit.tokens.start).start / TILE;
        let last = (unit.seen(unit.tokens.end - 1).end - 1) / TILE;
        for base in (first..=last).map(|tile| tile * TILE) {
            let stored = unit.tile(base);
            let tile = if many {
                stored.numbers(simd, &mut *keys, &mut *values)
            } else {
                stored
            };
            for first in unit.tokens.clone().step_by(AT_ONCE) {
                let tokens = first..unit.tokens.end.min(first + AT_ONCE);
                let t = first - unit.tokens.start;
                let step = Step {
                    unit,
                    tile,
                    base,
                    rounded: rounded.of(t * n),
                    visible: visible(unit, base, &tokens),
                    tokens,
                };
                step.run(simd, &mut sums[t * n..], scores);
            }
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
    fn new(unit: &Unit<'_>, mut scratch: &'a mut [f32]) -> Rounded<'a> {
        let (width, quads) = (unit.op.cache.width, quads(&unit.op.cache));
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
            // SAFETY: a token's heads are given to one worker, and what it wrote of its queries it has written.
            let q = unsafe { unit.cx.read(unit.op.q, token, head * width, width) };
            *scale = quantize_group(q, codes.as_flattened_mut());
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

/// Positions of the tile from `base` on that some tokens see.
#[inline(always)]
fn visible(unit: &Unit<'_>, base: usize, tokens: &Range<usize>) -> [Range<usize>; AT_ONCE] {
    let mut visible = [const { 0..0 }; AT_ONCE];
    for (visible, token) in visible.iter_mut().zip(tokens.clone()) {
        let seen = unit.seen(token);
        let (start, end) = (seen.start.max(base), seen.end.min(base + TILE));
        if start < end {
            *visible = start - base..end - base;
        }
    }
    visible
}

/// A tile for some tokens and the heads of a unit.
struct Step<'a> {
    unit: &'a Unit<'a>,
    tile: Tile<'a>,
    base: usize,
    tokens: Range<usize>,
    rounded: Rounded<'a>,
    /// Positions of the tile that each token sees.
    visible: [Range<usize>; AT_ONCE],
}

impl Step<'_> {
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S, sums: &mut [Sum], scores: &mut [[f32; TILE]]) {
        let (op, n) = (self.unit.op, self.unit.heads.len());
        let visible = &self.visible[..self.tokens.len()];
        let rows = visible.len() * n;
        let (scores, sums) = (&mut scores[..rows], &mut sums[..rows]);
        for (t, scores) in scores.chunks_exact_mut(n).enumerate() {
            self.token(simd, t, scores, &Phase::Scores);
        }
        let (mut given, mut factors) = ([[0.0; 2]; AT_ONCE * HEADS], [[0.0; 2]; AT_ONCE * HEADS]);
        softmax(scores, n, visible, op.scale, op.cap, &mut given);
        for p in &mut *scores {
            self.tile.ready(p);
        }
        join(sums, &given, &mut factors);
        for (t, p) in scores.chunks_exact_mut(n).enumerate() {
            let heads = t * n..(t + 1) * n;
            let fresh = self.base <= self.unit.seen(self.tokens.start + t).start;
            if fresh {
                sums[heads.clone()].copy_from_slice(&given[heads.clone()]);
            }
            let factors = (!fresh).then_some(&factors[heads]);
            self.token(simd, t, p, &Phase::Values(factors));
        }
    }

    /// A phase of the heads of token `t` of these.
    ///
    /// Each count of heads is a function of its own: within one, what any of them needs would be made ready for every
    /// token. Where flash is dearer than time there is one count.
    #[inline(always)]
    fn token<S: Simd>(&self, simd: S, t: usize, p: &mut [[f32; TILE]], phase: &Phase<'_>) {
        if self.visible[t].is_empty() {
            return;
        }
        let isa = self.unit.cx.isa;
        for (i, p) in p.chunks_mut(TOGETHER).enumerate() {
            let (first, n) = (i * TOGETHER, p.len());
            let (step, phase) = (self, phase.of(first));
            match n {
                _ if cfg!(feature = "small") => Heads::<1> {
                    step,
                    t,
                    first,
                    p,
                    phase,
                }
                .run(simd),
                1 => simd::run(
                    isa,
                    Heads::<1> {
                        step,
                        t,
                        first,
                        p,
                        phase,
                    },
                ),
                2 => simd::run(
                    isa,
                    Heads::<2> {
                        step,
                        t,
                        first,
                        p,
                        phase,
                    },
                ),
                3 => simd::run(
                    isa,
                    Heads::<3> {
                        step,
                        t,
                        first,
                        p,
                        phase,
                    },
                ),
                _ => simd::run(
                    isa,
                    Heads::<TOGETHER> {
                        step,
                        t,
                        first,
                        p,
                        phase,
                    },
                ),
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

/// `N` heads of a step's token `t`, from head `first` of its unit on.
struct Heads<'a, const N: usize> {
    step: &'a Step<'a>,
    t: usize,
    first: usize,
    /// Scores, or what became of them.
    p: &'a mut [[f32; TILE]],
    phase: Phase<'a>,
}

impl<const N: usize> Task for Heads<'_, N> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Heads { step, t, first, .. } = self;
        let (unit, tile, visible) = (step.unit, step.tile, &step.visible[t]);
        let (cx, op, width) = (unit.cx, unit.op, unit.op.cache.width);
        let (token, at) = (step.tokens.start + t, (unit.heads.start + first) * width);
        let Some(p) = self.p.first_chunk_mut::<N>() else {
            return;
        };
        match self.phase {
            Phase::Scores => {
                // SAFETY: a token's heads are given to one worker, and what it wrote of its queries it has written.
                let q = unsafe { cx.read(op.q, token, at, N * width) };
                let query = Queries::<N> {
                    rows: q,
                    rounded: step.rounded.of(t * unit.heads.len() + first),
                };
                tile.scores(simd, width, &query, visible, p);
            }
            Phase::Values(factors) => {
                // SAFETY: a token's heads are given to one worker.
                let to = unsafe { cx.write(op.to, token, at, N * width) };
                let factors = factors.and_then(<[_]>::first_chunk::<N>);
                tile.values(simd, width, visible, p, Joined { to, factors });
            }
        }
    }
}
