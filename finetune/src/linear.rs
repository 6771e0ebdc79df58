//! A matrix, its bias and its adapter: forwards and backwards.

use core::ops::Range;
use std::borrow::Cow;

use inkstone_cpu::train::{Left, To, View, multiply, rows};
use inkstone_model::Linear;
use rayon::prelude::*;

use crate::compute::{ROWS, add_product_in, multiply_here, sum_rows, tile};
use crate::weight::{Adapter, Factor, Reader, Way, Weight};

/// What the backward pass of a [`Linear`] adds to, by index among what is trained.
pub type Gradients = [Vec<f32>];

/// The thin matrices of an adapter, as right factors.
struct Thin<'a> {
    adapter: Adapter,
    a: Factor<'a>,
    b: Factor<'a>,
}

impl<'a> Thin<'a> {
    /// With the outputs `strip` of `B`.
    fn new(w: &Weight, reader: Reader<'a>, strip: Range<usize>, way: Way) -> Option<Thin<'a>> {
        let adapter = w.adapter?;
        let factor = |index: usize, rows: Range<usize>, columns: usize| {
            let values = &reader.trained[index].values[rows.start * columns..rows.end * columns];
            let shape = (rows.len(), columns);
            Factor::new(reader.precision, Cow::Borrowed(values), shape, way)
        };
        Some(Thin {
            adapter,
            a: factor(adapter.a, 0..adapter.rank, w.inputs),
            b: factor(adapter.b, strip, adapter.rank),
        })
    }
}

/// `y = x·Wᵀ + scale·(x·Aᵀ)·Bᵀ + bias`, `tokens × outputs`; `u` becomes `x·Aᵀ`.
///
/// The adapter's product continues the matrix's: its rank is appended to the inputs.
pub fn forward(
    linear: Linear<&Weight>,
    reader: Reader<'_>,
    x: &[f32],
    y: &mut Vec<f32>,
    u: &mut Vec<f32>,
) {
    let w = linear.weight;
    let tokens = x.len() / w.inputs;
    let rank = w.adapter.map_or(0, |adapter| adapter.rank);
    y.resize(tokens * w.rows, 0.0);
    u.resize(tokens * rank, 0.0);
    let x = View::new(x, tokens, w.inputs);
    let tile = tile(tokens);
    for strip in w.strips() {
        let base = w.factor(reader, &strip, Way::Forward);
        let thin = Thin::new(w, reader, strip.clone(), Way::Forward);
        let mut thins = u.chunks_mut((tile * rank).max(1));
        let tiles = y.chunks_mut(tile * w.rows);
        let tiles: Vec<_> = tiles
            .map(|y| (y, thins.next().unwrap_or_default()))
            .collect();
        tiles
            .into_par_iter()
            .enumerate()
            .for_each(|(index, (y, u))| {
                let first = index * tile;
                let x = x.part(first..first + y.len() / w.rows);
                let x = Left::new(reader.precision, x);
                let y = &mut y[strip.start..];
                let Some(thin) = &thin else {
                    return multiply(&[(&x, base.right())], to(y, w.rows));
                };
                multiply(&[(&x, thin.a.right())], to(u, rank));
                let lifted: Vec<f32> = u.iter().map(|u| u * thin.adapter.scale).collect();
                let lifted = View::new(&lifted, u.len() / rank, rank);
                let lifted = Left::new(reader.precision, lifted);
                let terms = [(&x, base.right()), (&lifted, thin.b.right())];
                multiply(&terms, to(y, w.rows));
            });
    }
    if let Some(bias) = linear.bias {
        let bias = bias.vector(reader.trained);
        y.par_chunks_mut(w.rows)
            .for_each(|y| rows::add_scaled(y, bias, 1.0));
    }
}

/// Rows `stride` apart, the last one perhaps cut short: a product takes their place.
fn to(data: &mut [f32], stride: usize) -> To<'_> {
    let rows = data.len().div_ceil(stride);
    To {
        data,
        rows,
        stride,
        add: false,
    }
}

/// What a product's backward pass needs.
#[derive(Debug, Clone, Copy)]
pub struct Back<'a> {
    /// The product's input; read where something is learnt.
    pub x: &'a [f32],
    /// What [`forward`] left.
    pub u: &'a [f32],
    /// The gradient of its output.
    pub dy: &'a [f32],
}

/// Adds to `dx`, where it is wanted, and to the gradients of what is learnt.
pub fn backward(
    linear: Linear<&Weight>,
    reader: Reader<'_>,
    back: Back<'_>,
    dx: Option<&mut [f32]>,
    gradients: &mut Gradients,
) {
    let w = linear.weight;
    let dx = dx.unwrap_or_default();
    if !dx.is_empty() || w.adapter.is_some() {
        for strip in w.strips() {
            strip_back(w, reader, back, &strip, dx, gradients);
        }
    }
    let tokens = back.dy.len() / w.rows;
    if let Some(index) = w.trained() {
        let dy = View::new(back.dy, tokens, w.rows).transposed();
        let x = View::new(back.x, tokens, w.inputs);
        add_product_in(reader.precision, dy, x, &mut gradients[index]);
    }
    if let Some(index) = linear.bias.and_then(Weight::trained) {
        add_rows(back.dy, w.rows, &mut gradients[index]);
    }
}

