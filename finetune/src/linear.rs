//! A matrix, its bias and its adapter: forwards and backwards, for a tile of tokens.

use core::ops::Range;

use inkstone_cpu::train::{Form, Left, Lines, Precision, Right, To, View, multiply, rows};
use inkstone_model::Linear;

use crate::compute::{ROWS, add_product_in, exchange, sum_rows};
use crate::weight::{Adapter, Factor, Reader, Way, Weight};

/// What the backward pass of a [`Linear`] adds to, by index among what is trained.
pub type Gradients = [Vec<f32>];

/// A matrix and its adapter, ready to be multiplied with in one direction.
#[derive(Debug)]
pub struct Ready<'a> {
    w: &'a Weight,
    bias: Option<&'a [f32]>,
    form: Form,
    /// The matrix, unless nothing is wanted but the gradient of its adapter.
    base: Option<Factor<'a>>,
    thin: Option<Thin<'a>>,
}

/// The thin matrices of an adapter, as right factors.
#[derive(Debug)]
struct Thin<'a> {
    adapter: Adapter,
    a: Factor<'a>,
    b: Factor<'a>,
}

impl<'a> Ready<'a> {
    /// For the way `way`; `wanted` tells whether anything but the adapter's gradient is.
    #[must_use]
    pub fn new(
        linear: Linear<&'a Weight>,
        reader: Reader<'a>,
        way: Way,
        wanted: bool,
    ) -> Ready<'a> {
        let w = linear.weight;
        Ready {
            w,
            bias: linear.bias.map(|bias| bias.vector(reader.trained)),
            form: reader.form,
            base: wanted.then(|| w.factor(reader, &(0..w.rows), way)),
            thin: w.adapter.map(|adapter| Thin::new(w, adapter, reader, way)),
        }
    }

    /// Whether gradients of thin matrices are wanted, and so the input.
    #[must_use]
    pub fn adapted(&self) -> bool {
        self.thin.is_some()
    }

    /// Outputs of the adapter's first matrix; none without one.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.thin.as_ref().map_or(0, |thin| thin.adapter.rank)
    }

    /// `u = x·Aᵀ`, and what [`Self::outputs`] makes of it.
    pub fn lift(&self, x: &Left<'_>, u: &mut [f32]) -> Option<Left<'static>> {
        let (thin, rank) = (self.thin.as_ref()?, self.rank());
        multiply(&[(x, thin.a.right())], To::rows(u, rank));
        let rows = u.len() / rank;
        let scaled = |row: usize, to: &mut [f32]| {
            for (to, u) in to.iter_mut().zip(&u[row * rank..]) {
                *to = u * thin.adapter.scale;
            }
        };
        Some(Left::from_rows(self.form.precision, rows, rank, scaled))
    }

    /// The outputs `outputs` of `x·Wᵀ + scale·(x·Aᵀ)·Bᵀ + bias`.
    ///
    /// The adapter's product continues the matrix's: its rank is appended to the inputs.
    pub fn outputs(
        &self,
        x: &Left<'_>,
        lifted: Option<&Left<'_>>,
        outputs: Range<usize>,
        mut to: To<'_>,
    ) {
        let thin = lifted.zip(self.thin.as_ref());
        let thin = thin.map(|(lifted, thin)| (lifted, thin.b.right(), self.rank()));
        let base = self
            .base
            .as_ref()
            .map(|base| (x, base.right(), self.w.inputs));
        let terms = base.into_iter().chain(thin);
        let terms = terms.map(|(x, w, inputs)| (x, w.part(0..inputs, outputs.clone())));
        multiply(&terms.collect::<Vec<_>>(), to.again());
        if let Some(bias) = self.bias {
            for y in to.data.chunks_mut(to.stride) {
                rows::add_scaled(&mut y[..outputs.len()], &bias[outputs.clone()], 1.0);
            }
        }
    }

    /// All outputs, in place of what is in `y` or added to it; `u` becomes `x·Aᵀ`.
    pub fn forward(&self, x: &Left<'_>, y: &mut [f32], u: &mut [f32], add: bool) {
        let lifted = self.lift(x, u);
        let to = To::rows(y, self.w.rows);
        self.outputs(x, lifted.as_ref(), 0..self.w.rows, To { add, ..to });
    }

    /// Begins the way back of a tile of `rows` rows through the matrix. `u` is what [`Self::forward`] left; `sums`,
    /// where the matrix has an adapter, become the gradients of its thin matrices.
    #[must_use]
    pub fn back<'b>(&'b self, rows: usize, u: &'b [f32], sums: &'b mut Lines<f32>) -> Back<'b> {
        let (precision, rank) = (self.form.precision, self.rank());
        sums.resize(rank * (self.w.inputs + self.w.rows));
        let across = || Left::new(precision, View::new(u, rows, rank).transposed());
        Back {
            ready: self,
            dy: Left::empty(self.form, rows, self.w.rows),
            rows,
            u: self.adapted().then(across),
            sums,
            lowered: None,
        }
    }

    /// Adds what a tile's [`Self::back`] left in `sums` to the gradients of thin matrices.
    pub fn join(&self, sums: &[f32], gradients: &mut Gradients) {
        let Some(Adapter { a, b, scale, rank }) = self.thin.as_ref().map(|thin| thin.adapter)
        else {
            return;
        };
        let (of_a, of_b) = sums.split_at(rank * self.w.inputs);
        rows::add_scaled(&mut gradients[a], of_a, 1.0);
        add_transposed(of_b, self.w.rows, scale, &mut gradients[b]);
    }
}

