//! Integer products with FEAT_I8MM: `smmla` of eight inputs of two rows with those of two activations, or `usdot`.
//!
//! A square is a vector of sums of two rows and two activations, `[r0·a0, r0·a1, r1·a0, r1·a1]`. So are factors and
//! accumulators; rows are set apart at the end. Squares halve the products and cost zips of weights, activations and
//! scales: they pay where two quads of weights are zipped while two more share their bytes.
#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::arch::asm;
use core::array::from_fn;

use inkstone_quant::PANEL;

use super::Job;
use super::arm::{self, BOTH, HIGH, LANES, LOW, Products, Unpack, VECTOR, VECTORS};
use super::at::{At, both};
use super::dotprod::Dotprod;
use crate::isa::Isa;

/// Lane by lane, as [`Dotprod`], with `usdot` where bytes are unsigned.
pub(super) struct Lanes;

impl<C: Unpack> Products<C> for Lanes {
    const ISA: Isa = Isa::I8mm;

    #[target_feature(enable = "neon")]
    unsafe fn rows<const HALVES: bool>(
        job: &Job<'_>,
        panel: usize,
        first: usize,
        out: &mut [[f32; PANEL]],
    ) -> usize {
        // SAFETY: the caller's promise.
        unsafe { <Dotprod as Products<C>>::rows::<HALVES>(job, panel, first, out) }
    }
}

/// Eight inputs of rows 0 and 1, and of rows 2 and 3.
pub(super) type Octet = [int8x16_t; 2];

/// How tiles of some codes are unpacked in pairs of rows.
pub(super) trait Octets: Unpack {
    /// Four rows of quads `2·O` and the next, and of quads `2·O + 4` and the next, `O` below 2.
    ///
    /// # Safety
    /// As [`Unpack::pair`].
    unsafe fn octets<const O: usize>(tile: *const u8) -> [Octet; 2];
}

/// Squares, for codes whose rows can be paired while they are packed; fewer than four activations go the way of lanes.
pub(super) struct Squares;

impl<C: Octets> Products<C> for Squares {
    const ISA: Isa = Isa::I8mm;

    #[target_feature(enable = "neon")]
    unsafe fn rows<const HALVES: bool>(
        job: &Job<'_>,
        panel: usize,
        first: usize,
        out: &mut [[f32; PANEL]],
    ) -> usize {
        if job.rows.count - first < 4 {
            // SAFETY: the caller's promise.
            return unsafe { <Dotprod as Products<C>>::rows::<HALVES>(job, panel, first, out) };
        }
        for vector in [0, VECTORS / 2] {
            // SAFETY: the caller's promise; four rows are left.
            unsafe { squares::<C, VECTORS, 4, 2, HALVES>(job, panel, vector, first, out) };
        }
        4
    }
}

/// Products of `I` pairs of a panel's rows, from those of `vector` on, with `J` pairs of activations, `T` in all.
///
/// # Safety
/// The processor has the instructions, the job fits the kernel and has as many rows.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn squares<C: Octets, const I: usize, const T: usize, const J: usize, const HALVES: bool>(
    job: &Job<'_>,
    panel: usize,
    vector: usize,
    first: usize,
    out: &mut [[f32; PANEL]],
) {
    const { assert!(T == 2 * J) };
    let mut at = arm::start::<T>(job, panel, vector, first);
    let mut acc = [[vdupq_n_f32(0.0); I]; J];
    for _ in 0..job.tiles {
        // SAFETY: the job has as many tiles.
        let [low, high] = unsafe { at.sums() };
        if HALVES {
            // SAFETY: a tile, its scales and a group of codes lie behind the pointers.
            unsafe { group::<C, I, T, J, LOW>(&mut acc, &at, &low) };
            // SAFETY: as above.
            unsafe { group::<C, I, T, J, HIGH>(&mut acc, &at, &high) };
        } else {
            let both = both(&low, &high);
            // SAFETY: as above.
            unsafe { group::<C, I, T, J, BOTH>(&mut acc, &at, &both) };
        }
        arm::step::<C, T, HALVES>(&mut at);
    }
    let panels = job.panels.len();
    for (out, acc) in out.chunks_exact_mut(2 * panels).zip(acc) {
        let (even, odd) = out.split_at_mut(panels);
        let (even, odd) = (&mut even[panel], &mut odd[panel]);
        for (v, [low, high]) in acc.as_chunks::<2>().0.iter().enumerate() {
            let row = (vector + v) * LANES;
            // SAFETY: `even` has four floats there.
            unsafe { vst1q_f32(even[row..][..LANES].as_mut_ptr(), vuzp1q_f32(*low, *high)) };
            // SAFETY: `odd` has four floats there.
            unsafe { vst1q_f32(odd[row..][..LANES].as_mut_ptr(), vuzp2q_f32(*low, *high)) };
        }
    }
}

