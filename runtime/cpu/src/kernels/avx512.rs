//! Integer products with AVX-512 VNNI: `vpdpbusd` of unsigned codes with broadcast activations.
//!
//! A group's sum starts at `−bias · Σa`, which turns unsigned codes into the levels they stand for.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use inkstone_quant::{Codes, GROUP, PANEL};

use super::{Job, Kernel, ROWS};
use crate::isa::Isa;

/// How tiles of some codes are unpacked.
pub(super) trait Unpack {
    const CODES: &'static Codes;

    /// Quad `Q` of all sixteen rows, as unsigned bytes: levels plus [`Codes::bias`].
    ///
    /// # Safety
    /// The processor has AVX-512 F and BW, and `tile` points to a whole tile.
    unsafe fn quad<const Q: usize>(tile: *const u8) -> __m512i;
}

pub(super) const fn kernel<C: Unpack>(group: usize) -> Kernel {
    let run = if group == GROUP { run::<C, false> } else { run::<C, true> };
    Kernel { codes: C::CODES, group, isa: Isa::Avx512, run }
}

/// # Safety
/// `bytes` points to 64 bytes.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn load(bytes: *const u8) -> __m512i {
    // SAFETY: the caller's promise.
    unsafe { _mm512_loadu_si512(bytes.cast()) }
}

/// # Safety
/// The processor has the instructions, and the job fits the kernel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn run<C: Unpack, const HALVES: bool>(job: &Job<'_>, out: &mut [[f32; ROWS]]) {
    match job.panels.len() {
        // SAFETY: the caller's promise; there is one panel.
        1 => unsafe { rows::<C, 1, HALVES>(job, out) },
        // SAFETY: the caller's promise; there are two panels.
        _ => unsafe { rows::<C, 2, HALVES>(job, out) },
    }
}

/// # Safety
/// As [`run`], with `P` panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<C: Unpack, const P: usize, const HALVES: bool>(
    job: &Job<'_>,
    out: &mut [[f32; ROWS]],
) {
    let mut first = 0;
    while first < job.rows.count {
        let out = &mut out[first..];
        // SAFETY: the caller's promise; as many rows are left as are taken.
        first += match job.rows.count - first {
            6.. => unsafe { tokens::<C, P, 6, HALVES>(job, first, out) },
            4.. => unsafe { tokens::<C, P, 4, HALVES>(job, first, out) },
            2.. => unsafe { tokens::<C, P, 2, HALVES>(job, first, out) },
            _ => unsafe { tokens::<C, P, 1, HALVES>(job, first, out) },
        };
    }
}

/// Products of `P` panels with rows `first .. first + T`; gives `T`.
///
/// # Safety
/// As [`rows`], and the job has as many rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn tokens<C: Unpack, const P: usize, const T: usize, const HALVES: bool>(
    job: &Job<'_>,
    first: usize,
    out: &mut [[f32; ROWS]],
) -> usize {
    let bytes = const { C::CODES.tile_bytes(PANEL) };
    let mut acc = [[_mm512_setzero_ps(); P]; T];
    for tile in 0..job.tiles {
        let at = |t: usize| (first + t) * job.rows.groups + tile;
        let mut tiles = [core::ptr::null(); P];
        for p in 0..P {
            tiles[p] = job.panels[p].tiles[tile * bytes..].as_ptr();
        }
        let mut codes = [core::ptr::null(); T];
        for t in 0..T {
            codes[t] = job.rows.codes[at(t) * GROUP..].as_ptr();
        }
        if HALVES {
            let mut sums = start::<C, P, T>(|t| job.rows.sums[at(t) * 2]);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { low::<C, P, T>(&mut sums, &tiles, &codes) };
            fold(&mut acc, &sums, job, 2 * tile, |t| (job.rows.scales[at(t)], job.rows.sums[at(t) * 2]));
            let mut sums = start::<C, P, T>(|t| job.rows.sums[at(t) * 2 + 1]);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { high::<C, P, T>(&mut sums, &tiles, &codes) };
            fold(&mut acc, &sums, job, 2 * tile + 1, |t| (job.rows.scales[at(t)], job.rows.sums[at(t) * 2 + 1]));
        } else {
            let sum = |t: usize| job.rows.sums[at(t) * 2] + job.rows.sums[at(t) * 2 + 1];
            let mut sums = start::<C, P, T>(sum);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { low::<C, P, T>(&mut sums, &tiles, &codes) };
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { high::<C, P, T>(&mut sums, &tiles, &codes) };
            fold(&mut acc, &sums, job, tile, |t| (job.rows.scales[at(t)], sum(t)));
        }
    }
    for t in 0..T {
        for p in 0..P {
            let to = &mut out[t][p * PANEL..][..PANEL];
            // SAFETY: `to` is sixteen floats long.
            unsafe { _mm512_storeu_ps(to.as_mut_ptr(), acc[t][p]) };
        }
    }
    T
}

