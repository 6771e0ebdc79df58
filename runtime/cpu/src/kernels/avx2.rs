//! Integer products with AVX2: `vpmaddubsw`, kept from saturating.
//!
//! Two products of an unsigned code below 2ᵇ with an activation stay below `2ᵇ · 254`, so that [`Unpack::SPAN`] quads
//! fit 16 bits together. Codes of eight bits are signed here, and their signs move to the activation.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use inkstone_quant::{Codes, GROUP, PANEL};

use super::at::{At, both};
use super::{Job, Kernel, Products, ask};
use crate::isa::Isa;

/// Four inputs of rows 0 to 7 and 8 to 15.
pub(super) type Quad = [__m256i; 2];

/// How tiles of some codes are unpacked.
pub(super) trait Unpack {
    const CODES: &'static Codes;

    /// Quads whose products are summed in 16 bits, 8, 4 or 2 (8 only under scales of 32 inputs); or 0 where quads are
    /// signed levels.
    const SPAN: usize;

    /// Quad `Q` of all rows: unsigned, levels plus [`Codes::bias`], or signed levels where `SPAN` is 0.
    ///
    /// # Safety
    /// The processor has AVX2, and `tile` points to a whole tile.
    unsafe fn quad<const Q: usize>(tile: *const u8) -> Quad;
}

pub(super) const fn kernel<C: Unpack>(group: usize) -> Kernel {
    assert!(
        group == GROUP || C::SPAN <= 4,
        "sums in 16 bits end with their group"
    );
    let run = if group == GROUP {
        run::<C, false>
    } else {
        run::<C, true>
    };
    Kernel {
        codes: C::CODES,
        group,
        isa: Isa::Avx2,
        run,
    }
}

/// # Safety
/// `bytes` points to 64 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn load(bytes: *const u8) -> Quad {
    // SAFETY: the caller's promise.
    let low = unsafe { _mm256_loadu_si256(bytes.cast()) };
    // SAFETY: the caller's promise.
    let high = unsafe { _mm256_loadu_si256(bytes.add(32).cast()) };
    [low, high]
}

/// Integer sums of a row of activations: 32 bits, and what waits in 16.
#[derive(Clone, Copy)]
struct Sums {
    wide: Quad,
    narrow: Quad,
}

/// # Safety
/// The processor has the instructions, and the job fits the kernel.
#[target_feature(enable = "avx2")]
unsafe fn run<C: Unpack, const HALVES: bool>(job: &Job<'_>, out: &mut [Products]) {
    if let [_] = job.panels {
        // SAFETY: the caller's promise.
        return unsafe { rows::<C, true, HALVES>(job, 0, out) };
    }
    for panel in 0..job.panels.len() {
        // SAFETY: the caller's promise; there are as many panels.
        unsafe { rows::<C, false, HALVES>(job, panel, out) };
    }
}

/// Products of a panel with all rows; `ALONE` where it is the only one.
///
/// # Safety
/// As [`run`], and the job has that panel.
#[target_feature(enable = "avx2")]
unsafe fn rows<C: Unpack, const ALONE: bool, const HALVES: bool>(
    job: &Job<'_>,
    panel: usize,
    out: &mut [Products],
) {
    let mut first = 0;
    while first < job.rows.count {
        let out = &mut out[first * job.panels.len()..];
        first += match job.rows.count - first {
            // SAFETY: the caller's promise; as many rows are left.
            4.. => unsafe { tokens::<C, 4, ALONE, HALVES>(job, panel, first, out) },
            // SAFETY: the caller's promise; as many rows are left.
            2.. => unsafe { tokens::<C, 2, ALONE, HALVES>(job, panel, first, out) },
            // SAFETY: the caller's promise; as many rows are left.
            _ => unsafe { tokens::<C, 1, ALONE, HALVES>(job, panel, first, out) },
        };
    }
}

/// Products of a panel with rows `first .. first + T`; gives `T`.
///
/// # Safety
/// As [`rows`], and the job has as many rows.
#[target_feature(enable = "avx2")]
unsafe fn tokens<C: Unpack, const T: usize, const ALONE: bool, const HALVES: bool>(
    job: &Job<'_>,
    panel: usize,
    first: usize,
    out: &mut [Products],
) -> usize {
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    let panels = [job.panels[panel]];
    let mut at = At::<1, T>::new(
        &Job {
            panels: &panels,
            ..*job
        },
        first,
    );
    for _ in 0..job.tiles {
        if ALONE {
            ask::ahead(at.tiles[0], const { C::CODES.tile_bytes(PANEL) });
        }
        // SAFETY: the job has as many tiles.
        let [low_sums, high_sums] = unsafe { at.sums() };
        if HALVES {
            let mut sums = start::<C, T>(&low_sums);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { low::<C, T>(&mut sums, at.tiles[0], &at.codes) };
            // SAFETY: scales of two groups lie behind each pointer.
            unsafe { fold(&mut acc, &sums, &at, 0, &low_sums) };
            let mut sums = start::<C, T>(&high_sums);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { high::<C, T>(&mut sums, at.tiles[0], &at.codes) };
            // SAFETY: scales of two groups lie behind each pointer.
            unsafe { fold(&mut acc, &sums, &at, 1, &high_sums) };
        } else {
            let both = both(&low_sums, &high_sums);
            let mut sums = start::<C, T>(&both);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { low::<C, T>(&mut sums, at.tiles[0], &at.codes) };
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { high::<C, T>(&mut sums, at.tiles[0], &at.codes) };
            // SAFETY: scales of a group lie behind each pointer.
            unsafe { fold(&mut acc, &sums, &at, 0, &both) };
        }
        at.step(
            const { C::CODES.tile_bytes(PANEL) },
            if HALVES { 2 } else { 1 },
        );
    }
    for (out, acc) in out.chunks_exact_mut(job.panels.len()).zip(acc) {
        let (halves, _) = out[panel].as_chunks_mut::<8>();
        for (to, acc) in halves.iter_mut().zip(acc) {
            // SAFETY: `to` is eight floats.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), acc) };
        }
    }
    T
}

