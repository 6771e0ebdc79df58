//! What one tile of keys and values gives some queries.

use core::ops::Range;

use inkstone_model::cache::{KEY_LANES, TILE};
use inkstone_quant::math;

use super::queries::Rounded;
use crate::arena::{Plain, quads_of};
use crate::kernels::ask;
use crate::simd::{LANES, Simd};

/// Blocks of keys side by side in a tile.
const BLOCKS: usize = TILE / KEY_LANES;

/// Tiles behind the one at hand whose place is asked for.
const AHEAD: usize = 2;

/// 64 positions of one head.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) keys: Keys<'a>,
    pub(super) values: Values<'a>,
}

impl Tile<'_> {
    /// No positions.
    pub(super) const NONE: Tile<'static> = Tile {
        keys: Keys::F32(&[]),
        values: Values::F32(&[]),
    };
}

/// `[block][dimension][16]`, int8 `[block][quad of dimensions][16][4]`, int4 `[block][octet of dimensions][16][4]`.
#[derive(Clone, Copy)]
pub(super) enum Keys<'a> {
    F32(&'a [f32]),
    F16(&'a [u16]),
    /// Those of f16 as numbers.
    Numbers(&'a [f32]),
    Int8(&'a [i8], &'a [f32]),
    /// Two codes a byte; multiplied once they are int8.
    Int4(&'a [i8], &'a [f32]),
}

/// `[position][dimension]`.
#[derive(Clone, Copy)]
pub(super) enum Values<'a> {
    F32(&'a [f32]),
    F16(&'a [u16]),
    /// Those of f16 as numbers.
    Numbers(&'a [f32]),
    Int8(&'a [i8], &'a [f32]),
    /// Two codes a byte; multiplied once they are numbers.
    Int4(&'a [i8], &'a [f32]),
    /// Codes as numbers.
    Codes(&'a [f32], &'a [f32]),
}

/// `N` query heads over the same keys.
pub(super) struct Queries<'a, const N: usize> {
    /// `N · width`.
    pub(super) rows: &'a [f32],
    pub(super) rounded: Rounded<'a>,
}

/// Numbers of a tile's positions, for each head.
pub(super) type PerHead<const N: usize> = [[f32; TILE]; N];

impl<'a> Tile<'a> {
    /// The same as numbers, in memory of its own where they are not so yet. Keys in codes stay codes, of a byte each.
    #[inline(always)]
    pub(super) fn numbers<'b, S: Simd>(
        self,
        simd: S,
        keys: &'b mut [f32],
        values: &'b mut [f32],
    ) -> Tile<'b>
    where
        'a: 'b,
    {
        Tile {
            keys: match self.keys {
                Keys::F16(k) => Keys::Numbers(numbers(simd, k, keys)),
                Keys::Int4(k, scales) => Keys::Int8(bytes(k, quads_of(keys)), scales),
                other => other,
            },
            values: match self.values {
                Values::F16(v) => Values::Numbers(numbers(simd, v, values)),
                Values::Int8(v, scales) => Values::Codes(numbers(simd, v, values), scales),
                Values::Int4(v, scales) => Values::Codes(nibbles(v, values), scales),
                other => other,
            },
        }
    }

    /// Dots of the queries with the keys; those out of sight may be left.
    #[inline(always)]
    pub(super) fn scores<S: Simd, const N: usize>(
        &self,
        simd: S,
        width: usize,
        q: &Queries<'_, N>,
        visible: &Range<usize>,
        to: &mut PerHead<N>,
    ) {
        match self.keys {
            Keys::F16(_) if cfg!(feature = "small") => unreachable!("keys are made numbers first"),
            Keys::F32(k) => scores::<S, f32, N, false>(simd, k, width, q.rows, visible, to),
            Keys::F16(k) => scores::<S, u16, N, true>(simd, k, width, q.rows, visible, to),
            Keys::Numbers(k) => scores::<S, f32, N, true>(simd, k, width, q.rows, visible, to),
            Keys::Int8(k, scales) => score_codes::<S, N>(simd, k, scales, q.rounded, to),
            Keys::Int4(..) => unreachable!("keys of four bits are made int8 first"),
        }
    }

    /// Makes the visible of a row's probabilities what is multiplied with values.
    #[inline(always)]
    pub(super) fn ready(&self, p: &mut [f32; TILE]) {
        if let Values::Int8(_, scales) | Values::Codes(_, scales) = self.values {
            for (p, scale) in p.iter_mut().zip(scales) {
                *p *= scale;
            }
        }
        if !matches!(self.values, Values::F32(_)) {
            for p in p {
                *p = math::short(*p);
            }
        }
    }

    /// What the visible positions give: `Σ p·v` of each head.
    #[inline(always)]
    pub(super) fn values<S: Simd, const N: usize>(
        &self,
        simd: S,
        width: usize,
        visible: &Range<usize>,
        p: &PerHead<N>,
        to: Joined<'_, N>,
    ) {
        match self.values {
            Values::F16(_) | Values::Int8(..) if cfg!(feature = "small") => {
                unreachable!("values are made numbers first")
            }
            Values::F32(v) => values::<S, f32, N, false>(simd, v, width, visible, p, to),
            Values::Numbers(v) | Values::Codes(v, _) => {
                values::<S, f32, N, true>(simd, v, width, visible, p, to)
            }
            Values::F16(v) => values::<S, u16, N, true>(simd, v, width, visible, p, to),
            Values::Int8(v, _) => values::<S, i8, N, true>(simd, v, width, visible, p, to),
            Values::Int4(..) => unreachable!("values of four bits are made numbers first"),
        }
    }
}

/// Numbers of a stored form.
#[inline(always)]
fn numbers<'a, S: Simd, E: Stored>(simd: S, from: &[E], to: &'a mut [f32]) -> &'a [f32] {
    // A tile is whole vectors.
    let (vectors, _) = from.as_chunks::<LANES>();
    for (to, x) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(vectors) {
        simd.store(E::load(simd, x), to);
    }
    to
}

