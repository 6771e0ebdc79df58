//! Integer products with AVX-512 VNNI: `vpdpbusd` of unsigned codes with broadcast activations.
//!
//! A group's sum starts at `−bias · Σa`, which turns unsigned codes into the levels they stand for.
#![allow(unsafe_code)]

use core::arch::x86_64::*;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

use inkstone_quant::{Codes, GROUP, PANEL};

use super::at::{At, both};
use super::{Job, Kernel, PANELS, Panel, Products, Rows, ask};
use crate::isa::Isa;

/// Whether there is code of its own for every count of rows that is fast.
const MANY: bool = cfg!(not(feature = "small"));

/// Rows of activations from which on tiles are unpacked ahead of them: on processors that have no other ports for it,
/// unpacking takes a fifth of the time where it is done for every six rows.
const UNPACKED: usize = 12;

/// Tiles of each panel that are unpacked at once: with the codes of six rows they fit the first cache.
const AT_ONCE: usize = 24;

/// How tiles of some codes are unpacked.
pub(super) trait Unpack {
    const CODES: &'static Codes;

    /// Bytes from one tile to the next.
    const STEP: usize = Self::CODES.tile_bytes(PANEL);

    /// Quad `Q` of all sixteen rows, as unsigned bytes: levels plus [`Codes::bias`].
    ///
    /// # Safety
    /// The processor has AVX-512 F and BW, and `tile` points to a whole tile.
    unsafe fn quad<const Q: usize>(tile: *const u8) -> __m512i;
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
        isa: Isa::Avx512,
        run,
    }
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
unsafe fn run<C: Unpack, const HALVES: bool>(job: &Job<'_>, out: &mut [Products]) {
    // SAFETY: the caller's promise.
    unsafe { run_from::<C, HALVES>(job, 0, out) }
}

/// Rows `first` on.
///
/// # Safety
/// As [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(super) unsafe fn run_from<C: Unpack, const HALVES: bool>(
    job: &Job<'_>,
    first: usize,
    out: &mut [Products],
) {
    match job.panels {
        // SAFETY: the caller's promise; there are two panels.
        [a, b] if MANY && job.rows.count - first >= UNPACKED => unsafe {
            ahead::<C, HALVES>(job, [a, b], first, out)
        },
        // SAFETY: the caller's promise; there is one panel.
        [_] => unsafe { one::<C, HALVES>(job, first, out) },
        // SAFETY: the caller's promise; there are two panels.
        _ => unsafe { rows::<C, 2, HALVES>(job, first, false, out) },
    }
}

/// As [`run_from`] for one panel, apart: in one function with the rest its loops are given too few registers.
///
/// # Safety
/// As [`run`].
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn one<C: Unpack, const HALVES: bool>(job: &Job<'_>, first: usize, out: &mut [Products]) {
    // SAFETY: the caller's promise.
    unsafe { rows::<C, 1, HALVES>(job, first, false, out) };
}

/// Tiles that were unpacked ahead, `[quad][row][input of the quad]` as unsigned bytes.
type Unpacked = [[[__m512i; GROUP / 4]; AT_ONCE]; PANELS];

/// What was unpacked, as codes of its own.
struct Ahead<C>(PhantomData<C>);

impl<C: Unpack> Unpack for Ahead<C> {
    const CODES: &'static Codes = C::CODES;
    const STEP: usize = GROUP * PANEL;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn quad<const Q: usize>(tile: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { load(tile.add(64 * Q)) }
    }
}

