//! Integer products with AVX2: `vpmaddubsw`, kept from saturating.
//!
//! Two products of an unsigned code below 2ᵇ with an activation stay below `2ᵇ · 254`, so that [`Unpack::SPAN`] quads
//! fit 16 bits together. Codes of eight bits are signed here, and their signs move to the activation.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use inkstone_quant::{Codes, GROUP, PANEL};

use super::{Job, Kernel, ROWS};
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
    assert!(group == GROUP || C::SPAN <= 4, "sums in 16 bits end with their group");
    let run = if group == GROUP { run::<C, false> } else { run::<C, true> };
    Kernel { codes: C::CODES, group, isa: Isa::Avx2, run }
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
unsafe fn run<C: Unpack, const HALVES: bool>(job: &Job<'_>, out: &mut [[f32; ROWS]]) {
    for panel in 0..job.panels.len() {
        let mut first = 0;
        while first < job.rows.count {
            let out = &mut out[first..];
            // SAFETY: the caller's promise; as many rows are left as are taken.
            first += match job.rows.count - first {
                4.. => unsafe { tokens::<C, 4, HALVES>(job, panel, first, out) },
                2.. => unsafe { tokens::<C, 2, HALVES>(job, panel, first, out) },
                _ => unsafe { tokens::<C, 1, HALVES>(job, panel, first, out) },
            };
        }
    }
}

/// Products of a panel with rows `first .. first + T`; gives `T`.
///
/// # Safety
/// As [`run`], and the job has as many rows.
#[target_feature(enable = "avx2")]
unsafe fn tokens<C: Unpack, const T: usize, const HALVES: bool>(
    job: &Job<'_>,
    panel: usize,
    first: usize,
    out: &mut [[f32; ROWS]],
) -> usize {
    let bytes = const { C::CODES.tile_bytes(PANEL) };
    let mut acc = [[_mm256_setzero_ps(); 2]; T];
    for tile in 0..job.tiles {
        let at = |t: usize| (first + t) * job.rows.groups + tile;
        let codes_of = |t: usize| job.rows.codes[at(t) * GROUP..].as_ptr();
        let here = job.panels[panel].tiles[tile * bytes..].as_ptr();
        let mut codes = [core::ptr::null(); T];
        for t in 0..T {
            codes[t] = codes_of(t);
        }
        if HALVES {
            let mut sums = start::<C, T>(|t| job.rows.sums[at(t) * 2]);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { low::<C, T>(&mut sums, here, &codes) };
            let of = |t: usize| (job.rows.scales[at(t)], job.rows.sums[at(t) * 2]);
            fold::<C, T>(&mut acc, &sums, job, panel, 2 * tile, of);
            let mut sums = start::<C, T>(|t| job.rows.sums[at(t) * 2 + 1]);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { high::<C, T>(&mut sums, here, &codes) };
            let of = |t: usize| (job.rows.scales[at(t)], job.rows.sums[at(t) * 2 + 1]);
            fold::<C, T>(&mut acc, &sums, job, panel, 2 * tile + 1, of);
        } else {
            let sum = |t: usize| job.rows.sums[at(t) * 2] + job.rows.sums[at(t) * 2 + 1];
            let mut sums = start::<C, T>(sum);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { low::<C, T>(&mut sums, here, &codes) };
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { high::<C, T>(&mut sums, here, &codes) };
            let of = |t: usize| (job.rows.scales[at(t)], sum(t));
            fold::<C, T>(&mut acc, &sums, job, panel, tile, of);
        }
    }
    for t in 0..T {
        for half in 0..2 {
            let to = &mut out[t][panel * PANEL + 8 * half..][..8];
            // SAFETY: `to` is eight floats long.
            unsafe { _mm256_storeu_ps(to.as_mut_ptr(), acc[t][half]) };
        }
    }
    T
}

/// `−bias · Σa` in every lane; zero where quads are signed.
#[inline]
#[target_feature(enable = "avx2")]
fn start<C: Unpack, const T: usize>(sum: impl Fn(usize) -> i32) -> [Sums; T] {
    let zero = [_mm256_setzero_si256(); 2];
    let mut sums = [Sums { wide: zero, narrow: zero }; T];
    if const { C::SPAN != 0 && C::CODES.bias() != 0 } {
        for t in 0..T {
            sums[t].wide = [_mm256_set1_epi32(-C::CODES.bias() * sum(t)); 2];
        }
    }
    sums
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
    for t in 0..T {
        // SAFETY: `Q` is at most 7, and 32 codes lie there.
        let four = unsafe { codes[t].cast::<i32>().add(Q).read_unaligned() };
        let a = _mm256_set1_epi32(four);
        for half in 0..2 {
            let narrow = if C::SPAN == 0 {
                _mm256_maddubs_epi16(_mm256_abs_epi8(w[half]), _mm256_sign_epi8(a, w[half]))
            } else {
                _mm256_add_epi16(sums[t].narrow[half], _mm256_maddubs_epi16(w[half], a))
            };
            if const { C::SPAN == 0 || (Q + 1).is_multiple_of(C::SPAN) } {
                let wide = _mm256_madd_epi16(narrow, _mm256_set1_epi16(1));
                sums[t].wide[half] = _mm256_add_epi32(sums[t].wide[half], wide);
                sums[t].narrow[half] = _mm256_setzero_si256();
            } else {
                sums[t].narrow[half] = narrow;
            }
        }
    }
}

/// Adds group `g` to the accumulators; `of` gives a row's scale and sum of codes.
#[inline]
#[target_feature(enable = "avx2")]
fn fold<C: Unpack, const T: usize>(
    acc: &mut [[__m256; 2]; T],
    sums: &[Sums; T],
    job: &Job<'_>,
    panel: usize,
    g: usize,
    of: impl Fn(usize) -> (f32, i32),
) {
    let panel = &job.panels[panel];
    for half in 0..2 {
        // SAFETY: a group's scales are sixteen floats.
        let scale = unsafe { _mm256_loadu_ps(panel.scales[g][8 * half..].as_ptr()) };
        for t in 0..T {
            let factor = _mm256_mul_ps(scale, _mm256_set1_ps(of(t).0));
            let product = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[t].wide[half]), factor);
            acc[t][half] = _mm256_add_ps(acc[t][half], product);
        }
        if let Some(minima) = panel.minima {
            // SAFETY: a group's minima are sixteen floats.
            let minimum = unsafe { _mm256_loadu_ps(minima[g][8 * half..].as_ptr()) };
            for t in 0..T {
                let (scale, sum) = of(t);
                let product = _mm256_mul_ps(minimum, _mm256_set1_ps(scale * sum as f32));
                acc[t][half] = _mm256_sub_ps(acc[t][half], product);
            }
        }
    }
}