/// Octets of keys in four bits as two quads of bytes.
#[inline(always)]
fn bytes<'a>(from: &[i8], to: &'a mut [[i8; 4]]) -> &'a [i8] {
    let octets = from.as_chunks::<{ 4 * LANES }>().0;
    let (to, _) = to.as_flattened_mut().as_chunks_mut::<{ 8 * LANES }>();
    for (to, octet) in to.iter_mut().zip(octets) {
        let (low, high) = to.split_at_mut(4 * LANES);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(octet) {
            (*low, *high) = (byte << 4 >> 4, byte >> 4);
        }
    }
    to[..octets.len()].as_flattened()
}

/// Values in four bits as numbers: of each position, the low halves of its bytes before the high ones.
#[inline(always)]
fn nibbles<'a>(from: &[i8], to: &'a mut [f32]) -> &'a [f32] {
    let (half, width) = (from.len() / TILE, to.len() / TILE);
    for (to, from) in to.chunks_exact_mut(width).zip(from.chunks_exact(half)) {
        let (low, high) = to.split_at_mut(half);
        for (to, byte) in low.iter_mut().zip(from) {
            *to = f32::from(byte << 4 >> 4);
        }
        for (to, byte) in high.iter_mut().zip(from) {
            *to = f32::from(byte >> 4);
        }
    }
    to
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

/// `sum + a · b`; `EXACT` where the product is, see [`math::short`].
#[inline(always)]
fn add_product<S: Simd, const EXACT: bool>(simd: S, sum: S::F, a: S::F, b: S::F) -> S::F {
    if EXACT {
        simd.add_exact(sum, a, b)
    } else {
        simd.add(sum, simd.mul(a, b))
    }
}

/// Asks for what lies some tiles behind `count` elements of a tile. Numbers are near already.
#[inline(always)]
fn ask_ahead<S: Simd, E: Stored>(from: *const E, count: usize, width: usize) {
    if S::ASKS && size_of::<E>() < size_of::<f32>() {
        let from = from.wrapping_add(AHEAD * TILE * width);
        ask::far(from.cast(), count * size_of::<E>());
    }
}

/// Dots of the queries with a tile's keys, in blocks of sixteen keys `[dimension][key]`; blocks out of sight are left.
#[inline(always)]
fn scores<S: Simd, E: Stored, const N: usize, const EXACT: bool>(
    simd: S,
    keys: &[E],
    width: usize,
    q: &[f32],
    visible: &Range<usize>,
    to: &mut PerHead<N>,
) {
    let mut rows: [&[f32]; N] = [&[]; N];
    rows.iter_mut()
        .zip(q.chunks_exact(width))
        .for_each(|(row, q)| *row = q);
    // As many accumulators as stay in registers.
    match (S::ACCUMULATORS, N) {
        (12.., _) => score_blocks::<S, E, N, 4, EXACT>(simd, keys, width, &rows, visible, to),
        (_, ..=2) => score_blocks::<S, E, N, 2, EXACT>(simd, keys, width, &rows, visible, to),
        _ => score_blocks::<S, E, N, 1, EXACT>(simd, keys, width, &rows, visible, to),
    }
}

