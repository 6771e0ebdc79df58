//! Softmax attention. Workers take turns at (token, query heads that share keys).
#![allow(unsafe_code)]

use core::ops::Range;

use inkstone_model::cache::{KEY_LANES, TILE};
use inkstone_model::op::Attend;
use inkstone_model::spec::MAX_HEAD_WIDTH;
use inkstone_model::{Cache, Kv};
use inkstone_quant::activation::quantize_group;
use inkstone_quant::{GROUP, math};

use super::{Run, round};
use crate::arena::{Plain, cut, share};
use crate::simd::{self, LANES, Simd, Task};
use crate::team::Worker;

/// Query heads over one key head that are worked on together, at most.
const TOGETHER: usize = 4;

/// Blocks of keys side by side in a tile.
const BLOCKS: usize = TILE / KEY_LANES;

/// Numbers of scratch that are needed.
pub(super) fn scratch(op: &Attend) -> usize {
    TOGETHER * op.cache.width
}

pub(super) fn run(cx: &Run<'_>, op: &Attend, worker: &Worker<'_>) {
    let tokens = cx.batch.tokens.len();
    let group = op.heads / op.cache.heads;
    // Few units are made more, so that every worker has some.
    let together = if tokens * op.cache.heads >= 2 * worker.count {
        group.min(TOGETHER)
    } else {
        1
    };
    let runs = group.div_ceil(together);
    let per_token = op.cache.heads * runs;
    // SAFETY: once in this operation.
    let scratch = unsafe { cx.scratch(worker.index) };
    // Neighbours see about as many positions: taking turns is fair.
    for unit in (worker.index..tokens * per_token).step_by(worker.count) {
        let (token, kv_head, run) = (unit / per_token, unit % per_token / runs, unit % runs);
        let first = run * together;
        let heads = kv_head * group + first..kv_head * group + group.min(first + together);
        heads_of(cx, op, token, kv_head, heads, &mut *scratch);
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

/// Some query heads of a token over one key head.
fn heads_of(
    cx: &Run<'_>,
    op: &Attend,
    token: usize,
    kv_head: usize,
    heads: Range<usize>,
    mut scratch: &mut [f32],
) {
    let (width, n) = (op.cache.width, heads.len());
    let at = heads.start * width;
    // SAFETY: queries were written before the last barrier, and this operation does not write them.
    let q = unsafe { cx.read(op.q, token, at, n * width) };
    // SAFETY: a token's heads are given to one worker.
    let to = unsafe { cx.write(op.to, token, at, n * width) };
    let tile = cut(&mut scratch, n * width);
    let position = cx.batch.start as usize + token;
    let first = op
        .window
        .map_or(0, |window| (position + 1).saturating_sub(window));
    let seen = first..position + 1;
    let cached = Cached::new(cx, &op.cache, kv_head);
    simd::run(
        cx.isa,
        Heads {
            op,
            q,
            cached,
            seen,
            tile,
            to: &mut *to,
        },
    );
    if width.is_multiple_of(GROUP) {
        // SAFETY: a head is whole groups, and a token's heads are given to one worker.
        unsafe { round::row(cx, op.to, token, at, to) };
    }
}

/// Keys and values of one head.
#[derive(Clone, Copy)]
enum Cached<'a> {
    F32 {
        k: &'a [f32],
        v: &'a [f32],
    },
    F16 {
        k: &'a [u16],
        v: &'a [u16],
    },
    Int8 {
        k: &'a [i8],
        v: &'a [i8],
        k_scales: &'a [f32],
        v_scales: &'a [f32],
    },
}

impl<'a> Cached<'a> {
    fn new(cx: &Run<'a>, cache: &Cache, head: usize) -> Cached<'a> {
        match cache.kv {
            Kv::F32 => Cached::F32 {
                k: plane(cx, cache, cache.k, head, cache.key_width()),
                v: plane(cx, cache, cache.v, head, cache.width),
            },
            Kv::F16 => Cached::F16 {
                k: plane(cx, cache, cache.k, head, cache.key_width()),
                v: plane(cx, cache, cache.v, head, cache.width),
            },
            Kv::Int8 => Cached::Int8 {
                k: plane(cx, cache, cache.k, head, cache.key_width()),
                v: plane(cx, cache, cache.v, head, cache.width),
                k_scales: plane(cx, cache, cache.k_scales, head, 1),
                v_scales: plane(cx, cache, cache.v_scales, head, 1),
            },
        }
    }
}

/// What a head has at `start`: `width` numbers for each position of the ring.
fn plane<'a, T: Plain>(
    cx: &Run<'a>,
    cache: &Cache,
    start: usize,
    head: usize,
    width: usize,
) -> &'a [T] {
    let n = cache.positions * width;
    // SAFETY: the cache was written before the last barrier, and this operation does not write it.
    unsafe { cx.arena.read(start + head * n * size_of::<T>(), n) }
}

