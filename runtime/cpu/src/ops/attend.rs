//! Softmax attention. A worker takes (some tokens, a key head, query heads over it), one after the other; the tiles of a
//! lone token that sees many are shared out instead (`shared`).
//!
//! Tiles of keys and values ascend; each is turned to numbers once for all tokens that see it, and what it gives is
//! joined to what earlier ones gave.
#![allow(unsafe_code)]

mod queries;
mod shared;
mod softmax;
mod step;
mod tile;

use core::ops::Range;

use inkstone_model::cache::TILE;
use inkstone_model::op::Attend;
use inkstone_model::{Kv, Place, Places};
use inkstone_quant::{GROUP, hadamard};

use super::{Run, round};
use crate::arena::{Arena, Plain, cut, share};
use crate::simd::{self, LANES, Simd, Task};
use crate::team::Worker;
use queries::{Asked, Rounded, quads};
use step::Step;
use tile::{Keys, Tile, Values};

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
