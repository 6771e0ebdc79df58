//! What the kernels for 64-bit Arm share: how tiles are read, how a group joins the sum, the walk over a job.
//!
//! A pass takes some of a panel's vectors of four rows with as many rows of activations as let all sums stay in
//! registers. Sums of a group begin at [`MAGIC`] − bias · Σa: the bias turns codes into the levels they stand for, and
//! with the magic the sum is the bits of an f32, from which one subtraction takes it away again.
#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::array::from_fn;

use inkstone_quant::{Codes, GROUP, PANEL};

use super::at::{At, both};
use super::{Job, Kernel};
use crate::isa::Isa;

/// Rows of a vector.
pub(super) const LANES: usize = 4;

/// Bytes of one vector: four inputs of four rows.
pub(super) const VECTOR: usize = 16;

/// Bytes of a quad of all rows.
pub(super) const QUAD: usize = PANEL * 4;

/// Vectors of a panel.
pub(super) const VECTORS: usize = PANEL / LANES;

/// The bits of 1.5 · 2²³: an integer below 2²² added to them gives the bits of that f32 plus the integer.
const MAGIC: i32 = 0x4b40_0000;

/// Parts of a tile that a group may be: quads 0 to 3, quads 4 to 7, all.
pub(super) const LOW: usize = 0;
pub(super) const HIGH: usize = 1;
pub(super) const BOTH: usize = 2;

/// A vector of quad `J`, and that of quad `J + 4`.
pub(super) type Pair = [int8x16_t; 2];

/// How tiles of some codes are unpacked.
pub(super) trait Unpack {
    const CODES: &'static Codes;

    /// What is unpacked is levels plus this.
    const BIAS: i32;

    /// The largest magnitude of what is unpacked: bytes are signed where it is at most 128.
    const LARGEST: i32;

    /// Four rows of quads `J` and `J + 4`, `J` below 4.
    ///
    /// # Safety
    /// `tile` points to the rows' bytes in the first quad of a whole tile.
    unsafe fn pair<const J: usize>(tile: *const u8) -> Pair;
}

/// Products of an instruction set.
pub(super) trait Products<C: Unpack> {
    const ISA: Isa;

    /// Products of a panel with some rows from `first` on; gives how many.
    ///
    /// # Safety
    /// The processor has the instructions, the job fits the kernel and has a row `first`.
    unsafe fn rows<const HALVES: bool>(
        job: &Job<'_>,
        panel: usize,
        first: usize,
        out: &mut [[f32; PANEL]],
    ) -> usize;
}

/// Sums of a group, a lane for each row of a panel.
pub(super) trait Dots {
    /// Sums over the quads of `PART` that begin at `start`.
    ///
    /// # Safety
    /// The processor has the instructions, `tile` points to the vectors' bytes in the first quad of a whole tile, and
    /// `codes` to 32 codes each.
    unsafe fn sums<C: Unpack, const V: usize, const T: usize, const PART: usize>(
        start: [int32x4_t; T],
        tile: *const u8,
        codes: &[*const i8; T],
    ) -> [[int32x4_t; V]; T];
}

pub(super) const fn kernel<P: Products<C>, C: Unpack>(group: usize) -> Kernel {
    let run = if group == GROUP {
        run::<P, C, false>
    } else {
        run::<P, C, true>
    };
    Kernel {
        codes: C::CODES,
        group,
        isa: P::ISA,
        run,
    }
}

/// # Safety
/// The processor has the instructions, and the job fits the kernel.
unsafe fn run<P: Products<C>, C: Unpack, const HALVES: bool>(
    job: &Job<'_>,
    out: &mut [[f32; PANEL]],
) {
    for panel in 0..job.panels.len() {
        let mut first = 0;
        while first < job.rows.count {
            // SAFETY: the caller's promise; a row is left.
            first += unsafe {
                P::rows::<HALVES>(job, panel, first, &mut out[first * job.panels.len()..])
            };
        }
    }
}

/// Where the first tile of a panel's vectors from `vector` on stands.
#[inline(always)]
pub(super) fn start<const T: usize>(
    job: &Job<'_>,
    panel: usize,
    vector: usize,
    first: usize,
) -> At<1, T> {
    let panels = &job.panels[panel..=panel];
    let mut at = At::new(&Job { panels, ..*job }, first);
    let forth = |p: *const f32| p.wrapping_add(vector * LANES);
    at.tiles = at.tiles.map(|p| p.wrapping_add(vector * VECTOR));
    at.scales = at.scales.map(forth);
    at.minima = at.minima.map(|minima| minima.map(forth));
    at
}

/// Products of `V` vectors of a panel, from `vector` on, with rows `first .. first + T`; gives `T`.
///
/// # Safety
/// The processor has the instructions, the job fits the kernel and has as many rows.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn tokens<
    D: Dots,
    C: Unpack,
    const V: usize,
    const T: usize,
    const HALVES: bool,
