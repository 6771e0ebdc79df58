//! Integer products with WebAssembly's simd128: inputs 0 and 2 of four rows as 16-bit numbers, inputs 1 and 3 beside
//! them.
//!
//! Both are a mask or a shift away from bytes, and neighbours among them are of one row: `i32x4.dot_i16x8_s` gives a
//! sum for each of the four rows, and no lane is moved. Codes of few bits are multiplied and added in 16 bits for as
//! long as those hold the sum, which is an instruction on every processor where the other is three on Arm. Codes are
//! unsigned, levels plus [`Codes::bias`]; sums of a group begin at −bias · Σa.
#![allow(unsafe_code)]

use core::arch::wasm32::*;
use core::array::from_fn;

use inkstone_quant::codes::Levels;
use inkstone_quant::{Codes, GROUP, PANEL};

use super::at::{At, both};
use super::{Job, Kernel, Products};
use crate::isa::Isa;

/// Rows of a vector.
const LANES: usize = 4;

/// Bytes of one vector: four inputs of four rows.
const VECTOR: usize = 16;

/// Bytes of a quad of all rows.
pub(super) const QUAD: usize = PANEL * 4;

/// Vectors of a panel.
const VECTORS: usize = PANEL / LANES;

/// Parts of a tile that a group may be: quads 0 to 3, quads 4 to 7, all.
const LOW: usize = 0;
const HIGH: usize = 1;
const BOTH: usize = 2;

/// Four rows of quad `J`, and of quad `J + 4`, a byte for each input.
pub(super) type Pair = [v128; 2];

/// Inputs 0 and 2 of four rows, and inputs 1 and 3, in 16 bits.
type Split = [v128; 2];

/// How tiles of some codes are unpacked.
pub(super) trait Unpack {
    const CODES: &'static Codes;

    /// Four rows of quads `J` and `J + 4`, `J` below 4: levels plus [`Codes::bias`].
    ///
    /// # Safety
    /// `tile` points to the rows' bytes in the first quad of a whole tile.
    unsafe fn pair<const J: usize>(tile: *const u8) -> Pair;
}

pub(super) const fn kernel<C: Unpack>(group: usize) -> Kernel {
    let run = if group == GROUP {
        run::<C, false>
    } else {
        run::<C, true>
    };
    Kernel {
        codes: C::CODES,
        group,
        isa: Isa::Simd128,
        run,
    }
}

/// # Safety
/// `bytes` points to 16 bytes.
#[inline(always)]
pub(super) unsafe fn load(bytes: *const u8) -> v128 {
    // SAFETY: the caller's promise; vectors lie anywhere.
    unsafe { v128_load(bytes.cast()) }
}

/// # Safety
/// The job fits the kernel.
unsafe fn run<C: Unpack, const HALVES: bool>(job: &Job<'_>, out: &mut [Products]) {
    for panel in 0..job.panels.len() {
        let mut first = 0;
        while first < job.rows.count {
            let out = &mut out[first * job.panels.len()..];
            first += match job.rows.count - first {
                // SAFETY: the caller's promise; as many rows are left.
                4.. => unsafe { half_panels::<C, 4, HALVES>(job, panel, first, out) },
                // SAFETY: the caller's promise; as many rows are left.
                2.. => unsafe { tokens::<C, VECTORS, 2, HALVES>(job, panel, 0, first, out) },
                // SAFETY: the caller's promise; as many rows are left.
                _ => unsafe { tokens::<C, VECTORS, 1, HALVES>(job, panel, 0, first, out) },
            };
        }
    }
}

/// Products of a panel, half by half, with rows `first .. first + T`; gives `T`.
///
/// # Safety
/// As [`tokens`].
unsafe fn half_panels<C: Unpack, const T: usize, const HALVES: bool>(
    job: &Job<'_>,
    panel: usize,
    first: usize,
    out: &mut [Products],
) -> usize {
    for vector in [0, VECTORS / 2] {
        // SAFETY: the caller's promise.
        unsafe { tokens::<C, { VECTORS / 2 }, T, HALVES>(job, panel, vector, first, out) };
    }
    T
}

