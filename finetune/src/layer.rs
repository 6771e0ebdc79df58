//! One layer: attention, then a gated feed-forward, each with a norm before and perhaps one after.
//!
//! `mid = x + post(o(attend(qkv(norm(x)))))`, `y = mid + post(down(act(gate n) · up n))` with `n = norm(mid)`. The
//! backward pass computes again what is cheap: norms, rotations' angles and the gated vector.

use std::borrow::Cow;

use inkstone_cpu::train::rows;
use inkstone_model::spec::Activation;
use inkstone_model::weights::Attention;
use inkstone_model::{Layer, LayerSpec};
use rayon::prelude::*;

use crate::attention::{self, Inputs, Outputs, Queries};
use crate::compute::{ROWS, gather, scatter};
use crate::linear::{self, Back, Gradients};
use crate::weight::{Reader, Weight};

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
    x: Vec<f32>,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    /// Queries and keys before their norms, where they have any.
    raw: [Vec<f32>; 2],
    logs: Vec<f32>,
    attended: Vec<f32>,
    /// Branches before the norms after them, where there are any.
    branches: [Vec<f32>; 2],
    mid: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// What adapters made of their inputs: q, k, v, o, gate, up, down.
    thin: [Vec<f32>; 7],
}

impl Kept {
    /// For a layer whose input is `x`; what else is there will be replaced.
    #[must_use]
    pub fn with(self, x: Vec<f32>) -> Kept {
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

/// Runs the layer over `kept.x`, `tokens × width`; gives a row for each query.
pub fn forward(
    layer: &Layer<Weight>,
    spec: &LayerSpec,
    pass: &Pass<'_>,
    kept: &mut Kept,
) -> Vec<f32> {
    attend(layer, spec, pass, kept);
    let normed = norm_rows(&kept.mid, &layer.ffn_norm, pass);
    let [.., thin_gate, thin_up, thin_down] = &mut kept.thin;
    let (gate, up, down) = (&layer.ffn.gate, &layer.ffn.up, &layer.ffn.down);
    linear::forward(
        gate.as_ref(),
        pass.reader,
        &normed,
        &mut kept.gate,
        thin_gate,
    );
    linear::forward(up.as_ref(), pass.reader, &normed, &mut kept.up, thin_up);
    let hidden = gated(pass, &kept.gate, &kept.up, gate.weight.rows);
    let mut branch = Vec::new();
    linear::forward(down.as_ref(), pass.reader, &hidden, &mut branch, thin_down);
    let mut y = kept.mid.clone();
    kept.branches[1] = join(&mut y, branch, layer.ffn_post_norm.as_ref(), pass);
    y
}

/// Attention, up to the residual between the two branches.
fn attend(layer: &Layer<Weight>, spec: &LayerSpec, pass: &Pass<'_>, kept: &mut Kept) {
    let (a, reader, width) = (&layer.attention, pass.reader, layer.mixer_norm.inputs);
    let normed = norm_rows(&kept.x, &layer.mixer_norm, pass);
    let [thin_q, thin_k, thin_v, thin_o, ..] = &mut kept.thin;
    linear::forward(a.k.as_ref(), reader, &normed, &mut kept.k, thin_k);
    linear::forward(a.v.as_ref(), reader, &normed, &mut kept.v, thin_v);
    let asking = asking(&normed, width, pass);
    linear::forward(a.q.as_ref(), reader, &asking, &mut kept.q, thin_q);
    let (asks, all) = (Turn::queries(pass, spec, a), Turn::keys(pass, spec, a));
    kept.raw = [asks.forward(&mut kept.q), all.forward(&mut kept.k)];
    kept.attended.resize(kept.q.len(), 0.0);
    let logs = pass.queries.len() * spec.heads as usize;
    kept.logs.resize(logs, 0.0);
    let inputs = Inputs {
        spec,
        precision: pass.reader.precision,
        queries: pass.queries,
        q: &kept.q,
        k: &kept.k,
        v: &kept.v,
    };
    attention::forward(&inputs, &mut kept.attended, &mut kept.logs);
    let mut branch = Vec::new();
    linear::forward(a.o.as_ref(), reader, &kept.attended, &mut branch, thin_o);
    kept.mid = asking_rows(&kept.x, width, pass);
    kept.branches[0] = join(&mut kept.mid, branch, layer.mixer_post_norm.as_ref(), pass);
}

/// From the gradient of the layer's output, a row for each query, to that of its input, a row for each token.
///
/// Without `onwards` only gradients of what is learnt are wanted, and the result is empty.
pub fn backward(
    layer: &Layer<Weight>,
    spec: &LayerSpec,
    pass: &Pass<'_>,
    kept: &mut Kept,
    mut dy: Vec<f32>,
    gradients: &mut Gradients,
    onwards: bool,
) -> Vec<f32> {
    feed_forward_back(layer, pass, kept, &mut dy, gradients);
    attend_back(layer, spec, pass, kept, dy, gradients, onwards)
}

/// `dy` becomes the gradient of the residual between the branches.
fn feed_forward_back(
    layer: &Layer<Weight>,
    pass: &Pass<'_>,
    kept: &mut Kept,
    dy: &mut [f32],
    gradients: &mut Gradients,
) {
    let (gate, up, down) = (&layer.ffn.gate, &layer.ffn.up, &layer.ffn.down);
    let post = layer.ffn_post_norm.as_ref();
    let d_branch = join_back(dy, &kept.branches[1], post, pass, gradients);
    let width = gate.weight.rows;
    let learns = down.weight.learns();
    let hidden = learns.then(|| gated(pass, &kept.gate, &kept.up, width));
    let mut d_hidden = vec![0.0; kept.gate.len()];
    let back = Back {
        x: hidden.as_deref().unwrap_or_default(),
        u: &kept.thin[6],
        dy: &d_branch,
    };
    linear::backward(
        down.as_ref(),
        pass.reader,
        back,
        Some(&mut d_hidden),
        gradients,
    );
    let (d_gate, d_up) = (&mut kept.gate, &mut kept.up);
    d_gate
        .par_chunks_mut(width)
        .zip(d_up.par_chunks_mut(width))
        .zip(d_hidden.par_chunks(width))
        .for_each(|((gate, up), d)| rows::gate_back(pass.activation, gate, up, d));
    let learns = gate.weight.learns() || up.weight.learns();
    let normed = learns.then(|| norm_rows(&kept.mid, &layer.ffn_norm, pass));
    let mut d_normed = vec![0.0; kept.mid.len()];
    for (w, u, dy) in [(gate, 4, &kept.gate), (up, 5, &kept.up)] {
        let back = Back {
            x: normed.as_deref().unwrap_or_default(),
            u: &kept.thin[u],
            dy,
        };
        linear::backward(
            w.as_ref(),
            pass.reader,
            back,
            Some(&mut d_normed),
            gradients,
        );
    }
    norm_rows_back(&kept.mid, &layer.ffn_norm, &d_normed, pass, dy, gradients);
}

fn attend_back(
    layer: &Layer<Weight>,
    spec: &LayerSpec,
    pass: &Pass<'_>,
    kept: &mut Kept,
    d_mid: Vec<f32>,
    gradients: &mut Gradients,
    onwards: bool,
) -> Vec<f32> {
    let (a, width, reader) = (&layer.attention, layer.mixer_norm.inputs, pass.reader);
    let post = layer.mixer_post_norm.as_ref();
    let d_branch = join_back(&d_mid, &kept.branches[0], post, pass, gradients);
    let mut d_attended = vec![0.0; kept.attended.len()];
    let back = Back {
        x: &kept.attended,
        u: &kept.thin[3],
        dy: &d_branch,
    };
    linear::backward(a.o.as_ref(), reader, back, Some(&mut d_attended), gradients);
    let [dq, dk, dv] = scores_back(a, spec, pass, kept, &d_attended, gradients);

    let learns = [&a.q, &a.k, &a.v].iter().any(|w| w.weight.learns());
    let normed = learns.then(|| norm_rows(&kept.x, &layer.mixer_norm, pass));
    let normed = normed.unwrap_or_default();
    let asking = asking(&normed, width, pass);
    let wanted = onwards || layer.mixer_norm.learns();
    let size = |rows: usize| vec![0.0; if wanted { rows * width } else { 0 }];
    let mut d_asking = size(pass.queries.len());
    let back = |x, u: usize, dy| Back {
        x,
        u: &kept.thin[u],
        dy,
    };
    linear::backward(
        a.q.as_ref(),
        reader,
        back(&asking, 0, &dq),
        wanted.then_some(&mut d_asking),
        gradients,
    );
    let mut d_normed = size(pass.positions.len());
    if pass.picks {
        scatter(&d_asking, width, &pass.queries.tokens, &mut d_normed);
    } else {
        d_normed = d_asking;
    }
    linear::backward(
        a.k.as_ref(),
        reader,
        back(&normed, 1, &dk),
        wanted.then_some(&mut d_normed),
        gradients,
    );
    linear::backward(
        a.v.as_ref(),
        reader,
        back(&normed, 2, &dv),
        wanted.then_some(&mut d_normed),
        gradients,
    );
    if !wanted {
        return Vec::new();
    }
    let mut d_x = if pass.picks {
        let mut d_x = vec![0.0; kept.x.len()];
        scatter(&d_mid, width, &pass.queries.tokens, &mut d_x);
        d_x
    } else {
        d_mid
    };
    norm_rows_back(
        &kept.x,
        &layer.mixer_norm,
        &d_normed,
        pass,
        &mut d_x,
        gradients,
    );
    d_x
}

/// Gradients of what the three matrices gave.
fn scores_back(
    a: &Attention<Weight>,
    spec: &LayerSpec,
    pass: &Pass<'_>,
    kept: &Kept,
    d_attended: &[f32],
    gradients: &mut Gradients,
) -> [Vec<f32>; 3] {
    let [mut dq, mut dk, mut dv] = [&kept.q, &kept.k, &kept.v].map(|x| vec![0.0; x.len()]);
    let inputs = Inputs {
        spec,
        precision: pass.reader.precision,
        queries: pass.queries,
        q: &kept.q,
        k: &kept.k,
        v: &kept.v,
    };
    let outputs = Outputs {
        y: &kept.attended,
        logs: &kept.logs,
        dy: d_attended,
    };
    attention::backward(&inputs, outputs, &mut dq, &mut dk, &mut dv);
    Turn::queries(pass, spec, a).backward(&kept.raw[0], &mut dq, gradients);
    Turn::keys(pass, spec, a).backward(&kept.raw[1], &mut dk, gradients);
    [dq, dk, dv]
}

/// Rows of those who ask.
fn asking_rows(x: &[f32], width: usize, pass: &Pass<'_>) -> Vec<f32> {
    let mut picked = Vec::new();
    if pass.picks {
        gather(x, width, &pass.queries.tokens, &mut picked);
    } else {
        picked.extend_from_slice(x);
    }
    picked
}

/// As [`asking_rows`], without a copy where all ask; nothing of nothing.
fn asking<'a>(x: &'a [f32], width: usize, pass: &Pass<'_>) -> Cow<'a, [f32]> {
    if pass.picks && !x.is_empty() {
        Cow::Owned(asking_rows(x, width, pass))
    } else {
        Cow::Borrowed(x)
    }
}

fn gated(pass: &Pass<'_>, gate: &[f32], up: &[f32], width: usize) -> Vec<f32> {
    let mut hidden = vec![0.0; gate.len()];
    hidden
        .par_chunks_mut(width)
        .zip(gate.par_chunks(width).zip(up.par_chunks(width)))
        .for_each(|(hidden, (gate, up))| rows::gate(pass.activation, gate, up, hidden));
    hidden
}

/// The norm of each row.
pub fn norm_rows(x: &[f32], gain: &Weight, pass: &Pass<'_>) -> Vec<f32> {
    let (width, factors) = (gain.inputs, gain.vector(pass.reader.trained));
    let mut y = vec![0.0; x.len()];
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
    let (width, factors) = (gain.inputs, gain.vector(pass.reader.trained));
    let trained = gain.trained();
    let chunk = ROWS * width;
    let mut partial = vec![0.0; trained.map_or(0, |_| x.len().div_ceil(chunk) * width)];
    let work = |x: &[f32], dy: &[f32], dx: &mut [f32], mut d_gain: Option<&mut [f32]>| {
        let mut scratch = vec![0.0; width];
        for ((x, dy), dx) in x
            .chunks_exact(width)
            .zip(dy.chunks_exact(width))
            .zip(dx.chunks_exact_mut(width))
        {
            let inverse = rows::norm(x, factors, pass.eps, &mut scratch);
            rows::norm_back(x, factors, inverse, dy, dx, d_gain.as_deref_mut());
        }
    };
    let chunks = dx
        .par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk).zip(dy.par_chunks(chunk)));
    match trained {
        Some(index) => {
            chunks
                .zip(partial.par_chunks_mut(width))
                .for_each(|((dx, (x, dy)), d_gain)| work(x, dy, dx, Some(d_gain)));
            for partial in partial.chunks_exact(width) {
                rows::add_scaled(&mut gradients[index], partial, 1.0);
            }
        }
        None => chunks.for_each(|(dx, (x, dy))| work(x, dy, dx, None)),
    }
}

