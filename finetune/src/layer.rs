//! One layer: attention, then a gated feed-forward, each with a norm before and perhaps one after.
//!
//! `mid = x + post(o(attend(qkv(norm(x)))))`, `y = mid + post(down(act(gate n) · up n))` with `n = norm(mid)`. A tile of
//! tokens runs through all that is done before attention (`ask`), and through all that is done after it
//! (`answer`), so that its rows stay near the processor. The backward pass computes again what is cheap: norms and
//! the gated vector.

mod answer;
mod ask;

use core::ops::Range;

use inkstone_cpu::train::{Lines, rows};
use inkstone_model::spec::Activation;
use inkstone_model::{Layer, LayerSpec};
use rayon::prelude::*;

use self::answer::Answer;
use self::ask::Ask;
use crate::attention::{self, Inputs, Outputs, Queries};
use crate::compute::{ROWS, tile};
use crate::linear::{Gradients, Ready};
use crate::saved::Saved;
use crate::weight::{Reader, Way, Weight};

/// What all layers of a pass share.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// Weights are read with it.
    pub reader: Reader<'a>,
    /// Epsilon of norms.
    pub eps: f32,
    /// The gate's non-linearity.
    pub activation: Activation,
    /// Who asks in this layer.
    pub queries: &'a Queries,
    /// Whether some tokens do not ask, so that their rows end here.
    pub picks: bool,
    /// Whether the gradient of the layer's input is wanted.
    pub onwards: bool,
    /// The position of each token in its sequence.
    pub positions: &'a [usize],
    /// Sines and cosines of each position, `positions × width / 2` each.
    pub angles: &'a Angles,
}

/// Sines and cosines by position.
#[derive(Debug, Clone, Default)]
pub struct Angles {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
    minus_sin: Vec<f32>,
}

/// What the forward pass leaves for the backward pass.
#[derive(Debug, Default)]
pub struct Kept {
    /// The layer's input.
    x: Lines<f32>,
    q: Lines<f32>,
    k: Lines<f32>,
    v: Lines<f32>,
    /// Queries and keys before their norms, where they have any.
    raw: [Lines<f32>; 2],
    logs: Lines<f32>,
    attended: Lines<f32>,
    /// Branches before the norms after them, where there are any.
    branches: [Lines<f32>; 2],
    mid: Lines<f32>,
    gate: Saved,
    up: Saved,
    /// What adapters made of their inputs: q, k, v, o, gate, up, down.
    thin: [Lines<f32>; 7],
}

/// Memory that the backward pass of a layer leaves to that of the next.
#[derive(Debug, Default)]
pub struct Room {
    attention: attention::Room,
    d_attended: Lines<f32>,
}

impl Kept {
    /// For a layer whose input is `x`; what else is there will be replaced.
    #[must_use]
    pub fn with(self, x: Lines<f32>) -> Kept {
        Kept { x, ..self }
    }

    /// Leaves the input alone.
    pub fn forget(&mut self) {
        *self = Kept::default().with(core::mem::take(&mut self.x));
    }
}

impl Angles {
    /// For `positions` positions and the inverse frequencies of a rope table.
    #[must_use]
    pub fn new(positions: usize, table: &[f32]) -> Angles {
        let angles = (0..positions).flat_map(|p| table.iter().map(move |f| p as f32 * f));
        let (sin, cos): (Vec<f32>, Vec<f32>) = angles.map(inkstone_model::math::sin_cos).unzip();
        let minus_sin = sin.iter().map(|sin| -sin).collect();
        Angles {
            half: table.len(),
            cos,
            sin,
            minus_sin,
        }
    }

    fn turn(&self, x: &mut [f32], position: usize) {
        let at = position * self.half..(position + 1) * self.half;
        rows::rotate(x, &self.cos[at.clone()], &self.sin[at]);
    }

    fn turn_back(&self, x: &mut [f32], position: usize) {
        let at = position * self.half..(position + 1) * self.half;
        rows::rotate(x, &self.cos[at.clone()], &self.minus_sin[at]);
    }
}

/// A tile of tokens, and which rows of queries stand among them.
#[derive(Debug, Clone)]
struct At {
    tokens: Range<usize>,
    queries: Range<usize>,
}

impl Pass<'_> {
    /// The token that a row of queries stands at.
    fn token(&self, row: usize) -> usize {
        self.queries.tokens[row]
    }

    /// Tiles of tokens.
    fn tiles(&self) -> impl Iterator<Item = At> {
        let tokens = self.positions.len();
        let first_from = |token: usize| self.queries.tokens.partition_point(|asks| *asks < token);
        tiles(tokens).map(move |tokens| At {
            queries: first_from(tokens.start)..first_from(tokens.end),
            tokens,
        })
    }

    /// Writes the norm of row `row_of(row)` of `x`.
    fn norm<'a>(
        &'a self,
        x: &'a [f32],
        gain: &'a Weight,
        row_of: impl Fn(usize) -> usize + 'a,
    ) -> impl FnMut(usize, &mut [f32]) + 'a {
        let factors = gain.vector(self.reader.trained);
        move |row, to| {
            let x = &x[row_of(row) * factors.len()..][..factors.len()];
            rows::norm(x, factors, self.eps, to);
        }
    }

    /// Adds to `dx` what `dy` makes of it through the norm of the rows of `x`, and to the gain's gradient, unless that
    /// is empty.
    fn norm_back(&self, x: &[f32], gain: &Weight, dy: &[f32], dx: &mut [f32], d_gain: &mut [f32]) {
        let factors = gain.vector(self.reader.trained);
        let width = factors.len();
        let each = x.chunks_exact(width).zip(dy.chunks_exact(width));
        for ((x, dy), dx) in each.zip(dx.chunks_exact_mut(width)) {
            let d_gain = (!d_gain.is_empty()).then_some(&mut *d_gain);
            rows::norm_back(x, factors, self.eps, dy, dx, d_gain);
        }
    }
}