/// As [`run_from`] for many rows: some tiles after the others, each unpacked once.
///
/// # Safety
/// As [`run`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn ahead<C: Unpack, const HALVES: bool>(
    job: &Job<'_>,
    panels: [&Panel<'_>; PANELS],
    first: usize,
    out: &mut [Products],
) {
    let groups = if HALVES { 2 } else { 1 };
    let mut unpacked = MaybeUninit::<Unpacked>::uninit();
    for tile in (0..job.tiles).step_by(AT_ONCE) {
        let tiles = AT_ONCE.min(job.tiles - tile);
        let mut some = [Panel::default(); PANELS];
        for (p, (panel, some)) in panels.iter().zip(&mut some).enumerate() {
            // SAFETY: the place is one of the array's.
            let to = unsafe { (&raw mut (*unpacked.as_mut_ptr())[p]).cast::<u8>() };
            for t in 0..tiles {
                let from = panel.tiles[(tile + t) * C::STEP..][..C::STEP].as_ptr();
                // SAFETY: a whole tile lies there, and the array has room for as many.
                unsafe { unpack::<C>(from, to.add(t * Ahead::<C>::STEP).cast()) };
            }
            *some = Panel {
                // SAFETY: so many bytes were written.
                tiles: unsafe { core::slice::from_raw_parts(to, tiles * Ahead::<C>::STEP) },
                scales: &panel.scales[tile * groups..],
                minima: panel.minima.map(|minima| &minima[tile * groups..]),
                next: &[],
            };
        }
        let some = Job {
            panels: &some,
            tiles,
            rows: Rows {
                codes: &job.rows.codes[tile * GROUP..],
                scales: &job.rows.scales[tile..],
                sums: &job.rows.sums[tile * 2..],
                ..job.rows
            },
        };
        for panel in panels {
            let part = |tile| panel.next.len() / job.tiles * tile;
            let next = &panel.next[part(tile)..part(tile + tiles)];
            ask::far(next.as_ptr(), next.len());
        }
        // SAFETY: the caller's promise, of some of the tiles.
        unsafe { rows::<Ahead<C>, PANELS, HALVES>(&some, first, tile > 0, out) };
    }
}

/// A tile as unsigned bytes, quad after quad.
///
/// # Safety
/// As [`Unpack::quad`], and `to` points to room for eight quads.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn unpack<C: Unpack>(tile: *const u8, to: *mut __m512i) {
    // SAFETY: the caller's promise.
    unsafe {
        to.write(C::quad::<0>(tile));
        to.add(1).write(C::quad::<1>(tile));
        to.add(2).write(C::quad::<2>(tile));
        to.add(3).write(C::quad::<3>(tile));
        to.add(4).write(C::quad::<4>(tile));
        to.add(5).write(C::quad::<5>(tile));
        to.add(6).write(C::quad::<6>(tile));
        to.add(7).write(C::quad::<7>(tile));
    }
}