struct Heads<'a> {
    op: &'a Attend,
    /// `n · width`.
    q: &'a [f32],
    cached: Cached<'a>,
    /// Visible positions; at least one.
    seen: Range<usize>,
    /// `n · width`: what a tile gives.
    tile: &'a mut [f32],
    /// `n · width`.
    to: &'a mut [f32],
}

impl Task for Heads<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match self.q.len() / self.op.cache.width {
            1 => self.attend::<S, 1, 4>(simd),
            2 => self.attend::<S, 2, 2>(simd),
            3 => self.attend::<S, 3, 2>(simd),
            _ => self.attend::<S, TOGETHER, 2>(simd),
        }
    }
}

/// Numbers of a tile's positions, for each head.
type PerHead<const N: usize> = [[f32; TILE]; N];

impl Heads<'_> {
    /// `N` heads, whose scores are reckoned for `B` blocks of keys at once.
    #[inline(always)]
    fn attend<S: Simd, const N: usize, const B: usize>(self, simd: S) {
        let (op, seen, to) = (self.op, self.seen, self.to);
        let width = op.cache.width;
        let rounded = matches!(self.cached, Cached::Int8 { .. });
        let q = Queries::<N>::new(self.q, width, rounded);
        let mut sums = [Sum::default(); N];
        for tile in seen.start / TILE..=(seen.end - 1) / TILE {
            let base = tile * TILE;
            let visible = seen.start.max(base) - base..seen.end.min(base + TILE) - base;
            // Rings are whole tiles.
            let cached = self.cached.tile(base % op.cache.positions, &op.cache);
            if base <= seen.start {
                sums = cached.attend::<S, N, B>(simd, op, &q, &visible, to);
                continue;
            }
            let given = cached.attend::<S, N, B>(simd, op, &q, &visible, self.tile);
            let rows = to
                .chunks_exact_mut(width)
                .zip(self.tile.chunks_exact(width));
            for ((sum, given), (to, o)) in sums.iter_mut().zip(given).zip(rows) {
                let (a, b) = sum.join(given);
                to.iter_mut()
                    .zip(o)
                    .for_each(|(to, o)| *to = *to * a + *o * b);
            }
        }
        for (to, sum) in to.chunks_exact_mut(width).zip(sums) {
            to.iter_mut().for_each(|o| *o /= sum.total);
        }
    }
}

/// The largest score so far, and the sum of `exp(score − largest)`.
#[derive(Clone, Copy, Default)]
struct Sum {
    largest: f32,
    total: f32,
}

impl Sum {
    /// Adds what later positions gave; the factors of what was there and of what they gave.
    #[inline(always)]
    fn join(&mut self, given: Sum) -> (f32, f32) {
        let (a, b) = if given.largest > self.largest {
            (math::exp(self.largest - given.largest), 1.0)
        } else {
            (1.0, math::exp(given.largest - self.largest))
        };
        if given.largest > self.largest {
            self.largest = given.largest;
        }
        self.total = self.total * a + given.total * b;
        (a, b)
    }
}