/// Tiles of `rows` rows.
fn tiles(rows: usize) -> impl Iterator<Item = Range<usize>> {
    strips(rows, tile(rows))
}

/// `all` in strips of `size`, the last one perhaps shorter.
fn strips(all: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    let first = (0..all).step_by(size);
    first.map(move |first| first..all.min(first + size))
}

/// Rows `rows` of `all` in `x`, which may be empty.
fn part<'a>(x: &'a [f32], rows: &Range<usize>, all: usize) -> &'a [f32] {
    let width = x.len() / all;
    &x[rows.start * width..rows.end * width]
}

/// What a tile found on the way back: sums over its rows.
#[derive(Debug)]
struct Found<const M: usize, const N: usize> {
    /// Gradients of thin matrices, of each matrix.
    thin: [Lines<f32>; M],
    /// Gradients of norms' gains, where they are trained.
    gains: [Vec<f32>; N],
}

impl<const M: usize, const N: usize> Found<M, N> {
    fn new(gains: [Option<&Weight>; N]) -> Self {
        Found {
            thin: core::array::from_fn(|_| Lines::default()),
            gains: gains.map(|gain| gain.map_or_else(Vec::new, sums_of)),
        }
    }

    /// Adds what tiles found, one after the other.
    fn join(
        tiles: &[Self],
        matrices: [&Ready<'_>; M],
        gains: [Option<&Weight>; N],
        gradients: &mut Gradients,
    ) {
        for tile in tiles {
            for (matrix, sums) in matrices.iter().zip(&tile.thin) {
                matrix.join(sums, gradients);
            }
            for (gain, sums) in gains.iter().zip(&tile.gains) {
                if let Some(index) = gain.and_then(Weight::trained) {
                    rows::add_scaled(&mut gradients[index], sums, 1.0);
                }
            }
        }
    }
}

/// Runs the layer over `kept.x`, `tokens × width`; gives a row for each query.
pub fn forward(
    layer: &Layer<Weight>,
    spec: &LayerSpec,
    pass: &Pass<'_>,
    kept: &mut Kept,
) -> Lines<f32> {
    Ask::new(layer, spec, pass, Way::Forward, true).forward(kept);
    let inputs = Inputs {
        spec,
        precision: pass.reader.form.precision,
        queries: pass.queries,
        q: &kept.q,
        k: &kept.k,
        v: &kept.v,
    };
    attention::forward(&inputs, &mut kept.attended, &mut kept.logs);
    Answer::new(layer, pass, Way::Forward).forward(kept)
}

/// From the gradient of the layer's output, a row for each query, to that of its input, a row for each token.
///
/// Where only gradients of what is learnt are wanted ([`Pass::onwards`]), the result is empty.
pub fn backward(
    layer: &Layer<Weight>,
    spec: &LayerSpec,
    pass: &Pass<'_>,
    kept: &mut Kept,
    mut dy: Lines<f32>,
    gradients: &mut Gradients,
    room: &mut Room,
) -> Lines<f32> {
    let answer = Answer::new(layer, pass, Way::Backward);
    answer.backward(kept, &mut dy, &mut room.d_attended, gradients);
    let inputs = Inputs {
        spec,
        precision: pass.reader.form.precision,
        queries: pass.queries,
        q: &kept.q,
        k: &kept.k,
        v: &kept.v,
    };
    let outputs = Outputs {
        y: &kept.attended,
        logs: &kept.logs,
        dy: &room.d_attended,
    };
    attention::backward(&inputs, outputs, &mut room.attention);
    let wanted = pass.onwards || layer.mixer_norm.learns();
    let ask = Ask::new(layer, spec, pass, Way::Backward, wanted);
    ask.backward(kept, dy, &mut room.attention, gradients)
}

/// The norm of each row.
pub fn norm_rows(x: &[f32], gain: &Weight, pass: &Pass<'_>) -> Lines<f32> {
    let (width, factors) = (gain.inputs, gain.vector(pass.reader.trained));
    let mut y = Lines::zeros(x.len());
    y.par_chunks_mut(width)
        .zip(x.par_chunks(width))
        .for_each(|(y, x)| {
            rows::norm(x, factors, pass.eps, y);
        });
    y
}

/// Adds to `dx` what `dy` makes of it, and to the gain's gradient where it is trained.
pub fn norm_rows_back(
    x: &[f32],
    gain: &Weight,
    dy: &[f32],
    pass: &Pass<'_>,
    dx: &mut [f32],
    gradients: &mut Gradients,
) {
    let chunk = ROWS * gain.inputs;
    let chunks = dx.par_chunks_mut(chunk);
    let chunks = chunks.zip(x.par_chunks(chunk).zip(dy.par_chunks(chunk)));
    let found = chunks.map(|(dx, (x, dy))| {
        let mut d_gain = sums_of(gain);
        pass.norm_back(x, gain, dy, dx, &mut d_gain);
        d_gain
    });
    let found: Vec<_> = found.collect();
    if let Some(index) = gain.trained() {
        for sums in &found {
            rows::add_scaled(&mut gradients[index], sums, 1.0);
        }
    }
}

/// Zeros for the gradient of a gain; none where it is frozen.
fn sums_of(gain: &Weight) -> Vec<f32> {
    vec![0.0; gain.trained().map_or(0, |_| gain.inputs)]
}