/// Adds a branch to the residual, through a norm of its own where there is one; then what went into it is kept.
fn join(
    residual: &mut [f32],
    branch: Vec<f32>,
    post: Option<&Weight>,
    pass: &Pass<'_>,
) -> Vec<f32> {
    let normed = post.map(|gain| norm_rows(&branch, gain, pass));
    let added = normed.as_deref().unwrap_or(&branch).par_chunks(ROWS * ROWS);
    let chunks = residual.par_chunks_mut(ROWS * ROWS).zip(added);
    chunks.for_each(|(residual, added)| rows::add_scaled(residual, added, 1.0));
    if post.is_some() { branch } else { Vec::new() }
}

/// The gradient of a branch from that of the residual it was added to.
fn join_back<'a>(
    d_residual: &'a [f32],
    branch: &[f32],
    post: Option<&Weight>,
    pass: &Pass<'_>,
    gradients: &mut Gradients,
) -> Cow<'a, [f32]> {
    let Some(gain) = post else {
        return Cow::Borrowed(d_residual);
    };
    let mut d_branch = vec![0.0; branch.len()];
    norm_rows_back(branch, gain, d_residual, pass, &mut d_branch, gradients);
    Cow::Owned(d_branch)
}

/// What is done to the heads of queries or keys: perhaps a norm, then a rotation.
struct Turn<'a> {
    pass: &'a Pass<'a>,
    gain: Option<&'a Weight>,
    /// The token of each row.
    tokens: Option<&'a [usize]>,
    width: usize,
    heads: usize,
}