impl<'a> Cached<'a> {
    /// The tile that starts at `position` of the ring.
    #[inline(always)]
    fn tile(&self, position: usize, cache: &Cache) -> Cached<'a> {
        let (keys, values) = (position * cache.key_width(), position * cache.width);
        match *self {
            Cached::F32 { k, v } => Cached::F32 {
                k: &k[keys..],
                v: &v[values..],
            },
            Cached::F16 { k, v } => Cached::F16 {
                k: &k[keys..],
                v: &v[values..],
            },
            Cached::Int8 {
                k,
                v,
                k_scales,
                v_scales,
            } => Cached::Int8 {
                k: &k[keys..],
                v: &v[values..],
                k_scales: &k_scales[position..][..TILE],
                v_scales: &v_scales[position..][..TILE],
            },
        }
    }

    /// What the visible positions of a tile give: `Σ p·v` of each head to `o`.
    #[inline(always)]
    fn attend<S: Simd, const N: usize, const B: usize>(
        &self,
        simd: S,
        op: &Attend,
        q: &Queries<'_, N>,
        visible: &Range<usize>,
        o: &mut [f32],
    ) -> [Sum; N] {
        let width = op.cache.width;
        let mut p = [[0.0; TILE]; N];
        let sums;
        match *self {
            Cached::F32 { k, v } => {
                scores::<S, f32, N, B>(simd, k, width, &q.rows, visible, &mut p);
                sums = softmaxes(&mut p, op, visible);
                values::<S, f32, N>(simd, v, width, visible, &p, o);
            }
            Cached::F16 { k, v } => {
                scores::<S, u16, N, B>(simd, k, width, &q.rows, visible, &mut p);
                sums = softmaxes(&mut p, op, visible);
                values::<S, u16, N>(simd, v, width, visible, &p, o);
            }
            Cached::Int8 {
                k,
                v,
                k_scales,
                v_scales,
            } => {
                let quads = op.cache.key_width() / 4;
                score_codes::<S, N>(simd, k, k_scales, quads, q, &mut p);
                sums = softmaxes(&mut p, op, visible);
                for p in &mut p {
                    p.iter_mut().zip(v_scales).for_each(|(p, s)| *p *= s);
                }
                values::<S, i8, N>(simd, v, width, visible, &p, o);
            }
        }
        sums
    }
}

/// `N` query heads, also rounded where keys are int8.
struct Queries<'a, const N: usize> {
    rows: [&'a [f32]; N],
    codes: [[i8; MAX_HEAD_WIDTH as usize]; N],
    scales: [f32; N],
}

impl<'a, const N: usize> Queries<'a, N> {
    #[inline(always)]
    fn new(q: &'a [f32], width: usize, rounded: bool) -> Queries<'a, N> {
        let mut made = Queries {
            rows: core::array::from_fn(|n| &q[n * width..][..width]),
            codes: [[0; MAX_HEAD_WIDTH as usize]; N],
            scales: [1.0; N],
        };
        if rounded {
            for n in 0..N {
                made.scales[n] = quantize_group(made.rows[n], &mut made.codes[n]);
            }
        }
        made
    }
}

/// A stored form that is read as numbers.
trait Stored: Plain {
    fn load<S: Simd>(simd: S, x: &[Self; LANES]) -> S::F;
    fn number(self) -> f32;
}

impl Stored for f32 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[f32; LANES]) -> S::F {
        simd.load(x)
    }

    #[inline(always)]
    fn number(self) -> f32 {
        self
    }
}

impl Stored for u16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[u16; LANES]) -> S::F {
        simd.load_f16(x)
    }

    #[inline(always)]
    fn number(self) -> f32 {
        math::f16(self)
    }
}

impl Stored for i8 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, x: &[i8; LANES]) -> S::F {
        simd.load_i8(x)
    }

    #[inline(always)]
    fn number(self) -> f32 {
        f32::from(self)
    }
}

/// Dots of the queries with a tile's keys, in blocks of sixteen keys `[dimension][key]`; blocks out of sight are left.
#[inline(always)]
fn scores<S: Simd, E: Stored, const N: usize, const B: usize>(
    simd: S,
    keys: &[E],
    width: usize,
    q: &[&[f32]; N],
    visible: &Range<usize>,
    to: &mut PerHead<N>,
) {
    let (keys, _) = keys[..TILE * width].as_chunks::<LANES>();
    for first in (0..BLOCKS).step_by(B) {
        if visible.end <= first * KEY_LANES || visible.start >= (first + B) * KEY_LANES {
            continue;
        }
        let blocks: [&[[E; LANES]]; B] =
            core::array::from_fn(|b| &keys[(first + b) * width..][..width]);
        let mut acc = [[simd.splat(0.0); B]; N];
        for d in 0..width {
            for b in 0..B {
                let key = E::load(simd, &blocks[b][d]);
                for n in 0..N {
                    acc[n][b] = simd.add(acc[n][b], simd.mul(key, simd.splat(q[n][d])));
                }
            }
        }
        for n in 0..N {
            let (to, _) = to[n].as_chunks_mut::<LANES>();
            for b in 0..B {
                simd.store(acc[n][b], &mut to[first + b]);
            }
        }
    }
}