/// `B` blocks of keys at once.
#[inline(always)]
fn score_blocks<S: Simd, E: Stored, const N: usize, const B: usize, const EXACT: bool>(
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
        let mut blocks: [&[[E; LANES]]; B] = [&[]; B];
        for b in 0..B {
            blocks[b] = &keys[(first + b) * width..][..width];
        }
        let mut acc = [[simd.splat(0.0); B]; N];
        for d in 0..width {
            let from = blocks[0].as_ptr().cast::<E>();
            ask_ahead::<S, E>(from.wrapping_add(d * B * LANES), B * LANES, width);
            let mut key = [simd.splat(0.0); B];
            for b in 0..B {
                key[b] = E::load(simd, &blocks[b][d]);
            }
            for n in 0..N {
                let q = simd.splat(q[n][d]);
                for b in 0..B {
                    acc[n][b] = add_product::<S, EXACT>(simd, acc[n][b], key[b], q);
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
    q: Rounded<'_>,
    to: &mut PerHead<N>,
) {
    let quads = q.quads;
    let (keys, _) = keys[..TILE * quads * 4].as_chunks::<4>();
    let (keys, _) = keys.as_chunks::<LANES>();
    let (scales, _) = scales.as_chunks::<LANES>();
    for block in 0..BLOCKS {
        let mut acc = [simd.zero(); N];
        for (d, key) in keys[block * quads..][..quads].iter().enumerate() {
            for (acc, codes) in acc.iter_mut().zip(q.codes.chunks_exact(quads)) {
                *acc = simd.dot(*acc, key, codes[d]);
            }
        }
        for n in 0..N {
            let factor = simd.mul(simd.splat(q.scales[n]), simd.load(&scales[block]));
            let (to, _) = to[n].as_chunks_mut::<LANES>();
            simd.store(simd.mul(simd.to_f32(acc[n]), factor), &mut to[block]);
        }
    }
}

/// Where what a tile gives some heads goes: `N · width` numbers.
pub(super) struct Joined<'a, const N: usize> {
    pub(super) to: &'a mut [f32],
    /// Of each head, the factors of what stands there and of what comes; none where nothing stands there yet.
    pub(super) factors: Option<&'a [[f32; 2]; N]>,
}

impl<const N: usize> Joined<'_, N> {
    /// Sixteen numbers of head `n`, number `at` on.
    #[inline(always)]
    fn put<S: Simd>(&mut self, simd: S, n: usize, at: usize, given: S::F) {
        let (to, _) = self.to[at..][..LANES].as_chunks_mut::<LANES>();
        let Some(factors) = self.factors else {
            return simd.store(given, &mut to[0]);
        };
        let [a, b] = factors[n];
        let there = simd.mul(simd.load(&to[0]), simd.splat(a));
        let given = simd.mul(given, simd.splat(b));
        simd.store(simd.add(there, given), &mut to[0]);
    }
}

/// `Σ p·v` over the visible positions, ascending, for each head.
#[inline(always)]
fn values<S: Simd, E: Stored, const N: usize, const EXACT: bool>(
    simd: S,
    v: &[E],
    width: usize,
    visible: &Range<usize>,
    p: &PerHead<N>,
    mut to: Joined<'_, N>,
) {
    let v = &v[visible.start * width..visible.end * width];
    let mut rows: [&[f32]; N] = [&[]; N];
    rows.iter_mut()
        .zip(p)
        .for_each(|(row, p)| *row = &p[visible.clone()]);
    let p = rows;
    // As many accumulators as stay in registers.
    let at_once = if S::ACCUMULATORS >= 12 { 4 } else { 1 };
    let mut d = 0;
    while at_once == 4 && d + 4 * LANES <= width {
        columns::<S, E, N, 4, EXACT>(simd, v, width, d, &p, &mut to);
        d += 4 * LANES;
    }
    while d + LANES <= width {
        columns::<S, E, N, 1, EXACT>(simd, v, width, d, &p, &mut to);
        d += LANES;
    }
    for d in d..width {
        for n in 0..N {
            let rows = v.chunks_exact(width).zip(p[n]);
            let given = rows.fold(0.0, |o, (v, p)| o + p * v[d].number());
            let to_d = &mut to.to[n * width + d];
            *to_d = match to.factors {
                Some(factors) => *to_d * factors[n][0] + given * factors[n][1],
                None => given,
            };
        }
    }
}

/// `C` vectors of dimensions from `d` on.
#[inline(always)]
fn columns<S: Simd, E: Stored, const N: usize, const C: usize, const EXACT: bool>(
    simd: S,
    v: &[E],
    width: usize,
    d: usize,
    p: &[&[f32]; N],
    to: &mut Joined<'_, N>,
) {
    let mut acc = [[simd.splat(0.0); C]; N];
    for (j, v) in v.chunks_exact(width).enumerate() {
        let (v, _) = v[d..][..C * LANES].as_chunks::<LANES>();
        ask_ahead::<S, E>(v.as_ptr().cast(), C * LANES, width);
        for c in 0..C {
            let v = E::load(simd, &v[c]);
            for n in 0..N {
                acc[n][c] = add_product::<S, EXACT>(simd, acc[n][c], simd.splat(p[n][j]), v);
            }
        }
    }
    for (n, acc) in acc.into_iter().enumerate() {
        for (c, given) in acc.into_iter().enumerate() {
            to.put(simd, n, n * width + d + c * LANES, given);
        }
    }
}
