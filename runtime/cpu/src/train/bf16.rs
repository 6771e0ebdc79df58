//! Products in bf16: an instruction multiplies sixteen pairs and adds them to sixteen f32.
#![allow(unsafe_code)]

use core::cell::RefCell;
use core::ops::Range;
use core::slice;
use std::vec;
use std::vec::Vec;

use super::lines::{LANES, Line, Lines};
use super::product::To;
use super::view::View;

#[cfg(not(target_arch = "x86_64"))]
#[path = "bf16/other.rs"]
mod machine;
#[cfg(target_arch = "x86_64")]
#[path = "bf16/x86.rs"]
mod machine;
mod portable;
mod round;

pub(super) use machine::available;
pub use round::{row as narrow, widen};

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

/// Some inputs and columns of weights.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    packed: &'a Packed,
    /// The first panel.
    panel: usize,
    columns: usize,
    /// The first pair of inputs.
    pair: usize,
    pairs: usize,
}

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
            round::across(low, high, lines);
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

    /// Lays out `inputs × columns` that `fill` writes row by row.
    pub fn from_rows(
        inputs: usize,
        columns: usize,
        mut fill: impl FnMut(usize, &mut [f32]),
    ) -> Packed {
        let mut packed = Packed::zeros(inputs, columns);
        let deep = packed.deep();
        let (mut low, mut high) = (vec![0.0; columns], vec![0.0; columns]);
        for pair in 0..packed.pairs {
            fill(2 * pair, &mut low);
            if 2 * pair + 1 < inputs {
                fill(2 * pair + 1, &mut high);
            } else {
                high.fill(0.0);
            }
            let panels = packed.data.chunks_mut(VECTORS * deep);
            for ((low, high), lines) in low.chunks(WIDTH).zip(high.chunks(WIDTH)).zip(panels) {
                let vectors = low.len().div_ceil(LANES);
                round::across(low, high, &mut lines[pair * vectors..][..vectors]);
            }
        }
        packed
    }

    /// All of it.
    #[must_use]
    pub fn whole(&self) -> Part<'_> {
        Part {
            packed: self,
            panel: 0,
            columns: self.columns,
            pair: 0,
            pairs: self.pairs,
        }
    }

    /// Pairs of a column, and what makes up for those that a matrix register holds besides.
    fn deep(&self) -> usize {
        self.pairs.next_multiple_of(DEEP)
    }
}

impl<'a> Part<'a> {
    /// Less of it.
    ///
    /// # Panics
    /// Inputs begin within a matrix register's worth, or columns begin or end within a panel, or there are not as many.
    #[must_use]
    pub fn part(self, inputs: Range<usize>, columns: Range<usize>) -> Part<'a> {
        let last = columns.end == self.columns;
        assert!(
            inputs.start.is_multiple_of(2 * DEEP) && columns.start.is_multiple_of(WIDTH),
            "a part of weights begins within a panel"
        );
        assert!(
            columns.end.is_multiple_of(WIDTH) || last,
            "a part of weights ends within a panel"
        );
        let pairs = inputs.len().div_ceil(2);
        assert!(
            inputs.start / 2 + pairs <= self.pairs && columns.end <= self.columns,
            "a part of weights that are not there"
        );
        Part {
            packed: self.packed,
            panel: self.panel + columns.start / WIDTH,
            columns: columns.len(),
            pair: self.pair + inputs.start / 2,
            pairs,
        }
    }

    /// Columns.
    pub(super) fn columns(self) -> usize {
        self.columns
    }

    /// As [`Packed::deep`].
    fn deep(self) -> usize {
        self.pairs.next_multiple_of(DEEP)
    }

    /// The lines of a panel, those of a pair side by side.
    fn panel(self, panel: Panel) -> &'a [Line] {
        let (deep, vectors) = (self.packed.deep(), panel.width.div_ceil(LANES));
        let lines = &self.packed.data[(self.panel + panel.index) * VECTORS * deep..];
        &lines[self.pair * vectors..][..self.deep() * vectors]
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
                round::row(&column[inputs.clone()], &mut line.0);
            }
            round::transpose(&mut block);
            let lines = panel[pair * vectors + column / LANES..].iter_mut();
            for (line, block) in lines.step_by(vectors).zip(&block) {
                *line = *block;
            }
        }
    }
}

