//! A matrix, its bias and its adapter: forwards and backwards.

use inkstone_cpu::train::{View, rows};
use inkstone_model::Linear;
use rayon::prelude::*;

use crate::compute::{ROWS, add_product, add_product_in, product, sum_rows};
use crate::weight::{Reader, Way, Weight, prepared};

/// What the backward pass of a [`Linear`] adds to, by index among what is trained.
pub type Gradients = [Vec<f32>];

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
    y.clear();
    y.resize(tokens * w.rows, 0.0);
    let left = View::new(x, tokens, w.inputs);
    u.clear();
    let mut scaled = Vec::new();
    if let Some(adapter) = w.adapter {
        u.resize(tokens * adapter.rank, 0.0);
        let a = &reader.trained[adapter.a].values;
        prepared(
            reader.precision,
            View::new(a, adapter.rank, w.inputs),
            Way::Forward,
            |a| {
                product(&[(left, a)], u, adapter.rank, 0, false);
            },
        );
        scaled = u.iter().map(|u| u * adapter.scale).collect();
    }
    for strip in w.strips() {
        w.with(reader, &strip, Way::Forward, |base| {
            let Some(adapter) = w.adapter else {
                product(&[(left, base)], y, w.rows, strip.start, false);
                return;
            };
            let b = &reader.trained[adapter.b].values[strip.start * adapter.rank..];
            let b = View::new(b, strip.len(), adapter.rank);
            let lifted = View::new(&scaled, tokens, adapter.rank);
            prepared(reader.precision, b, Way::Forward, |b| {
                product(&[(left, base), (lifted, b)], y, w.rows, strip.start, false);
            });
        });
    }
    if let Some(bias) = linear.bias {
        let bias = bias.vector(reader.trained);
        y.par_chunks_mut(w.rows)
            .for_each(|y| rows::add_scaled(y, bias, 1.0));
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
    let tokens = back.dy.len() / w.rows;
    let dy = View::new(back.dy, tokens, w.rows);
    let mut t = Vec::new();
    if let Some(adapter) = w.adapter {
        // t = scale · dy·B
        t = vec![0.0; tokens * adapter.rank];
        let b = &reader.trained[adapter.b].values;
        prepared(
            reader.precision,
            View::new(b, w.rows, adapter.rank),
            Way::Backward,
            |b| {
                product(&[(dy, b)], &mut t, adapter.rank, 0, false);
            },
        );
        t.iter_mut().for_each(|t| *t *= adapter.scale);
        let scaled: Vec<f32> = back.u.iter().map(|u| u * adapter.scale).collect();
        let u = View::new(&scaled, tokens, adapter.rank);
        add_product(dy.transposed(), u, &mut gradients[adapter.b]);
        // dA has few rows: its transpose has many, which threads share.
        let x = View::new(back.x, tokens, w.inputs);
        let mut transposed = vec![0.0; w.inputs * adapter.rank];
        let t = View::new(&t, tokens, adapter.rank);
        add_product(x.transposed(), t, &mut transposed);
        add_transposed(&transposed, adapter.rank, &mut gradients[adapter.a]);
    }
    if let Some(dx) = dx {
        for strip in w.strips() {
            let dy = View::strided(&back.dy[strip.start..], tokens, strip.len(), w.rows);
            w.with(reader, &strip, Way::Backward, |base| {
                product(&[(dy, base)], dx, w.inputs, 0, true);
            });
        }
        if let Some(adapter) = w.adapter {
            let a = &reader.trained[adapter.a].values;
            let a = View::new(a, adapter.rank, w.inputs);
            let t = View::new(&t, tokens, adapter.rank);
            prepared(reader.precision, a, Way::Backward, |a| {
                product(&[(t, a)], dx, w.inputs, 0, true);
            });
        }
    }
    if let Some(index) = w.trained() {
        let x = View::new(back.x, tokens, w.inputs);
        add_product_in(reader.precision, dy.transposed(), x, &mut gradients[index]);
    }
    if let Some(index) = linear.bias.and_then(Weight::trained) {
        add_rows(back.dy, w.rows, &mut gradients[index]);
    }
}

/// Adds to `to`, `columns × rows`, what stands in `from`, `rows × columns`.
fn add_transposed(from: &[f32], columns: usize, to: &mut [f32]) {
    let rows = from.len() / columns;
    for (column, to) in to.chunks_exact_mut(rows).enumerate() {
        for (to, from) in to.iter_mut().zip(from.chunks_exact(columns)) {
            *to += from[column];
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