>(
    job: &Job<'_>,
    panel: usize,
    vector: usize,
    first: usize,
    out: &mut [[f32; PANEL]],
) -> usize {
    let mut at = start::<T>(job, panel, vector, first);
    let mut acc = [[vdupq_n_f32(0.0); V]; T];
    for _ in 0..job.tiles {
        // SAFETY: the job has as many tiles.
        let [low, high] = unsafe { at.sums() };
        if HALVES {
            // SAFETY: a tile, its scales and a group of codes lie behind the pointers.
            unsafe { group::<D, C, V, T, LOW>(&mut acc, &at, &low) };
            // SAFETY: as above.
            unsafe { group::<D, C, V, T, HIGH>(&mut acc, &at, &high) };
        } else {
            let both = both(&low, &high);
            // SAFETY: as above.
            unsafe { group::<D, C, V, T, BOTH>(&mut acc, &at, &both) };
        }
        step::<C, T, HALVES>(&mut at);
    }
    for (out, acc) in out.chunks_exact_mut(job.panels.len()).zip(acc) {
        let (vectors, _) = out[panel].as_chunks_mut::<LANES>();
        for (to, acc) in vectors[vector..].iter_mut().zip(acc) {
            // SAFETY: `to` is four floats.
            unsafe { vst1q_f32(to.as_mut_ptr(), acc) };
        }
    }
    T
}

/// Products of a panel, half by half, with rows `first .. first + T`; gives `T`.
///
/// # Safety
/// As [`tokens`].
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn half_panels<D: Dots, C: Unpack, const T: usize, const HALVES: bool>(
    job: &Job<'_>,
    panel: usize,
    first: usize,
    out: &mut [[f32; PANEL]],
) -> usize {
    for vector in [0, VECTORS / 2] {
        // SAFETY: the caller's promise.
        unsafe { tokens::<D, C, { VECTORS / 2 }, T, HALVES>(job, panel, vector, first, out) };
    }
    T
}

/// On to the next tile.
#[inline(always)]
pub(super) fn step<C: Unpack, const T: usize, const HALVES: bool>(at: &mut At<1, T>) {
    at.step(
        const { C::CODES.tile_bytes(PANEL) },
        if HALVES { 2 } else { 1 },
    );
}

/// Adds what `PART` of the current tile gives; `sums_a` are the sums of its activations.
///
/// # Safety
/// The processor has the instructions, and a tile, its scales and a group of codes lie behind the pointers.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn group<D: Dots, C: Unpack, const V: usize, const T: usize, const PART: usize>(
    acc: &mut [[float32x4_t; V]; T],
    at: &At<1, T>,
    sums_a: &[i32; T],
) {
    let from = sums_a.map(|sum| vdupq_n_s32(biased::<C>(sum)));
    // SAFETY: the caller's promise.
    let sums = unsafe { D::sums::<C, V, T, PART>(from, at.tiles[0], &at.codes) };
    // SAFETY: a row has a scale for each tile.
    let scales_a = at.scales_a.map(|p| unsafe { *p });
    // SAFETY: the caller's promise.
    let scales = unsafe { numbers::<V, PART>(at.scales[0]) };
    fold(acc, &sums, &scales, &scales_a.map(|s| vdupq_n_f32(s)));
    let Some([minima]) = at.minima else { return };
    // SAFETY: the caller's promise.
    let minima = unsafe { numbers::<V, PART>(minima) };
    let products = from_fn(|t| vdupq_n_f32(scales_a[t] * sums_a[t] as f32));
    fold_minima(acc, &minima, &products);
}

/// Where the sum of a group begins whose activations add up to `sum`.
#[inline(always)]
pub(super) fn biased<C: Unpack>(sum: i32) -> i32 {
    MAGIC - C::BIAS * sum
}

/// Scales or minima of `V` vectors of rows, of the group that `PART` of a tile is.
///
/// # Safety
/// As many lie behind `from`, which points to those of the tile's first group.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn numbers<const V: usize, const PART: usize>(
    from: *const f32,
) -> [float32x4_t; V] {
    let skip = if PART == HIGH { PANEL } else { 0 };
    // SAFETY: the caller's promise.
    from_fn(|v| unsafe { vld1q_f32(from.add(skip + v * LANES)) })
}

/// Adds `sums · (scales · scales_a)`, rounding after each step.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn fold<const I: usize, const J: usize>(
    acc: &mut [[float32x4_t; I]; J],
    sums: &[[int32x4_t; I]; J],
    scales: &[float32x4_t; I],
    scales_a: &[float32x4_t; J],
) {
    let magic = vreinterpretq_f32_s32(vdupq_n_s32(MAGIC));
    for j in 0..J {
        for i in 0..I {
            let sum = vsubq_f32(vreinterpretq_f32_s32(sums[j][i]), magic);
            let product = vmulq_f32(sum, vmulq_f32(scales[i], scales_a[j]));
            acc[j][i] = vaddq_f32(acc[j][i], product);
        }
    }
}

/// Subtracts `minima · products`, rounding after each step.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn fold_minima<const I: usize, const J: usize>(
    acc: &mut [[float32x4_t; I]; J],
    minima: &[float32x4_t; I],
    products: &[float32x4_t; J],
) {
    for j in 0..J {
        for i in 0..I {
            acc[j][i] = vsubq_f32(acc[j][i], vmulq_f32(minima[i], products[j]));
        }
    }
}

/// The first or the second half of 32 codes, or both.
///
/// # Safety
/// `codes` points to 32 codes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn activations(codes: *const i8) -> Pair {
    // SAFETY: the caller's promise.
    [0, VECTOR].map(|skip| unsafe { vld1q_s8(codes.add(skip)) })
}

/// # Safety
/// `bytes` points to 16 bytes.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn load(bytes: *const u8) -> uint8x16_t {
    // SAFETY: the caller's promise.
    unsafe { vld1q_u8(bytes) }
}
