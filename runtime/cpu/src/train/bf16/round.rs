//! Rounding to bf16, two numbers in a word, and exchanging the rows and columns of such words.

use multiversion::multiversion;

use super::{LANES, Line, machine};

/// Pairs of neighbours, rounded to bf16; zeros where `to` has room for more.
pub fn row(x: &[f32], to: &mut [u32]) {
    if !machine::round_row(x, to) {
        plain_row(x, to);
    }
}

/// Pairs of what stands in both rows, which are equally long.
pub(super) fn across(low: &[f32], high: &[f32], to: &mut [Line]) {
    if !machine::round_across(low, high, to) {
        plain_across(low, high, to);
    }
}

/// The upper half of a number, rounded to nearest even; NaN stays NaN.
#[inline(always)]
pub(super) fn round(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if x.is_nan() {
        bits >> 16 | 0x40
    } else {
        rounded
    }
}

#[inline(always)]
fn pair(low: f32, high: f32) -> u32 {
    round(low) | round(high) << 16
}

/// The numbers that [`row`] made pairs of.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
pub fn widen(pairs: &[u32], to: &mut [f32]) {
    let (whole, rest) = to.as_chunks_mut::<2>();
    for (to, pair) in whole.iter_mut().zip(pairs) {
        *to = [
            f32::from_bits(pair << 16),
            f32::from_bits(pair & 0xffff_0000),
        ];
    }
    if let (Some(to), Some(pair)) = (rest.first_mut(), pairs.last()) {
        *to = f32::from_bits(pair << 16);
    }
}

/// [`row`] without an instruction for it.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn plain_row(x: &[f32], to: &mut [u32]) {
    let (whole, rest) = x.as_chunks::<{ 2 * LANES }>();
    let (lines, last) = to.as_chunks_mut::<LANES>();
    for (to, x) in lines.iter_mut().zip(whole) {
        *to = neighbours(x);
    }
    if !rest.is_empty() {
        let mut x = [0.0; 2 * LANES];
        x[..rest.len()].copy_from_slice(rest);
        let to = lines
            .get_mut(whole.len())
            .map_or(last, |line| &mut line[..]);
        let count = to.len();
        to.copy_from_slice(&neighbours(&x)[..count]);
    }
}

#[inline(always)]
fn neighbours(x: &[f32; 2 * LANES]) -> [u32; LANES] {
    let mut pairs = [0; LANES];
    for (to, x) in pairs.iter_mut().zip(x.as_chunks::<2>().0) {
        *to = pair(x[0], x[1]);
    }
    pairs
}

/// [`across`] without an instruction for it.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn plain_across(low: &[f32], high: &[f32], to: &mut [Line]) {
    let (low, low_rest) = low.as_chunks::<LANES>();
    let (high, high_rest) = high.as_chunks::<LANES>();
    for ((to, low), high) in to.iter_mut().zip(low).zip(high) {
        for ((to, low), high) in to.0.iter_mut().zip(low).zip(high) {
            *to = pair(*low, *high);
        }
    }
    if let Some(to) = to.get_mut(low.len()) {
        for ((to, low), high) in to.0.iter_mut().zip(low_rest).zip(high_rest) {
            *to = pair(*low, *high);
        }
    }
}

/// Exchanges rows and columns: four times the rows of both halves are shuffled into one another.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
pub(super) fn transpose(block: &mut [Line; LANES]) {
    const HALF: usize = LANES / 2;
    for _ in 0..LANES.ilog2() {
        let from = *block;
        for i in 0..HALF {
            let (low, high) = (from[i].0, from[i + HALF].0);
            for j in 0..HALF {
                block[2 * i].0[2 * j] = low[j];
                block[2 * i].0[2 * j + 1] = high[j];
                block[2 * i + 1].0[2 * j] = low[j + HALF];
                block[2 * i + 1].0[2 * j + 1] = high[j + HALF];
            }
        }
    }
}
