//! Products in bf16: `vdpbf16ps` multiplies sixteen pairs and adds them to sixteen f32.
#![allow(unsafe_code)]

use core::arch::x86_64::*;
use core::cell::RefCell;
use std::vec;
use std::vec::Vec;

use multiversion::multiversion;

use super::product::To;
use super::view::View;

/// Pairs of bf16 in a register.
const LANES: usize = 16;
/// Registers of columns in a panel.
const VECTORS: usize = 4;
/// Columns of a panel.
const WIDTH: usize = LANES * VECTORS;
/// Rows that share the weights of a step; with `VECTORS` columns they fill 24 of 32 registers.
const ROWS: usize = 6;

/// A register's worth of pairs.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; LANES]);

/// Weights, rounded and laid out: panels of 64 columns, in them pairs of inputs ascending.
#[derive(Debug, Clone)]
pub struct Packed {
    columns: usize,
    pairs: usize,
    data: Vec<Line>,
}

/// Whether this processor has the instruction.
pub(super) fn available() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
        && std::arch::is_x86_feature_detected!("avx512f")
}

impl Packed {
    /// Lays out `inputs × columns`.
    #[must_use]
    pub fn new(x: View<'_>) -> Packed {
        let pairs = x.rows().div_ceil(2);
        let lines = x.columns().div_ceil(LANES);
        let mut data = vec![Line([0; LANES]); lines * pairs];
        for (panel, first) in (0..x.columns()).step_by(WIDTH).enumerate() {
            let width = (x.columns() - first).min(WIDTH);
            let vectors = width.div_ceil(LANES);
            let panel = &mut data[panel * VECTORS * pairs..][..vectors * pairs];
            match x.strides() {
                // The weights of an output lie along: each fills a lane of every line.
                (1, stride) => {
                    for column in 0..width {
                        let row = &x.transposed().from_row(first + column)[..x.rows()];
                        debug_assert!(stride >= x.rows());
                        round_lane(row, panel, vectors, column);
                    }
                }
                _ => {
                    for (index, lines) in panel.chunks_exact_mut(vectors).enumerate() {
                        let low = &x.from_row(2 * index)[first..first + width];
                        let high = if 2 * index + 1 < x.rows() {
                            &x.from_row(2 * index + 1)[first..first + width]
                        } else {
                            &[0.0; WIDTH][..width]
                        };
                        round_across(low, high, lines);
                    }
                }
            }
        }
        Packed {
            columns: x.columns(),
            pairs,
            data,
        }
    }

    /// Columns.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }
}