impl<'a> Turn<'a> {
    fn queries(pass: &'a Pass<'a>, spec: &LayerSpec, a: &'a Attention<Weight>) -> Turn<'a> {
        Turn {
            pass,
            gain: a.q_norm.as_ref(),
            tokens: pass.picks.then_some(&pass.queries.tokens),
            width: spec.head_width as usize,
            heads: spec.heads as usize,
        }
    }

    fn keys(pass: &'a Pass<'a>, spec: &LayerSpec, a: &'a Attention<Weight>) -> Turn<'a> {
        Turn {
            pass,
            gain: a.k_norm.as_ref(),
            tokens: None,
            width: spec.head_width as usize,
            heads: spec.kv_heads as usize,
        }
    }

    fn position(&self, row: usize) -> usize {
        self.pass.positions[self.tokens.map_or(row, |tokens| tokens[row])]
    }

    /// Gives the heads before their norm, where they have one.
    fn forward(&self, x: &mut [f32]) -> Vec<f32> {
        let raw = self.gain.map(|_| x.to_vec()).unwrap_or_default();
        if let Some(gain) = self.gain {
            x.copy_from_slice(&norm_rows(&raw, gain, self.pass));
        }
        self.each(x, |head, position| self.pass.angles.turn(head, position));
        raw
    }

    /// `dx`, the gradient of what [`Self::forward`] made, becomes that of what it was given.
    fn backward(&self, raw: &[f32], dx: &mut Vec<f32>, gradients: &mut Gradients) {
        self.each(dx, |head, position| {
            self.pass.angles.turn_back(head, position)
        });
        if let Some(gain) = self.gain {
            let mut d_raw = vec![0.0; dx.len()];
            norm_rows_back(raw, gain, dx, self.pass, &mut d_raw, gradients);
            *dx = d_raw;
        }
    }

    fn each(&self, x: &mut [f32], work: impl Fn(&mut [f32], usize) + Sync) {
        x.par_chunks_mut(self.heads * self.width)
            .enumerate()
            .for_each(|(row, x)| {
                let position = self.position(row);
                x.chunks_exact_mut(self.width)
                    .for_each(|head| work(head, position));
            });
    }
}
