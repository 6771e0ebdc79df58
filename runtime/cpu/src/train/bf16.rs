//! Products in bf16: an instruction multiplies sixteen pairs and adds them to sixteen f32.
#![allow(unsafe_code)]

use core::cell::RefCell;
use std::vec;
use std::vec::Vec;

use multiversion::multiversion;

use super::product::To;
use super::view::View;

#[cfg(not(target_arch = "x86_64"))]
#[path = "bf16/other.rs"]
mod machine;
#[cfg(target_arch = "x86_64")]
#[path = "bf16/x86.rs"]
mod machine;
mod portable;

pub(super) use machine::available;

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

/// Sixteen sums and what is added to them. A value of the type proves that the processor has the instruction.
trait Pairs: Copy {
    /// Sixteen f32.
    type Sums: Copy;
    /// Sixteen pairs of bf16.
    type Factors: Copy;

    fn zero(self) -> Self::Sums;
    fn load(self, line: &Line) -> Self::Factors;
    /// The same pair in every lane.
    fn splat(self, pair: u32) -> Self::Factors;
    /// To each lane the products of its pairs.
    fn add(self, sums: Self::Sums, x: Self::Factors, w: Self::Factors) -> Self::Sums;
    /// As many lanes as `to` has, in place of what is there or added to it.
    fn store(self, sums: Self::Sums, to: &mut [f32], add: bool);
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
                        let row = &x.transposed().rows_from(first + column)[..x.rows()];
                        debug_assert!(stride >= x.rows());
                        round_lane(row, panel, vectors, column);
                    }
                }
                _ => {
                    for (index, lines) in panel.chunks_exact_mut(vectors).enumerate() {
                        let low = &x.rows_from(2 * index)[first..first + width];
                        let high = if 2 * index + 1 < x.rows() {
                            &x.rows_from(2 * index + 1)[first..first + width]
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
            round_row(&x.rows_from(first + row)[..columns], to);
        }
        return;
    }
    // A transposed matrix: what is a column here lies along.
    let across = x.transposed();
    for index in 0..pairs {
        let low = &across.rows_from(2 * index)[first..first + rows];
        let high = (2 * index + 1 < columns)
            .then(|| &across.rows_from(2 * index + 1)[first..first + rows]);
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
        machine::run(Work { terms: &rows, to });
    });
}

/// Rounded rows and their weights, and where the sum of their products goes.
struct Work<'a> {
    terms: &'a [(&'a [u32], &'a Packed)],
    to: To<'a>,
}

/// A panel and the columns it stands for.
#[derive(Clone, Copy)]
struct Panel {
    index: usize,
    column: usize,
    width: usize,
}

impl Work<'_> {
    /// Panel after panel.
    #[inline(always)]
    fn run<P: Pairs>(mut self, pairs: P) {
        let columns = self.terms.first().map_or(0, |(_, right)| right.columns);
        for (index, column) in (0..columns).step_by(WIDTH).enumerate() {
            let width = (columns - column).min(WIDTH);
            let panel = Panel {
                index,
                column,
                width,
            };
            match width.div_ceil(LANES) {
                4 => self.panel::<P, 4>(pairs, panel),
                3 => self.panel::<P, 3>(pairs, panel),
                2 => self.panel::<P, 2>(pairs, panel),
                _ => self.panel::<P, 1>(pairs, panel),
            }
        }
    }

    /// All rows of one panel, six at a time.
    #[inline(always)]
    fn panel<P: Pairs, const V: usize>(&mut self, pairs: P, panel: Panel) {
        let whole = self.to.rows / ROWS * ROWS;
        for row in (0..whole).step_by(ROWS) {
            self.tile::<P, ROWS, V>(pairs, panel, row);
        }
        match self.to.rows - whole {
            5 => self.tile::<P, 5, V>(pairs, panel, whole),
            4 => self.tile::<P, 4, V>(pairs, panel, whole),
            3 => self.tile::<P, 3, V>(pairs, panel, whole),
            2 => self.tile::<P, 2, V>(pairs, panel, whole),
            1 => self.tile::<P, 1, V>(pairs, panel, whole),
            _ => {}
        }
    }

    #[inline(always)]
    fn tile<P: Pairs, const M: usize, const V: usize>(
        &mut self,
        pairs: P,
        panel: Panel,
        row: usize,
    ) {
        let mut sums = [[pairs.zero(); V]; M];
        for (left, right) in self.terms {
            let mut rows: [&[u32]; M] = [&[]; M];
            for (m, x) in rows.iter_mut().enumerate() {
                *x = &left[(row + m) * right.pairs..][..right.pairs];
            }
            let lines = &right.data[panel.index * VECTORS * right.pairs..][..V * right.pairs];
            add_products(pairs, &mut sums, rows, lines.as_chunks::<V>().0);
        }
        for (m, sums) in sums.iter().enumerate() {
            let to = (row + m) * self.to.stride + panel.column;
            let to = &mut self.to.data[to..][..panel.width];
            for (to, sums) in to.chunks_mut(LANES).zip(sums) {
                pairs.store(*sums, to, self.to.add);
            }
        }
    }
}

#[inline(always)]
fn add_products<P: Pairs, const M: usize, const V: usize>(
    pairs: P,
    sums: &mut [[P::Sums; V]; M],
    rows: [&[u32]; M],
    lines: &[[Line; V]],
) {
    let rows = rows.map(|row| &row[..lines.len()]);
    // By value: behind the reference they would leave their registers at every step.
    let mut held = *sums;
    for (i, lines) in lines.iter().enumerate() {
        let w = lines.each_ref().map(|line| pairs.load(line));
        for (sums, row) in held.iter_mut().zip(rows) {
            let x = pairs.splat(row[i]);
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = pairs.add(*sum, x, w);
            }
        }
    }
    *sums = held;
}