/// The upper half of a number, rounded to nearest even; NaN stays NaN.
#[inline(always)]
fn round(x: f32) -> u32 {
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

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn round_row(x: &[f32], to: &mut [u32]) {
    let (whole, rest) = x.as_chunks::<2>();
    for (to, x) in to.iter_mut().zip(whole) {
        *to = pair(x[0], x[1]);
    }
    if let ([x], Some(to)) = (rest, to.last_mut()) {
        *to = pair(*x, 0.0);
    }
}

/// A column of weights into its lane.
fn round_lane(x: &[f32], panel: &mut [Line], vectors: usize, column: usize) {
    let lines = panel[column / LANES..].iter_mut().step_by(vectors);
    for (line, x) in lines.zip(x.chunks(2)) {
        line.0[column % LANES] = pair(x[0], x.get(1).copied().unwrap_or(0.0));
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn round_across(low: &[f32], high: &[f32], lines: &mut [Line]) {
    let lanes = lines.iter_mut().flat_map(|line| &mut line.0);
    for ((to, low), high) in lanes.zip(low).zip(high) {
        *to = pair(*low, *high);
    }
}

/// Rows of a left factor, rounded: pairs of neighbouring inputs, the earlier one in the low half; a row of an odd number
/// of inputs ends with a zero.
fn round_rows(x: View<'_>, first: usize, rows: usize, to: &mut Vec<u32>) {
    let (columns, pairs) = (x.columns(), x.columns().div_ceil(2));
    to.clear();
    to.resize(rows * pairs, 0);
    if x.strides().1 == 1 {
        for (row, to) in to.chunks_exact_mut(pairs.max(1)).enumerate() {
            round_row(&x.from_row(first + row)[..columns], to);
        }
        return;
    }
    // A transposed matrix: what is a column here lies along.
    let across = x.transposed();
    for index in 0..pairs {
        let low = &across.from_row(2 * index)[first..first + rows];
        let high =
            (2 * index + 1 < columns).then(|| &across.from_row(2 * index + 1)[first..first + rows]);
        for (row, low) in low.iter().enumerate() {
            to[row * pairs + index] = pair(*low, high.map_or(0.0, |high| high[row]));
        }
    }
}

std::thread_local! {
    /// Rounded rows, kept from one product to the next.
    static ROUNDED: RefCell<Vec<Vec<u32>>> = const { RefCell::new(Vec::new()) };
}

/// Rows of the sum of products; see [`super::multiply`].
pub(super) fn multiply(terms: &[(View<'_>, &Packed)], first: usize, to: To<'_>) {
    assert!(available(), "no bf16 products on this processor");
    ROUNDED.with_borrow_mut(|rounded| {
        rounded.resize_with(terms.len().max(rounded.len()), Vec::new);
        let mut rows = Vec::with_capacity(terms.len());
        for ((left, right), rounded) in terms.iter().zip(rounded.iter_mut()) {
            assert_eq!(
                left.columns().div_ceil(2),
                right.pairs,
                "factors of different inputs"
            );
            round_rows(*left, first, to.rows, rounded);
            rows.push((rounded.as_slice(), *right));
        }
        panels(&rows, to);
    });
}

/// Panel after panel.
fn panels(terms: &[(&[u32], &Packed)], to: To<'_>) {
    let columns = terms.first().map_or(0, |(_, right)| right.columns);
    let mut work = Work { terms, to };
    for (panel, column) in (0..columns).step_by(WIDTH).enumerate() {
        let width = (columns - column).min(WIDTH);
        // SAFETY: the processor has the instructions, as `multiply` asserts.
        unsafe {
            match width.div_ceil(LANES) {
                4 => work.panel::<4>(panel, column, width),
                3 => work.panel::<3>(panel, column, width),
                2 => work.panel::<2>(panel, column, width),
                _ => work.panel::<1>(panel, column, width),
            }
        }
    }
}

struct Work<'a> {
    /// Rounded rows and their weights.
    terms: &'a [(&'a [u32], &'a Packed)],
    to: To<'a>,
}

impl Work<'_> {
    /// All rows of one panel, six at a time.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn panel<const V: usize>(&mut self, panel: usize, column: usize, width: usize) {
        let whole = self.to.rows / ROWS * ROWS;
        for row in (0..whole).step_by(ROWS) {
            self.tile::<ROWS, V>(panel, row, column, width);
        }
        for row in whole..self.to.rows {
            self.tile::<1, V>(panel, row, column, width);
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn tile<const M: usize, const V: usize>(
        &mut self,
        panel: usize,
        row: usize,
        column: usize,
        width: usize,
    ) {
        let mut sums = [[_mm512_setzero_ps(); V]; M];
        for (left, right) in self.terms {
            let mut rows: [&[u32]; M] = [&[]; M];
            for (m, x) in rows.iter_mut().enumerate() {
                *x = &left[(row + m) * right.pairs..][..right.pairs];
            }
            let lines = &right.data[panel * VECTORS * right.pairs..][..V * right.pairs];
            add_products(&mut sums, rows, lines.as_chunks::<V>().0);
        }
        for (m, sums) in sums.iter().enumerate() {
            let to = &mut self.to.data[(row + m) * self.to.stride + column..][..width];
            for (to, sum) in to.chunks_mut(LANES).zip(sums) {
                store(*sum, to, self.to.add);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn add_products<const M: usize, const V: usize>(
    sums: &mut [[__m512; V]; M],
    rows: [&[u32]; M],
    lines: &[[Line; V]],
) {
    let rows = rows.map(|row| &row[..lines.len()]);
    for (i, lines) in lines.iter().enumerate() {
        let mut w = [bf16(_mm512_setzero_si512()); V];
        for (w, line) in w.iter_mut().zip(lines) {
            // SAFETY: the reference is to 64 bytes.
            *w = bf16(unsafe { _mm512_load_si512(line.0.as_ptr().cast()) });
        }
        for (sums, row) in sums.iter_mut().zip(rows) {
            let x = bf16(_mm512_set1_epi32(row[i] as i32));
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = _mm512_dpbf16_ps(*sum, x, w);
            }
        }
    }
}

/// The same bits, called pairs of bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16(x: __m512i) -> __m512bh {
    // SAFETY: both types are 64 bytes without invalid values.
    unsafe { core::mem::transmute(x) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn store(sum: __m512, to: &mut [f32], add: bool) {
    let mask = (1_u32 << to.len().min(LANES)).wrapping_sub(1) as __mmask16;
    // SAFETY: only elements of the mask are read, of which there are as many as the slice has.
    let held = unsafe { _mm512_maskz_loadu_ps(mask, to.as_ptr()) };
    let sum = if add { _mm512_add_ps(held, sum) } else { sum };
    // SAFETY: only elements of the mask are written, of which there are as many as the slice has.
    unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, sum) }
}