/// Products of `V` vectors of a panel, from `vector` on, with rows `first .. first + T`; gives `T`.
///
/// # Safety
/// The job fits the kernel and has as many rows.
unsafe fn tokens<C: Unpack, const V: usize, const T: usize, const HALVES: bool>(
    job: &Job<'_>,
    panel: usize,
    vector: usize,
    first: usize,
    out: &mut [Products],
) -> usize {
    let mut at = start::<T>(job, panel, vector, first);
    let mut acc = [[f32x4_splat(0.0); V]; T];
    for _ in 0..job.tiles {
        // SAFETY: the job has as many tiles.
        let [low, high] = unsafe { at.sums() };
        if HALVES {
            // SAFETY: a tile, its scales and a group of codes lie behind the pointers.
            unsafe { group::<C, V, T, LOW>(&mut acc, &at, &low) };
            // SAFETY: as above.
            unsafe { group::<C, V, T, HIGH>(&mut acc, &at, &high) };
        } else {
            // SAFETY: as above.
            unsafe { group::<C, V, T, BOTH>(&mut acc, &at, &both(&low, &high)) };
        }
        at.step(
            const { C::CODES.tile_bytes(PANEL) },
            if HALVES { 2 } else { 1 },
        );
    }
    for (out, acc) in out.chunks_exact_mut(job.panels.len()).zip(acc) {
        let (vectors, _) = out[panel].as_chunks_mut::<LANES>();
        for (to, acc) in vectors[vector..].iter_mut().zip(acc) {
            // SAFETY: `to` is four floats.
            unsafe { v128_store(to.as_mut_ptr().cast(), acc) };
        }
    }
    T
}

/// Where the first tile of a panel's vectors from `vector` on stands.
#[inline(always)]
fn start<const T: usize>(job: &Job<'_>, panel: usize, vector: usize, first: usize) -> At<1, T> {
    let panels = &job.panels[panel..=panel];
    let mut at = At::new(&Job { panels, ..*job }, first);
    let forth = |p: *const f32| p.wrapping_add(vector * LANES);
    at.tiles = at.tiles.map(|p| p.wrapping_add(vector * VECTOR));
    at.scales = at.scales.map(forth);
    at.minima = at.minima.map(|minima| minima.map(forth));
    at
}

/// Adds what `PART` of the current tile gives; `sums_a` are the sums of its activations.
///
/// # Safety
/// A tile, its scales and a group of codes lie behind the pointers.
#[inline(always)]
unsafe fn group<C: Unpack, const V: usize, const T: usize, const PART: usize>(
    acc: &mut [[v128; V]; T],
    at: &At<1, T>,
    sums_a: &[i32; T],
) {
    // SAFETY: the caller's promise.
    let sums = unsafe { dots::<C, V, T, PART>(sums_a, at.tiles[0], &at.codes) };
    // SAFETY: a row has a scale for each tile.
    let scales_a = at.scales_a.map(|p| unsafe { *p });
    // SAFETY: the caller's promise.
    let scales = unsafe { numbers::<V, PART>(at.scales[0]) };
    for t in 0..T {
        let scale_a = f32x4_splat(scales_a[t]);
        for v in 0..V {
            let factor = f32x4_mul(scales[v], scale_a);
            let product = f32x4_mul(f32x4_convert_i32x4(sums[t][v]), factor);
            acc[t][v] = f32x4_add(acc[t][v], product);
        }
    }
    let Some([minima]) = at.minima else { return };
    // SAFETY: the caller's promise.
    let minima = unsafe { numbers::<V, PART>(minima) };
    for t in 0..T {
        let product_a = f32x4_splat(scales_a[t] * sums_a[t] as f32);
        for v in 0..V {
            acc[t][v] = f32x4_sub(acc[t][v], f32x4_mul(minima[v], product_a));
        }
    }
}

/// Scales or minima of `V` vectors of rows, of the group that `PART` of a tile is.
///
/// # Safety
/// As many lie behind `from`, which points to those of the tile's first group.
#[inline(always)]
unsafe fn numbers<const V: usize, const PART: usize>(from: *const f32) -> [v128; V] {
    let skip = if PART == HIGH { PANEL } else { 0 };
    // SAFETY: the caller's promise.
    from_fn(|v| unsafe { load(from.add(skip + v * LANES).cast()) })
}

/// Quads whose products 16 bits hold together, at most those of a part; below 2 they are added in 32 bits.
const fn span<C: Unpack, const PART: usize>() -> usize {
    let largest = match C::CODES.levels {
        Levels::Linear { .. } => (1 << C::CODES.bits()) - 1,
        Levels::Table(_) => 255,
    };
    let mut span = if PART == BOTH { 8 } else { 4 };
    while span as i32 * 2 * largest * 127 > i16::MAX as i32 {
        span /= 2;
    }
    span
}

