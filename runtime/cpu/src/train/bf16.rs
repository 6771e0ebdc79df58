//! Products in bf16: an instruction multiplies sixteen pairs and adds them to sixteen f32.
#![allow(unsafe_code)]

use core::cell::RefCell;
use core::slice;
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
/// Pairs that a matrix register holds; zeros make up what is missing at the end of a row or a column.
const DEEP: usize = 16;
/// Rows, and columns, that two matrix registers hold; what else stands in them is multiplied for nobody.
const TALL: usize = 32;

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

/// A panel that is to be filled.
#[derive(Debug)]
pub struct Space<'a> {
    first: usize,
    width: usize,
    lines: &'a mut [Line],
}

impl Space<'_> {
    /// Rounds its columns of `inputs × columns`.
    pub fn fill(self, x: View<'_>) {
        let Space {
            first,
            width,
            lines,
        } = self;
        if x.strides().0 == 1 {
            return round_down(x, first, width, lines);
        }
        let pairs = lines.chunks_exact_mut(width.div_ceil(LANES));
        for (index, lines) in pairs.take(x.rows().div_ceil(2)).enumerate() {
            let row = |row| (row < x.rows()).then(|| &x.rows_from(row)[first..first + width]);
            let low = row(2 * index).unwrap_or_default();
            let high = row(2 * index + 1).unwrap_or(&[0.0; WIDTH][..width]);
            round_across(low, high, lines);
        }
    }
}

impl Packed {
    /// Lays out `inputs × columns`.
    #[must_use]
    pub fn new(x: View<'_>) -> Packed {
        let mut packed = Packed::zeros(x.rows(), x.columns());
        packed.spaces().for_each(|space| space.fill(x));
        packed
    }

    /// Zeros for `inputs × columns`.
    #[must_use]
    pub fn zeros(inputs: usize, columns: usize) -> Packed {
        let mut packed = Packed {
            columns,
            pairs: inputs.div_ceil(2),
            data: Vec::new(),
        };
        let lines = columns.div_ceil(LANES) * packed.deep();
        packed.data = vec![Line([0; LANES]); lines];
        packed
    }