/// Rows of a left factor, rounded: pairs of neighbouring inputs, the earlier one in the low half; zeros behind them.
#[derive(Debug)]
pub(super) struct Rounded {
    pairs: usize,
    data: Lines<u32>,
}

std::thread_local! {
    /// What rounded rows have left, for the next ones.
    static LEFT: RefCell<Vec<Lines<u32>>> = const { RefCell::new(Vec::new()) };
}

impl Rounded {
    pub(super) fn new(x: View<'_>) -> Rounded {
        let mut rounded = Rounded::empty(x.rows(), x.columns());
        if x.strides().1 == 1 {
            for row in 0..x.rows() {
                rounded.put(row, 0, &x.rows_from(row)[..x.columns()]);
            }
        } else {
            rounded.put_across(x);
        }
        rounded
    }

    /// Rows that are yet to be written.
    pub(super) fn empty(rows: usize, columns: usize) -> Rounded {
        let data = LEFT.with_borrow_mut(Vec::pop).unwrap_or_default();
        let pairs = columns.div_ceil(2);
        let mut rounded = Rounded { pairs, data };
        let stride = rounded.stride();
        rounded.data.resize(rows.next_multiple_of(TALL) * stride);
        let behind = rounded.data.chunks_exact_mut(stride).take(rows);
        behind.for_each(|row| row[pairs..].fill(0));
        rounded
    }

    /// Words from a row to the next: an odd number of lines, so that neighbours do not contend for places in a cache.
    fn stride(&self) -> usize {
        (self.pairs.div_ceil(DEEP) | 1) * DEEP
    }

    /// Numbers of a row from `column`, which is even, on.
    pub(super) fn put(&mut self, row: usize, column: usize, x: &[f32]) {
        assert!(column.is_multiple_of(2), "a pair is written at once");
        let to = row * self.stride() + column / 2;
        round::row(x, &mut self.data[to..][..x.len().div_ceil(2)]);
    }

    /// A transposed matrix: what is a column here lies along.
    fn put_across(&mut self, x: View<'_>) {
        let (rows, columns, stride) = (x.rows(), x.columns(), self.stride());
        let across = x.transposed();
        let mut block = [Line([0; LANES]); LANES];
        for pair in (0..self.pairs).step_by(LANES) {
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
                    round::across(low, high, slice::from_mut(line));
                }
                round::transpose(&mut block);
                let rows = self.data[row * stride..].chunks_mut(stride);
                for (to, line) in rows.zip(&block).take(count) {
                    to[pair..pair + LANES].copy_from_slice(&line.0);
                }
            }
        }
    }
}

impl Drop for Rounded {
    fn drop(&mut self) {
        let data = core::mem::take(&mut self.data);
        // A thread that ends has no use for it.
        let _ = LEFT.try_with(|left| left.borrow_mut().push(data));
    }
}

/// The sum of products; see [`super::multiply`].
pub(super) fn multiply(terms: &[(&Rounded, Part<'_>)], to: To<'_>) {
    let fit = |(left, right): &(&Rounded, Part<'_>)| left.pairs == right.pairs;
    assert!(terms.iter().all(fit), "factors of different inputs");
    machine::run(Work { terms, to });
}

/// Rounded rows and their weights, and where the sum of their products goes.
struct Work<'a> {
    terms: &'a [(&'a Rounded, Part<'a>)],
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
                *x = &left.data[(row + m) * left.stride()..][..right.pairs];
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
        f32::from_bits(round::round(x) << 16)
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
                multiply(&[(&left, right.whole()), (&left, right.whole())], to);
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
