//! Products and rows over all threads. What a thread gets never changes a bit of what comes out.

use core::ops::Range;

use inkstone_cpu::train::{self, Integers, Left, Lines, Packed, Precision, Right, To, View};
use rayon::prelude::*;

/// Rows that a thread takes at once, by how many there are: for each the weights are read anew, but few tiles leave
/// processors idle.
const TILES: [(usize, usize); 2] = [(192, 128), (0, 32)];

/// Numbers from which on a matrix is laid out by all threads.
const MANY: usize = 1 << 16;

/// Rows of `rows` that a thread takes at once.
#[must_use]
pub fn tile(rows: usize) -> usize {
    let tile = TILES.iter().find(|(least, _)| rows >= *least);
    tile.expect("the last row of the table is for every number")
        .1
}

/// The product `left · right` into `to`, rows `stride` apart, from `column` on; added to what is there, or in its place.
pub fn product(
    left: View<'_>,
    right: Right<'_>,
    to: &mut [f32],
    stride: usize,
    column: usize,
    add: bool,
) {
    let tile = tile(left.rows());
    to.par_chunks_mut(tile * stride)
        .enumerate()
        .for_each(|(index, chunk)| {
            let rows = chunk.len() / stride;
            let left = left.part(index * tile..index * tile + rows);
            let to = To {
                data: &mut chunk[column..],
                rows,
                stride,
                add,
            };
            train::multiply(&[(&Left::new(right.form(), left), right)], to);
        });
}

/// `left · right` in `precision`, added to `to`.
pub fn add_product_in(precision: Precision, left: View<'_>, right: View<'_>, to: &mut [f32]) {
    match precision {
        Precision::F32 => product(left, Right::F32(right), to, right.columns(), 0, true),
        Precision::Bf16 => {
            let packed = packed(right);
            let whole = Right::Bf16(packed.whole());
            product(left, whole, to, right.columns(), 0, true);
        }
    }
}

/// A right factor, rounded and laid out by all threads where it is large.
#[must_use]
pub fn packed(x: View<'_>) -> Packed {
    if x.rows() * x.columns() < MANY {
        return Packed::new(x);
    }
    let mut packed = Packed::zeros(x.rows(), x.columns());
    let spaces: Vec<_> = packed.spaces().collect();
    spaces.into_par_iter().for_each(|space| space.fill(x));
    packed
}

/// A right factor `inputs × columns` as integers of eight bits; `rows` gives some of its rows.
#[must_use]
pub fn integers(
    inputs: usize,
    columns: usize,
    rows: impl Fn(Range<usize>) -> Vec<f32> + Sync,
) -> Integers<'static> {
    let mut integers = Integers::zeros(inputs, columns);
    integers.groups().into_par_iter().for_each(|group| {
        let x = rows(group.inputs(inputs));
        group.fill(View::new(&x, x.len() / columns, columns));
    });
    integers
}

/// A buffer's rows, taken tile after tile.
#[derive(Debug)]
pub struct Rows<'a> {
    rest: &'a mut [f32],
    width: usize,
}

impl<'a> Rows<'a> {
    /// Makes room for `rows` rows of `width` numbers; what is there stays.
    pub fn new(x: &'a mut Lines<f32>, rows: usize, width: usize) -> Rows<'a> {
        x.resize(rows * width);
        Rows { rest: x, width }
    }

    /// The next ones.
    pub fn take(&mut self, rows: usize) -> &'a mut [f32] {
        let (first, rest) = core::mem::take(&mut self.rest).split_at_mut(rows * self.width);
        self.rest = rest;
        first
    }
}

/// Numbers from a row to the next where rows have as many columns: an odd number of the cache's lines, so that rows do not
/// contend for places in it.
#[must_use]
pub fn stride(columns: usize) -> usize {
    const LINE: usize = 16;
    (columns.div_ceil(LINE) | 1) * LINE
}

/// Rows that are summed apart: partial sums over rows are joined in this order whatever the threads.
pub const ROWS: usize = 64;

/// Sums of `width` numbers over chunks of rows: `work` adds to the partial sum of chunk `index`; the partial sums are
/// added to `to` in order.
pub fn sum_rows(rows: usize, to: &mut [f32], work: impl Fn(usize, &mut [f32]) + Sync) {
    let width = to.len();
    let mut partial = vec![0.0; rows.div_ceil(ROWS) * width];
    partial
        .par_chunks_mut(width.max(1))
        .enumerate()
        .for_each(|(index, partial)| work(index, partial));
    for partial in partial.chunks(width.max(1)) {
        train::rows::add_scaled(to, partial, 1.0);
    }
}

/// Rows `picked` of `from`, one after the other.
#[must_use]
pub fn gather(from: &[f32], width: usize, picked: &[usize]) -> Vec<f32> {
    let rows = picked.iter().map(|row| &from[row * width..][..width]);
    rows.flatten().copied().collect()
}

/// `from`, rows of `columns` numbers, with rows and columns exchanged, in blocks that stay near.
pub fn exchange(from: &[f32], columns: usize, to: &mut [f32]) {
    const BLOCK: usize = 16;
    let rows = from.len() / columns;
    for first in (0..columns).step_by(BLOCK) {
        for row in (0..rows).step_by(BLOCK) {
            for column in first..columns.min(first + BLOCK) {
                let to = &mut to[column * rows..][..rows];
                for (row, to) in to.iter_mut().enumerate().skip(row).take(BLOCK) {
                    *to = from[row * columns + column];
                }
            }
        }
    }
}