/// Adds what `PART` of the current tile gives; `sums_a` are the sums of its activations.
///
/// # Safety
/// The processor has the instructions, and a tile, its scales and a group of codes lie behind the pointers.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn group<C: Octets, const I: usize, const T: usize, const J: usize, const PART: usize>(
    acc: &mut [[float32x4_t; I]; J],
    at: &At<1, T>,
    sums_a: &[i32; T],
) {
    let from = sums_a.map(|sum| arm::biased::<C>(sum) as u32);
    let mut sums = twice::<T, J>(from).map(|from| [vreinterpretq_s32_u64(from); I]);
    // SAFETY: the caller's promise.
    unsafe { add::<C, I, T, J, PART, 0>(&mut sums, at.tiles[0], &at.codes) };
    // SAFETY: the caller's promise.
    unsafe { add::<C, I, T, J, PART, 1>(&mut sums, at.tiles[0], &at.codes) };
    // SAFETY: a row has a scale for each tile.
    let scales_a = at.scales_a.map(|p| unsafe { *p });
    // SAFETY: the caller's promise.
    let scales = unsafe { doubled::<I, PART>(at.scales[0]) };
    let factors = twice::<T, J>(scales_a.map(f32::to_bits));
    arm::fold(
        acc,
        &sums,
        &scales,
        &factors.map(|f| vreinterpretq_f32_u64(f)),
    );
    let Some([minima]) = at.minima else { return };
    // SAFETY: the caller's promise.
    let minima = unsafe { doubled::<I, PART>(minima) };
    let products = twice::<T, J>(from_fn(|t| (scales_a[t] * sums_a[t] as f32).to_bits()));
    arm::fold_minima(acc, &minima, &products.map(|p| vreinterpretq_f32_u64(p)));
}

/// `[x0, x1, x0, x1]` of each two words.
#[inline]
#[target_feature(enable = "neon")]
fn twice<const T: usize, const J: usize>(x: [u32; T]) -> [uint64x2_t; J] {
    from_fn(|j| vdupq_n_u64(u64::from(x[2 * j]) | u64::from(x[2 * j + 1]) << 32))
}

/// `[x0, x0, x1, x1]` of each two numbers of the group that `PART` of a tile is.
///
/// # Safety
/// As many lie behind `from`, which points to those of the tile's first group.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn doubled<const I: usize, const PART: usize>(from: *const f32) -> [float32x4_t; I] {
    let mut doubled = [vdupq_n_f32(0.0); I];
    for (v, to) in doubled.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        let [x] = unsafe { arm::numbers::<1, PART>(from.wrapping_add(v * LANES)) };
        *to = [vzip1q_f32(x, x), vzip2q_f32(x, x)];
    }
    doubled
}

/// Quads `2·O` and the next, `2·O + 4` and the next, as far as they are of `PART`, with every row.
///
/// # Safety
/// The processor has the instructions, `tile` points to the vectors' bytes in the first quad of a whole tile, and
/// `codes` to 32 codes each.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn add<
    C: Octets,
    const I: usize,
    const T: usize,
    const J: usize,
    const PART: usize,
    const O: usize,
>(
    sums: &mut [[int32x4_t; I]; J],
    tile: *const u8,
    codes: &[*const i8; T],
) {
    // SAFETY: the caller's promise.
    let a: [_; T] = from_fn(|t| unsafe { arm::activations(codes[t]) });
    let mut w = [[[vdupq_n_s8(0); 2]; 2]; VECTORS];
    for (v, w) in w[..I / 2].iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *w = unsafe { C::octets::<O>(tile.add(v * VECTOR)) };
    }
    for half in [LOW, HIGH] {
        if PART == HIGH - half {
            continue;
        }
        for (j, sums) in sums.iter_mut().enumerate() {
            let pair = join::<O>(a[2 * j][half], a[2 * j + 1][half]);
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                *sum = unsafe { square(*sum, w[i / 2][half][i % 2], pair) };
            }
        }
    }
}

/// Bytes `8·O` to `8·O + 7` of both.
#[inline]
#[target_feature(enable = "neon")]
fn join<const O: usize>(a: int8x16_t, b: int8x16_t) -> int8x16_t {
    let (a, b) = (vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b));
    vreinterpretq_s8_s64(if O == 0 {
        vzip1q_s64(a, b)
    } else {
        vzip2q_s64(a, b)
    })
}

/// Adds the products of two rows with two activations, eight inputs each.
///
/// # Safety
/// The processor has the instructions.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn square(mut sum: int32x4_t, w: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            ".arch_extension i8mm",
            "smmla {sum:v}.4s, {w:v}.16b, {a:v}.16b",
            sum = inlateout(vreg) sum,
            w = in(vreg) w,
            a = in(vreg) a,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