/// A gradient on its way back through a matrix.
#[derive(Debug)]
pub struct Back<'a> {
    ready: &'a Ready<'a>,
    rows: usize,
    /// The gradient of the outputs.
    dy: Left<'a>,
    /// `x·Aᵀ`, rows and columns exchanged.
    u: Option<Left<'a>>,
    /// `tᵀ·x` and `uᵀ·dy`, the gradients of `A` and, but for its scale, of `Bᵀ`.
    sums: &'a mut [f32],
    /// `t = scale · dy·B`, and the same with rows and columns exchanged.
    lowered: Option<[Left<'a>; 2]>,
}

impl Back<'_> {
    /// The gradient of the outputs `outputs`.
    pub fn put(&mut self, outputs: Range<usize>, dy: View<'_>) {
        self.dy.put(outputs.start, dy);
        let Some(u) = &self.u else {
            return;
        };
        let right = Factor::new(self.ready.form.precision, dy);
        let (w, rank) = (self.ready.w, self.ready.rank());
        let to = To {
            data: &mut self.sums[rank * w.inputs + outputs.start..],
            rows: rank,
            stride: w.rows,
            add: false,
        };
        multiply(&[(u, right.right())], to);
    }

    /// What the adapter makes of the gradient, of which all outputs are there.
    pub fn lower(&mut self) {
        let Some(thin) = &self.ready.thin else {
            return;
        };
        let (rank, precision) = (thin.adapter.rank, self.ready.form.precision);
        let mut t = Lines::zeros(self.rows * rank);
        multiply(&[(&self.dy, thin.b.right())], To::rows(&mut t, rank));
        t.iter_mut().for_each(|t| *t *= thin.adapter.scale);
        let mut across = Lines::zeros(t.len());
        exchange(&t, rank, &mut across);
        let left = |x: &[f32], rows, columns| {
            Left::from_rows(precision, rows, columns, |row, to| {
                to.copy_from_slice(&x[row * columns..][..columns]);
            })
        };
        self.lowered = Some([left(&t, self.rows, rank), left(&across, rank, self.rows)]);
    }

    /// After [`Self::lower`]: the gradient of `A` at `inputs`, from what the matrix was given there.
    pub fn learn(&mut self, inputs: Range<usize>, x: Right<'_>) {
        if let Some([_, across]) = &self.lowered {
            let to = To {
                data: &mut self.sums[inputs.start..],
                rows: self.ready.rank(),
                stride: self.ready.w.inputs,
                add: false,
            };
            multiply(&[(across, x)], to);
        }
    }

    /// After [`Self::lower`]: the products whose sum is the gradient of the inputs `inputs`.
    #[must_use]
    pub fn terms(&self, inputs: Range<usize>) -> Vec<(&Left<'_>, Right<'_>)> {
        let base = self.ready.base.as_ref();
        let base = base.map(|base| (&self.dy, base.right(), self.ready.w.rows));
        let thin = self.lowered.as_ref().zip(self.ready.thin.as_ref());
        let thin = thin.map(|([t, _], thin)| (t, thin.a.right(), self.ready.rank()));
        let terms = base.into_iter().chain(thin);
        terms
            .map(|(left, right, rows)| (left, right.part(0..rows, inputs.clone())))
            .collect()
    }
}

impl<'a> Thin<'a> {
    fn new(w: &Weight, adapter: Adapter, reader: Reader<'a>, way: Way) -> Thin<'a> {
        let factor = |index: usize, shape| {
            let values = &reader.trained[index].values;
            Factor::shared(reader.form.precision, way.of(values, shape))
        };
        Thin {
            adapter,
            a: factor(adapter.a, (adapter.rank, w.inputs)),
            b: factor(adapter.b, (w.rows, adapter.rank)),
        }
    }
}

/// Adds to the gradients of a matrix and its bias, where they are trained, what all rows make of them.
pub fn learn(
    linear: Linear<&Weight>,
    precision: Precision,
    x: &[f32],
    dy: &[f32],
    gradients: &mut Gradients,
) {
    let w = linear.weight;
    if let Some(index) = w.trained() {
        let tokens = dy.len() / w.rows;
        let dy = View::new(dy, tokens, w.rows).transposed();
        let x = View::new(x, tokens, w.inputs);
        add_product_in(precision, dy, x, &mut gradients[index]);
    }
    if let Some(index) = linear.bias.and_then(Weight::trained) {
        add_rows(dy, w.rows, &mut gradients[index]);
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