/// `−bias · Σa` in every lane; zero where quads are signed.
#[inline]
#[target_feature(enable = "avx2")]
fn start<C: Unpack, const T: usize>(sums: &[i32; T]) -> [Sums; T] {
    let zero = [_mm256_setzero_si256(); 2];
    let mut start = [Sums {
        wide: zero,
        narrow: zero,
    }; T];
    if const { C::SPAN != 0 && C::CODES.bias() != 0 } {
        for (start, sum) in start.iter_mut().zip(sums) {
            start.wide = [_mm256_set1_epi32(-C::CODES.bias() * sum); 2];
        }
    }
    start
}

/// Quads 0 to 3.
///
/// # Safety
/// As [`step`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn low<C: Unpack, const T: usize>(
    sums: &mut [Sums; T],
    tile: *const u8,
    codes: &[*const i8; T],
) {
    // SAFETY: the caller's promise.
    unsafe { step::<C, T, 0>(sums, tile, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, T, 1>(sums, tile, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, T, 2>(sums, tile, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, T, 3>(sums, tile, codes) };
}

/// Quads 4 to 7.
///
/// # Safety
/// As [`step`].
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn high<C: Unpack, const T: usize>(
    sums: &mut [Sums; T],
    tile: *const u8,
    codes: &[*const i8; T],
) {
    // SAFETY: the caller's promise.
    unsafe { step::<C, T, 4>(sums, tile, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, T, 5>(sums, tile, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, T, 6>(sums, tile, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, T, 7>(sums, tile, codes) };
}

/// Quad `Q` of the panel with every row.
///
/// # Safety
/// `tile` points to a whole tile, `codes` to 32 codes each.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn step<C: Unpack, const T: usize, const Q: usize>(
    sums: &mut [Sums; T],
    tile: *const u8,
    codes: &[*const i8; T],
) {
    // SAFETY: the caller's promise.
    let w = unsafe { C::quad::<Q>(tile) };
    for (sums, codes) in sums.iter_mut().zip(codes) {
        // SAFETY: `Q` is at most 7, and 32 codes lie there.
        let four = unsafe { codes.cast::<i32>().add(Q).read_unaligned() };
        let a = _mm256_set1_epi32(four);
        for ((w, wide), sum) in w.iter().zip(&mut sums.wide).zip(&mut sums.narrow) {
            let narrow = if C::SPAN == 0 {
                _mm256_maddubs_epi16(_mm256_abs_epi8(*w), _mm256_sign_epi8(a, *w))
            } else {
                _mm256_add_epi16(*sum, _mm256_maddubs_epi16(*w, a))
            };
            if const { C::SPAN == 0 || (Q + 1).is_multiple_of(C::SPAN) } {
                *wide = _mm256_add_epi32(*wide, _mm256_madd_epi16(narrow, _mm256_set1_epi16(1)));
                *sum = _mm256_setzero_si256();
            } else {
                *sum = narrow;
            }
        }
    }
}

/// Adds group `g` of a tile to the accumulators; `sums_a` are the rows' sums of codes.
///
/// # Safety
/// Scales of `g + 1` groups lie behind each pointer.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn fold<const T: usize>(
    acc: &mut [[__m256; 2]; T],
    sums: &[Sums; T],
    at: &At<1, T>,
    g: usize,
    sums_a: &[i32; T],
) {
    // SAFETY: the caller's promise; a group's scales are sixteen floats.
    let low = unsafe { _mm256_loadu_ps(at.scales[0].add(g * PANEL)) };
    // SAFETY: as above.
    let high = unsafe { _mm256_loadu_ps(at.scales[0].add(g * PANEL + 8)) };
    for t in 0..T {
        // SAFETY: a row has a scale for each tile.
        let scale_a = _mm256_set1_ps(unsafe { *at.scales_a[t] });
        for (half, scale) in [low, high].into_iter().enumerate() {
            let factor = _mm256_mul_ps(scale, scale_a);
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[t].wide[half]), factor);
            acc[t][half] = _mm256_add_ps(acc[t][half], product);
        }
    }
    let Some([minima]) = at.minima else { return };
    // SAFETY: the caller's promise; a group's minima are sixteen floats.
    let low = unsafe { _mm256_loadu_ps(minima.add(g * PANEL)) };
    // SAFETY: as above.
    let high = unsafe { _mm256_loadu_ps(minima.add(g * PANEL + 8)) };
    for t in 0..T {
        // SAFETY: a row has a scale for each tile.
        let product_a = _mm256_set1_ps(unsafe { *at.scales_a[t] } * sums_a[t] as f32);
        for (half, minimum) in [low, high].into_iter().enumerate() {
            acc[t][half] = _mm256_sub_ps(acc[t][half], _mm256_mul_ps(minimum, product_a));
        }
    }
}