/// `−bias · Σa` in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn start<C: Unpack, const P: usize, const T: usize>(sum: impl Fn(usize) -> i32) -> [[__m512i; P]; T] {
    let mut sums = [[_mm512_setzero_si512(); P]; T];
    if const { C::CODES.bias() != 0 } {
        for t in 0..T {
            sums[t] = [_mm512_set1_epi32(-C::CODES.bias() * sum(t)); P];
        }
    }
    sums
}

/// Quads 0 to 3.
///
/// # Safety
/// As [`step`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn low<C: Unpack, const P: usize, const T: usize>(
    sums: &mut [[__m512i; P]; T],
    tiles: &[*const u8; P],
    codes: &[*const i8; T],
) {
    // SAFETY: the caller's promise.
    unsafe { step::<C, P, T, 0>(sums, tiles, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, P, T, 1>(sums, tiles, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, P, T, 2>(sums, tiles, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, P, T, 3>(sums, tiles, codes) };
}

/// Quads 4 to 7.
///
/// # Safety
/// As [`step`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn high<C: Unpack, const P: usize, const T: usize>(
    sums: &mut [[__m512i; P]; T],
    tiles: &[*const u8; P],
    codes: &[*const i8; T],
) {
    // SAFETY: the caller's promise.
    unsafe { step::<C, P, T, 4>(sums, tiles, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, P, T, 5>(sums, tiles, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, P, T, 6>(sums, tiles, codes) };
    // SAFETY: the caller's promise.
    unsafe { step::<C, P, T, 7>(sums, tiles, codes) };
}

/// Quad `Q` of every panel with every row.
///
/// # Safety
/// `tiles` point to whole tiles, `codes` to 32 codes each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn step<C: Unpack, const P: usize, const T: usize, const Q: usize>(
    sums: &mut [[__m512i; P]; T],
    tiles: &[*const u8; P],
    codes: &[*const i8; T],
) {
    let mut w = [_mm512_setzero_si512(); P];
    for p in 0..P {
        // SAFETY: the caller's promise.
        w[p] = unsafe { C::quad::<Q>(tiles[p]) };
    }
    for t in 0..T {
        // SAFETY: `Q` is at most 7, and 32 codes lie there.
        let four = unsafe { codes[t].cast::<i32>().add(Q).read_unaligned() };
        let a = _mm512_set1_epi32(four);
        for p in 0..P {
            sums[t][p] = _mm512_dpbusd_epi32(sums[t][p], w[p], a);
        }
    }
}

/// Adds group `g` to the accumulators; `of` gives a row's scale and sum of codes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn fold<const P: usize, const T: usize>(
    acc: &mut [[__m512; P]; T],
    sums: &[[__m512i; P]; T],
    job: &Job<'_>,
    g: usize,
    of: impl Fn(usize) -> (f32, i32),
) {
    for p in 0..P {
        let panel = &job.panels[p];
        // SAFETY: a group's scales are sixteen floats.
        let scale = unsafe { _mm512_loadu_ps(panel.scales[g].as_ptr()) };
        for t in 0..T {
            let factor = _mm512_mul_ps(scale, _mm512_set1_ps(of(t).0));
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[t][p]), factor);
            acc[t][p] = _mm512_add_ps(acc[t][p], product);
        }
        if let Some(minima) = panel.minima {
            // SAFETY: a group's minima are sixteen floats.
            let minimum = unsafe { _mm512_loadu_ps(minima[g].as_ptr()) };
            for t in 0..T {
                let (scale, sum) = of(t);
                let product = _mm512_mul_ps(minimum, _mm512_set1_ps(scale * sum as f32));
                acc[t][p] = _mm512_sub_ps(acc[t][p], product);
            }
        }
    }
}