/// What the outputs `strip` add to `dx`, unless it is empty, and to the gradients of the adapter, of which each tile of
/// tokens has a sum of its own.
fn strip_back(
    w: &Weight,
    reader: Reader<'_>,
    back: Back<'_>,
    strip: &Range<usize>,
    dx: &mut [f32],
    gradients: &mut Gradients,
) {
    let tokens = back.dy.len() / w.rows;
    let tile = tile(tokens);
    let rank = w.adapter.map_or(0, |adapter| adapter.rank);
    let base = (!dx.is_empty()).then(|| w.factor(reader, strip, Way::Backward));
    let thin = Thin::new(w, reader, strip.clone(), Way::Backward);
    let dy = View::strided(&back.dy[strip.start..], tokens, strip.len(), w.rows);
    let sums = rank * (w.inputs + strip.len());
    let mut partial = vec![0.0; tokens.div_ceil(tile) * sums];
    let mut partials = partial.chunks_mut(sums.max(1));
    let mut inputs = dx.chunks_mut(tile * w.inputs);
    let tiles = (0..tokens).step_by(tile).map(|first| {
        let span = first..tokens.min(first + tile);
        let (dx, sums) = (inputs.next(), partials.next());
        (span, dx.unwrap_or_default(), sums.unwrap_or_default())
    });
    let tiles: Vec<_> = tiles.collect();
    tiles.into_par_iter().for_each(|(span, dx, sums)| {
        let dy = dy.part(span.clone());
        let left = Left::new(reader.precision, dy);
        let t = thin.as_ref().map(|thin| {
            let x = View::new(back.x, tokens, w.inputs).part(span.clone());
            let u = View::new(back.u, tokens, rank).part(span.clone());
            thin.back(reader, x, u, (dy, &left), sums)
        });
        let Some(base) = &base else {
            return;
        };
        let t = t.as_ref().map(|t| View::new(t, span.len(), rank));
        let t = t.map(|t| Left::new(reader.precision, t));
        let mut terms = vec![(&left, base.right())];
        terms.extend(
            t.as_ref()
                .zip(thin.as_ref())
                .map(|(t, thin)| (t, thin.a.right())),
        );
        let to = To {
            add: true,
            ..to(dx, w.inputs)
        };
        multiply(&terms, to);
    });
    let Some(adapter) = w.adapter else {
        return;
    };
    for sums in partial.chunks_exact(sums) {
        let (a, b) = sums.split_at(rank * w.inputs);
        rows::add_scaled(&mut gradients[adapter.a], a, 1.0);
        let to = &mut gradients[adapter.b][strip.start * rank..strip.end * rank];
        add_transposed(b, strip.len(), adapter.scale, to);
    }
}

impl Thin<'_> {
    /// `t = scale · dy·B`. `sums` become `tᵀ·x` and `uᵀ·dy`, the gradients of `A` and, but for its scale, of `Bᵀ`.
    fn back(
        &self,
        reader: Reader<'_>,
        x: View<'_>,
        u: View<'_>,
        (dy, left): (View<'_>, &Left<'_>),
        sums: &mut [f32],
    ) -> Vec<f32> {
        let rank = self.adapter.rank;
        let mut t = vec![0.0; dy.rows() * rank];
        multiply(&[(left, self.b.right())], to(&mut t, rank));
        t.iter_mut().for_each(|t| *t *= self.adapter.scale);
        let (a, b) = sums.split_at_mut(rank * x.columns());
        let of_t = View::new(&t, dy.rows(), rank).transposed();
        multiply_here(reader.precision, of_t, x, to(a, x.columns()));
        multiply_here(reader.precision, u.transposed(), dy, to(b, dy.columns()));
        t
    }
}

/// Adds to `to`, `columns × rows`, what stands in `from`, `rows × columns`, times `factor`.
fn add_transposed(from: &[f32], columns: usize, factor: f32, to: &mut [f32]) {
    let rows = from.len() / columns;
    for (column, to) in to.chunks_exact_mut(rows).enumerate() {
        for (to, from) in to.iter_mut().zip(from.chunks_exact(columns)) {
            *to += from[column] * factor;
        }
    }
}

/// Adds the sum of all rows.
fn add_rows(from: &[f32], width: usize, to: &mut [f32]) {
    sum_rows(from.len() / width, to, |index, partial| {
        for row in from[index * ROWS * width..].chunks_exact(width).take(ROWS) {
            rows::add_scaled(partial, row, 1.0);
        }
    });
}