/// Sums of the quads of `PART`, a lane for each row, with every row of activations; those add up to `sums_a`.
///
/// # Safety
/// `tile` points to the vectors' bytes in the first quad of a whole tile, `codes` to 32 codes each.
#[inline(always)]
unsafe fn dots<C: Unpack, const V: usize, const T: usize, const PART: usize>(
    sums_a: &[i32; T],
    tile: *const u8,
    codes: &[*const i8; T],
) -> [[v128; V]; T] {
    // Closures would not be inlined, here and below.
    let mut a = [[[i16x8_splat(0); 2]; 2]; T];
    let mut sums = Sums {
        narrow: [[i16x8_splat(0); V]; T],
        wide: [[i32x4_splat(0); V]; T],
    };
    for t in 0..T {
        // SAFETY: the caller's promise.
        a[t] = unsafe { activations(codes[t]) };
        sums.wide[t] = [i32x4_splat(const { -C::CODES.bias() } * sums_a[t]); V];
    }
    // SAFETY: the caller's promise.
    unsafe { step::<C, V, T, PART, 0>(&mut sums, tile, &a) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, V, T, PART, 1>(&mut sums, tile, &a) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, V, T, PART, 2>(&mut sums, tile, &a) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, V, T, PART, 3>(&mut sums, tile, &a) };
    sums.wide
}

/// Quads of `PART` after step `j`.
const fn quads<const PART: usize>(j: usize) -> usize {
    if PART == BOTH { 2 * j + 2 } else { j + 1 }
}

/// Sums of four rows each: in 16 bits, two for each row, and in 32.
struct Sums<const V: usize, const T: usize> {
    narrow: [[v128; V]; T],
    wide: [[v128; V]; T],
}

impl<const V: usize, const T: usize> Sums<V, T> {
    /// Adds the products of vector `v` of a quad with that quad of every row of activations.
    #[inline(always)]
    fn add<const NARROW: bool>(&mut self, v: usize, w: Split, a: &[Split; T]) {
        for t in 0..T {
            let [even, odd] = a[t];
            if NARROW {
                let sum = i16x8_add(self.narrow[t][v], i16x8_mul(w[0], even));
                self.narrow[t][v] = i16x8_add(sum, i16x8_mul(w[1], odd));
            } else {
                let sum = i32x4_add(self.wide[t][v], i32x4_dot_i16x8(w[0], even));
                self.wide[t][v] = i32x4_add(sum, i32x4_dot_i16x8(w[1], odd));
            }
        }
    }

    #[inline(always)]
    fn widen(&mut self, v: usize) {
        for t in 0..T {
            let narrow = i32x4_extadd_pairwise_i16x8(self.narrow[t][v]);
            self.wide[t][v] = i32x4_add(self.wide[t][v], narrow);
            self.narrow[t][v] = i16x8_splat(0);
        }
    }
}

/// Quads `J` and `J + 4`, as far as they are of `PART`, with every row of activations.
///
/// # Safety
/// `tile` points to the vectors' bytes in the first quad of a whole tile.
#[inline(always)]
unsafe fn step<C: Unpack, const V: usize, const T: usize, const PART: usize, const J: usize>(
    sums: &mut Sums<V, T>,
    tile: *const u8,
    a: &[[Split; 2]; T],
) {
    let mut repeated = [[[i16x8_splat(0); 2]; T]; 2];
    for t in 0..T {
        for half in [LOW, HIGH] {
            let [even, odd] = a[t][half];
            repeated[half][t] = [repeat::<J>(even), repeat::<J>(odd)];
        }
    }
    for v in 0..V {
        // SAFETY: the caller's promise.
        let w = unsafe { C::pair::<J>(tile.add(v * VECTOR)) };
        for half in [LOW, HIGH] {
            if PART == HIGH - half {
                continue;
            }
            let w = [v128_and(w[half], u16x8_splat(255)), u16x8_shr(w[half], 8)];
            if const { span::<C, PART>() >= 2 } {
                sums.add::<true>(v, w, &repeated[half]);
            } else {
                sums.add::<false>(v, w, &repeated[half]);
            }
        }
        if const { span::<C, PART>() >= 2 && quads::<PART>(J).is_multiple_of(span::<C, PART>()) } {
            sums.widen(v);
        }
    }
}

/// The first and the second half of 32 codes: a lane of 32 bits for each quad.
///
/// # Safety
/// `codes` points to 32 codes.
#[inline(always)]
unsafe fn activations(codes: *const i8) -> [Split; 2] {
    let mut halves = [[i16x8_splat(0); 2]; 2];
    for (half, to) in halves.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let codes = unsafe { load(codes.add(half * VECTOR).cast()) };
        *to = [i16x8_shr(i16x8_shl(codes, 8), 8), i16x8_shr(codes, 8)];
    }
    halves
}

/// Lane `J`, four times.
#[inline(always)]
fn repeat<const J: usize>(a: v128) -> v128 {
    match J {
        0 => i32x4_shuffle::<0, 0, 0, 0>(a, a),
        1 => i32x4_shuffle::<1, 1, 1, 1>(a, a),
        2 => i32x4_shuffle::<2, 2, 2, 2>(a, a),
        _ => i32x4_shuffle::<3, 3, 3, 3>(a, a),
    }
}