/// Adds to what stands in `out` where it is to go `on`.
///
/// # Safety
/// As [`run`], with `P` panels.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn rows<C: Unpack, const P: usize, const HALVES: bool>(
    job: &Job<'_>,
    mut first: usize,
    on: bool,
    out: &mut [Products],
) {
    while first < job.rows.count {
        let out = &mut out[first * P..];
        first += match job.rows.count - first {
            // SAFETY: the caller's promise; as many rows are left.
            6.. if MANY => unsafe { tokens::<C, P, 6, HALVES>(job, first, on, out) },
            // SAFETY: the caller's promise; as many rows are left.
            4.. => unsafe { tokens::<C, P, 4, HALVES>(job, first, on, out) },
            // SAFETY: the caller's promise; as many rows are left.
            2.. if MANY => unsafe { tokens::<C, P, 2, HALVES>(job, first, on, out) },
            // SAFETY: the caller's promise; as many rows are left.
            _ => unsafe { tokens::<C, P, 1, HALVES>(job, first, on, out) },
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
    on: bool,
    out: &mut [Products],
) -> usize {
    let mut acc = [[_mm512_setzero_ps(); P]; T];
    let out = &mut out[..T * P];
    if on {
        for t in 0..T {
            for p in 0..P {
                // SAFETY: sixteen floats are read.
                acc[t][p] = unsafe { _mm512_loadu_ps(out[t * P + p].as_ptr()) };
            }
        }
    }
    let mut at = if T == 1 {
        begin(job, first)
    } else {
        At::<P, T>::new(job, first)
    };
    for _ in 0..job.tiles {
        if P == 1 {
            ask::ahead(at.tiles[0], const { C::CODES.tile_bytes(PANEL) });
        }
        // SAFETY: the job has as many tiles.
        let [low_sums, high_sums] = unsafe { at.sums() };
        if HALVES {
            let mut sums = start::<C, P, T>(&low_sums);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { low::<C, P, T>(&mut sums, &at.tiles, &at.codes) };
            // SAFETY: scales of two groups lie behind each pointer.
            unsafe { fold(&mut acc, &sums, &at, 0, &low_sums) };
            let mut sums = start::<C, P, T>(&high_sums);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { high::<C, P, T>(&mut sums, &at.tiles, &at.codes) };
            // SAFETY: scales of two groups lie behind each pointer.
            unsafe { fold(&mut acc, &sums, &at, 1, &high_sums) };
        } else {
            let both = both(&low_sums, &high_sums);
            let mut sums = start::<C, P, T>(&both);
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { low::<C, P, T>(&mut sums, &at.tiles, &at.codes) };
            // SAFETY: a tile and a group of codes lie behind each pointer.
            unsafe { high::<C, P, T>(&mut sums, &at.tiles, &at.codes) };
            // SAFETY: scales of a group lie behind each pointer.
            unsafe { fold(&mut acc, &sums, &at, 0, &both) };
        }
        at.step(C::STEP, if HALVES { 2 } else { 1 });
    }
    for t in 0..T {
        for p in 0..P {
            // SAFETY: sixteen floats are written.
            unsafe { _mm512_storeu_ps(out[t * P + p].as_mut_ptr(), acc[t][p]) };
        }
    }
    T
}

/// Not inlined: the loop over one row would be a tenth slower, with pointers that are computed instead of kept.
#[inline(never)]
fn begin<const P: usize, const T: usize>(job: &Job<'_>, first: usize) -> At<P, T> {
    At::new(job, first)
}

/// `−bias · Σa` in every lane.
#[inline]
#[target_feature(enable = "avx512f")]
fn start<C: Unpack, const P: usize, const T: usize>(sums: &[i32; T]) -> [[__m512i; P]; T] {
    let mut start = [[_mm512_setzero_si512(); P]; T];
    if const { C::CODES.bias() != 0 } {
        for (start, sum) in start.iter_mut().zip(sums) {
            *start = [_mm512_set1_epi32(const { -C::CODES.bias() } * sum); P];
        }
    }
    start
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
    for (w, tile) in w.iter_mut().zip(tiles) {
        // SAFETY: the caller's promise.
        *w = unsafe { C::quad::<Q>(*tile) };
    }
    for (sums, codes) in sums.iter_mut().zip(codes) {
        // SAFETY: `Q` is at most 7, and 32 codes lie there.
        let four = unsafe { codes.cast::<i32>().add(Q).read_unaligned() };
        let a = _mm512_set1_epi32(four);
        for (sum, w) in sums.iter_mut().zip(w) {
            *sum = _mm512_dpbusd_epi32(*sum, w, a);
        }
    }
}

/// Adds group `g` of a tile to the accumulators; `sums_a` are the rows' sums of codes.
///
/// # Safety
/// Scales of `g + 1` groups lie behind each pointer.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn fold<const P: usize, const T: usize>(
    acc: &mut [[__m512; P]; T],
    sums: &[[__m512i; P]; T],
    at: &At<P, T>,
    g: usize,
    sums_a: &[i32; T],
) {
    // Nothing here may branch before all sums are used: compilers sink what is used behind a branch only, and lose the
    // order that keeps everything in registers.
    let mut scales = [_mm512_setzero_ps(); P];
    for (scale, from) in scales.iter_mut().zip(at.scales) {
        // SAFETY: the caller's promise; a group's scales are sixteen floats.
        *scale = unsafe { _mm512_loadu_ps(from.add(g * PANEL)) };
    }
    for t in 0..T {
        // SAFETY: a row has a scale for each tile.
        let scale_a = _mm512_set1_ps(unsafe { *at.scales_a[t] });
        for p in 0..P {
            let factor = _mm512_mul_ps(scales[p], scale_a);
            let product = _mm512_mul_ps(_mm512_cvtepi32_ps(sums[t][p]), factor);
            acc[t][p] = _mm512_add_ps(acc[t][p], product);
        }
    }
    let Some(minima) = at.minima else { return };
    for t in 0..T {
        // SAFETY: a row has a scale for each tile.
        let product_a = _mm512_set1_ps(unsafe { *at.scales_a[t] } * sums_a[t] as f32);
        for p in 0..P {
            // SAFETY: the caller's promise; a group's minima are sixteen floats.
            let minimum = unsafe { _mm512_loadu_ps(minima[p].add(g * PANEL)) };
            acc[t][p] = _mm512_sub_ps(acc[t][p], _mm512_mul_ps(minimum, product_a));
        }
    }
}