    /// Its panels, which can be filled one beside the other.
    pub fn spaces(&mut self) -> impl Iterator<Item = Space<'_>> {
        let (columns, deep) = (self.columns, self.deep());
        let panels = self.data.chunks_mut(VECTORS * deep.max(1));
        panels.enumerate().map(move |(index, lines)| Space {
            first: index * WIDTH,
            width: (columns - index * WIDTH).min(WIDTH),
            lines,
        })
    }

    /// Columns.
    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    /// Pairs of a column, and what makes up for those that a matrix register holds besides.
    fn deep(&self) -> usize {
        self.pairs.next_multiple_of(DEEP)
    }

    /// The lines of a panel, those of a pair side by side.
    fn panel(&self, panel: Panel) -> &[Line] {
        let (deep, vectors) = (self.deep(), panel.width.div_ceil(LANES));
        &self.data[panel.index * VECTORS * deep..][..vectors * deep]
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

/// Pairs of neighbours.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn round_row(x: &[f32], to: &mut [u32]) {
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

/// Pairs of what stands in both rows.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn round_across(low: &[f32], high: &[f32], to: &mut [Line]) {
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

/// Columns that lie along, from `first` on, into a panel: sixteen columns of sixteen pairs at a time.
fn round_down(x: View<'_>, first: usize, width: usize, panel: &mut [Line]) {
    let (along, vectors) = (x.transposed(), width.div_ceil(LANES));
    let mut block = [Line([0; LANES]); LANES];
    for column in (0..width).step_by(LANES) {
        let columns = LANES.min(width - column);
        for pair in (0..x.rows().div_ceil(2)).step_by(LANES) {
            let inputs = 2 * pair..x.rows().min(2 * (pair + LANES));
            block[columns..].fill(Line([0; LANES]));
            for (index, line) in block.iter_mut().take(columns).enumerate() {
                let column = along.rows_from(first + column + index);
                round_row(&column[inputs.clone()], &mut line.0);
            }
            transpose(&mut block);
            let lines = panel[pair * vectors + column / LANES..].iter_mut();
            for (line, block) in lines.step_by(vectors).zip(&block) {
                *line = *block;
            }
        }
    }
}

/// Exchanges rows and columns: four times the rows of both halves are shuffled into one another.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn transpose(block: &mut [Line; LANES]) {
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

/// Rows of a left factor, rounded: pairs of neighbouring inputs, the earlier one in the low half; zeros behind them.
#[derive(Debug)]
pub(super) struct Rounded {
    pairs: usize,
    data: Vec<u32>,
}

std::thread_local! {
    /// What rounded rows have left, for the next ones.
    static LEFT: RefCell<Vec<Vec<u32>>> = const { RefCell::new(Vec::new()) };
}

impl Rounded {
    pub(super) fn new(x: View<'_>) -> Rounded {
        let mut data = LEFT.with_borrow_mut(Vec::pop).unwrap_or_default();
        round_rows(x, &mut data);
        let pairs = x.columns().div_ceil(2);
        Rounded { pairs, data }
    }
}

impl Drop for Rounded {
    fn drop(&mut self) {
        let data = core::mem::take(&mut self.data);
        // A thread that ends has no use for it.
        let _ = LEFT.try_with(|left| left.borrow_mut().push(data));
    }
}

fn round_rows(x: View<'_>, to: &mut Vec<u32>) {
    let (rows, columns, pairs) = (x.rows(), x.columns(), x.columns().div_ceil(2));
    let deep = pairs.next_multiple_of(DEEP);
    to.resize(rows.next_multiple_of(TALL) * deep, 0);
    if x.strides().1 == 1 {
        for (row, to) in to.chunks_exact_mut(deep.max(1)).take(rows).enumerate() {
            round_row(&x.rows_from(row)[..columns], &mut to[..pairs]);
            to[pairs..].fill(0);
        }
        return;
    }
    // A transposed matrix: what is a column here lies along.
    let across = x.transposed();
    let mut block = [Line([0; LANES]); LANES];
    for pair in (0..pairs).step_by(LANES) {
        for row in (0..rows).step_by(LANES) {
            let count = LANES.min(rows - row);
            for (index, line) in block.iter_mut().enumerate() {
                let column = |column| {
                    let inside = column < columns;
                    inside.then(|| &across.rows_from(column)[row..][..count])
                };
                let low = column(2 * (pair + index)).unwrap_or(&[0.0; LANES][..count]);
                let high = column(2 * (pair + index) + 1).unwrap_or(&[0.0; LANES][..count]);
                line.0[count..].fill(0);
                round_across(low, high, slice::from_mut(line));
            }
            transpose(&mut block);
            for (to, line) in to[row * deep..]
                .chunks_exact_mut(deep)
                .zip(&block)
                .take(count)
            {
                to[pair..pair + LANES].copy_from_slice(&line.0);
            }
        }
    }
}

/// The sum of products; see [`super::multiply`].
pub(super) fn multiply(terms: &[(&Rounded, &Packed)], to: To<'_>) {
    let fit = |(left, right): &(&Rounded, &Packed)| left.pairs == right.pairs;
    assert!(terms.iter().all(fit), "factors of different inputs");
    machine::run(Work { terms, to });
}

/// Rounded rows and their weights, and where the sum of their products goes.
struct Work<'a> {
    terms: &'a [(&'a Rounded, &'a Packed)],
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
    fn panels(&self) -> impl Iterator<Item = Panel> + use<> {
        let columns = self.terms.first().map_or(0, |(_, right)| right.columns);
        let first = (0..columns).step_by(WIDTH).enumerate();
        first.map(move |(index, column)| Panel {
            index,
            column,
            width: (columns - column).min(WIDTH),
        })
    }

    /// Panel after panel.
    #[inline(always)]
    fn run<P: Pairs>(mut self, pairs: P) {
        for panel in self.panels() {
            match panel.width.div_ceil(LANES) {
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
                *x = &left.data[(row + m) * right.deep()..][..right.pairs];
            }
            let lines = &right.panel(panel).as_chunks::<V>().0[..right.pairs];
            add_products(pairs, &mut sums, rows, lines);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What `x` is rounded to.
    fn rounded(x: f32) -> f32 {
        f32::from_bits(round(x) << 16)
    }

    /// Numbers that differ, of both signs.
    fn numbers(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// `x` with rows and columns exchanged, as it would lie.
    fn turned(x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        let at = |i: usize| x[i % rows * columns + i / rows];
        (0..rows * columns).map(at).collect()
    }

    #[test]
    fn products_of_any_shape_are_sums_of_rounded_products() {
        for (rows, inputs, columns) in [
            (1, 1, 1),
            (5, 3, 4),
            (33, 16, 70),
            (64, 64, 64),
            (47, 95, 129),
            (24, 33, 15),
        ] {
            let (a, b) = (numbers(rows * inputs, 1), numbers(inputs * columns, 2));
            let (a_turned, b_turned) = (turned(&a, rows, inputs), turned(&b, inputs, columns));
            let lefts = [
                View::new(&a, rows, inputs),
                View::new(&a_turned, inputs, rows).transposed(),
            ];
            let rights = [
                View::new(&b, inputs, columns),
                View::new(&b_turned, columns, inputs).transposed(),
            ];
            for (left, right, add) in [(0, 0, false), (0, 1, true), (1, 0, true), (1, 1, false)] {
                let (left, right) = (Rounded::new(lefts[left]), Packed::new(rights[right]));
                let stride = columns + 3;
                let before = numbers(rows * stride, 3);
                let mut data = before.clone();
                let to = To {
                    data: &mut data,
                    rows,
                    stride,
                    add,
                };
                // Twice: a second term continues the sum.
                multiply(&[(&left, &right), (&left, &right)], to);
                for (index, (seen, before)) in data.iter().zip(&before).enumerate() {
                    let (row, column) = (index / stride, index % stride);
                    let product =
                        |i: usize| rounded(a[row * inputs + i]) * rounded(b[i * columns + column]);
                    let expected = match (column < columns, add) {
                        (false, _) => *before,
                        (true, add) => {
                            let sum: f32 = (0..inputs).map(product).sum();
                            2.0 * sum + if add { *before } else { 0.0 }
                        }
                    };
                    assert!(
                        (seen - expected).abs() < 1e-4,
                        "{rows}×{inputs}×{columns} at {row}, {column}: {seen} and not {expected}"
                    );
                }
            }
        }
    }
}
