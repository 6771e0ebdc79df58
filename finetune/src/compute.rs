//! Products and rows over all threads. What a thread gets never changes a bit of what comes out.

use inkstone_cpu::train::{self, Precision, Right, To, View};
use rayon::prelude::*;

/// Rows of a product that a thread takes at once, by how many there are: each lays the weights out anew.
const TILES: [(usize, usize); 3] = [(512, 256), (256, 96), (0, 24)];

/// The sum of products `left · right` into `to`, rows `stride` apart, from `column` on; added to what is there, or in
/// its place.
pub fn product(
    terms: &[(View<'_>, Right<'_>)],
    to: &mut [f32],
    stride: usize,
    column: usize,
    add: bool,
) {
    let rows = to.len() / stride.max(1);
    let tile = TILES.iter().find(|(least, _)| rows >= *least);
    let (_, tile) = *tile.expect("the last row of the table is for every number");
    to.par_chunks_mut(tile * stride)
        .enumerate()
        .for_each(|(index, chunk)| {
            let rows = chunk.len() / stride;
            let data = &mut chunk[column..];
            train::multiply(
                terms,
                index * tile,
                To {
                    data,
                    rows,
                    stride,
                    add,
                },
            );
        });
}

/// `left · right` in f32, added to `to`: the gradients of small matrices.
pub fn add_product(left: View<'_>, right: View<'_>, to: &mut [f32]) {
    product(&[(left, Right::F32(right))], to, right.columns(), 0, true);
}

/// `left · right` in `precision`, added to `to`.
pub fn add_product_in(precision: Precision, left: View<'_>, right: View<'_>, to: &mut [f32]) {
    match precision {
        Precision::F32 => add_product(left, right, to),
        Precision::Bf16 => {
            let packed = train::Packed::new(right);
            product(
                &[(left, Right::Bf16(&packed))],
                to,
                right.columns(),
                0,
                true,
            );
        }
    }
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

/// `to` of the same shape as `from`, rows `picked` of it, one after the other.
pub fn gather(from: &[f32], width: usize, picked: &[usize], to: &mut Vec<f32>) {
    to.clear();
    for &row in picked {
        to.extend_from_slice(&from[row * width..][..width]);
    }
}

/// Adds rows to those they were gathered from.
pub fn scatter(from: &[f32], width: usize, picked: &[usize], to: &mut [f32]) {
    for (from, &row) in from.chunks_exact(width).zip(picked) {
        train::rows::add_scaled(&mut to[row * width..][..width], from, 1.0);
    }
}