/// As [`scores`] for keys in codes, `[quad of dimensions][key][4]`.
#[inline(always)]
fn score_codes<S: Simd, const N: usize>(
    simd: S,
    keys: &[i8],
    scales: &[f32],
    quads: usize,
    q: &Queries<'_, N>,
    to: &mut PerHead<N>,
) {
    let (keys, _) = keys[..TILE * quads * 4].as_chunks::<4>();
    let (keys, _) = keys.as_chunks::<LANES>();
    for block in 0..BLOCKS {
        let mut acc = [simd.zero(); N];
        for (d, key) in keys[block * quads..][..quads].iter().enumerate() {
            for (acc, codes) in acc.iter_mut().zip(&q.codes) {
                let (codes, _) = codes.as_chunks::<4>();
                *acc = simd.dot(*acc, key, codes[d]);
            }
        }
        let (scales, _) = scales.as_chunks::<LANES>();
        for n in 0..N {
            let factor = simd.mul(simd.splat(q.scales[n]), simd.load(&scales[block]));
            let (to, _) = to[n].as_chunks_mut::<LANES>();
            simd.store(simd.mul(simd.to_f32(acc[n]), factor), &mut to[block]);
        }
    }
}

/// [`softmax`] for each head.
#[inline(always)]
fn softmaxes<const N: usize>(p: &mut PerHead<N>, op: &Attend, visible: &Range<usize>) -> [Sum; N] {
    let mut sums = [Sum::default(); N];
    for (sum, p) in sums.iter_mut().zip(p) {
        *sum = softmax(p, op.scale, op.cap, visible);
    }
    sums
}

/// Turns a tile's dots into `exp(score − max)`, +0 out of sight; gives the largest score and the sum.
#[inline(always)]
fn softmax(x: &mut [f32; TILE], scale: f32, cap: Option<f32>, visible: &Range<usize>) -> Sum {
    // Whole vectors, as many as hold what is visible.
    let (x, rest) = x.split_at_mut(visible.end.next_multiple_of(LANES));
    rest.fill(0.0);
    x.iter_mut().for_each(|x| *x *= scale);
    if let Some(cap) = cap {
        x.iter_mut().for_each(|x| *x = cap * math::tanh(*x / cap));
    }
    x[..visible.start].fill(f32::NEG_INFINITY);
    x[visible.end..].fill(f32::NEG_INFINITY);
    // The largest does not depend on the order, up to the sign of a zero, which `exp` does not see.
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for x in x.as_chunks::<LANES>().0 {
        for (m, &x) in lanes.iter_mut().zip(x) {
            *m = if x > *m { x } else { *m };
        }
    }
    let m = math::max(&lanes);
    x.iter_mut().for_each(|x| *x = math::exp(*x - m));
    x[..visible.start].fill(0.0);
    x[visible.end..].fill(0.0);
    // What is left out would add +0.
    Sum {
        largest: m,
        total: math::sum(x, |p| p),
    }
}

/// `Σ p·v` over the visible positions, ascending, for each head.
#[inline(always)]
fn values<S: Simd, E: Stored, const N: usize>(
    simd: S,
    v: &[E],
    width: usize,
    visible: &Range<usize>,
    p: &PerHead<N>,
    o: &mut [f32],
) {
    let v = &v[visible.start * width..visible.end * width];
    let p: [&[f32]; N] = core::array::from_fn(|n| &p[n][visible.clone()]);
    let mut d = 0;
    while d + 4 * LANES <= width {
        columns::<S, E, N, 4>(simd, v, width, d, &p, o);
        d += 4 * LANES;
    }
    while d + LANES <= width {
        columns::<S, E, N, 1>(simd, v, width, d, &p, o);
        d += LANES;
    }
    for d in d..width {
        for n in 0..N {
            let rows = v.chunks_exact(width).zip(p[n]);
            o[n * width + d] = rows.fold(0.0, |o, (v, p)| o + p * v[d].number());
        }
    }
}

/// `C` vectors of dimensions from `d` on.
#[inline(always)]
fn columns<S: Simd, E: Stored, const N: usize, const C: usize>(
    simd: S,
    v: &[E],
    width: usize,
    d: usize,
    p: &[&[f32]; N],
    o: &mut [f32],
) {
    let mut acc = [[simd.splat(0.0); C]; N];
    for (j, v) in v.chunks_exact(width).enumerate() {
        let (v, _) = v[d..][..C * LANES].as_chunks::<LANES>();
        for c in 0..C {
            let v = E::load(simd, &v[c]);
            for n in 0..N {
                acc[n][c] = simd.add(acc[n][c], simd.mul(simd.splat(p[n][j]), v));
            }
        }
    }
    for n in 0..N {
        let (o, _) = o[n * width + d..][..C * LANES].as_chunks_mut::<LANES>();
        for c in 0..C {
            simd.store(acc[n][c], &mut o[c]);
        }
    }
}
