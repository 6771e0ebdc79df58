//! What is done to rows between products, forwards and backwards, and to weights after them.
//!
//! Compiled for several instruction sets; the same additions in the same order on each, so that bits do not depend on it.
#![allow(unsafe_code)]

use inkstone_model::spec::Activation;
use inkstone_quant::math::{self, LANES};
use multiversion::multiversion;

/// `y = x · r · gain` with `r = 1/√(mean(x²) + eps)` (Zhang and Sennrich 2019, arXiv:1910.07467).
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn norm(x: &[f32], gain: &[f32], eps: f32, y: &mut [f32]) {
    let inverse = inverse(x, eps);
    for ((y, x), gain) in y.iter_mut().zip(x).zip(gain) {
        *y = (x * inverse) * gain;
    }
}

#[inline(always)]
fn inverse(x: &[f32], eps: f32) -> f32 {
    1.0 / math::sqrt(math::sum(x, |x| x * x) / x.len() as f32 + eps)
}

/// Adds to `dx` what `dy` makes of it, and to `d_gain`, where there is one, the gain's share.
///
/// `dx = r·(g·dy) − x·r³/n·Σ(g·dy·x)` with `r` as in [`norm`].
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn norm_back(
    x: &[f32],
    gain: &[f32],
    eps: f32,
    dy: &[f32],
    dx: &mut [f32],
    d_gain: Option<&mut [f32]>,
) {
    let inverse = inverse(x, eps);
    let along = products(gain, dy, x) * (inverse * inverse * inverse) / x.len() as f32;
    for (((dx, x), gain), dy) in dx.iter_mut().zip(x).zip(gain).zip(dy) {
        *dx += inverse * (gain * dy) - x * along;
    }
    if let Some(d_gain) = d_gain {
        for ((d_gain, x), dy) in d_gain.iter_mut().zip(x).zip(dy) {
            *d_gain += dy * (x * inverse);
        }
    }
}

/// `hidden = act(gate) · up`.
pub fn gate(activation: Activation, gate: &[f32], up: &[f32], hidden: &mut [f32]) {
    match activation {
        Activation::Silu => gate_silu(gate, up, hidden),
        Activation::GeluTanh => gate_gelu(gate, up, hidden),
    }
}

/// Replaces `gate` and `up` by what `d_hidden` makes of them, and that by what [`gate`] made.
pub fn gate_back(activation: Activation, gate: &mut [f32], up: &mut [f32], d_hidden: &mut [f32]) {
    match activation {
        Activation::Silu => gate_silu_back(gate, up, d_hidden),
        Activation::GeluTanh => gate_gelu_back(gate, up, d_hidden),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn gate_silu(gate: &[f32], up: &[f32], hidden: &mut [f32]) {
    for ((h, g), u) in hidden.iter_mut().zip(gate).zip(up) {
        *h = math::silu(*g) * u;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn gate_gelu(gate: &[f32], up: &[f32], hidden: &mut [f32]) {
    for ((h, g), u) in hidden.iter_mut().zip(gate).zip(up) {
        *h = math::gelu_tanh(*g) * u;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn gate_silu_back(gate: &mut [f32], up: &mut [f32], d_hidden: &mut [f32]) {
    for ((g, u), h) in gate.iter_mut().zip(up).zip(d_hidden) {
        let (x, y, d) = (*g, *u, *h);
        let s = 1.0 / (1.0 + math::exp(-x));
        *g = (d * y) * (s * (1.0 + x * (1.0 - s)));
        *u = d * (x * s);
        *h = (x * s) * y;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn gate_gelu_back(gate: &mut [f32], up: &mut [f32], d_hidden: &mut [f32]) {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    const CUBIC: f32 = 0.044_715;
    for ((g, u), h) in gate.iter_mut().zip(up).zip(d_hidden) {
        let (x, y, d) = (*g, *u, *h);
        let t = math::tanh(SQRT_2_OVER_PI * (x + CUBIC * (x * x * x)));
        let slope = SQRT_2_OVER_PI * (1.0 + 3.0 * CUBIC * (x * x));
        *g = (d * y) * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope);
        *u = d * (0.5 * x * (1.0 + t));
        *h = (0.5 * x * (1.0 + t)) * y;
    }
}

/// Turns halves of `x` by angles: `y₁ = x₁·cos − x₂·sin`, `y₂ = x₂·cos + x₁·sin` (Su et al. 2021, arXiv:2104.09864).
///
/// With `−sin` it turns back, which is what a gradient wants.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn rotate(x: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = x.split_at_mut(cos.len());
    for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// Softmax of `scale`d and capped scores, in place; `ln Σ exp` of them is given back.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn softmax(scores: &mut [f32], scale: f32, cap: Option<f32>) -> f32 {
    for s in scores.iter_mut() {
        *s *= scale;
    }
    if let Some(cap) = cap {
        for s in scores.iter_mut() {
            *s = cap * math::tanh(*s / cap);
        }
    }
    let most = math::max(scores);
    let sum = exponentials(scores, most);
    let inverse = 1.0 / sum;
    for s in scores.iter_mut() {
        *s *= inverse;
    }
    most + math::ln(sum)
}

/// The probabilities that [`softmax`] made of these scores, from the logarithm it gave; where there is a cap, `slopes`
/// become the derivatives of capping.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn softmax_again(
    scores: &mut [f32],
    scale: f32,
    cap: Option<f32>,
    log: f32,
    slopes: &mut [f32],
) {
    if let Some(cap) = cap {
        for (s, slope) in scores.iter_mut().zip(slopes.iter_mut()) {
            let t = math::tanh(*s * scale / cap);
            *s = math::exp(cap * t - log);
            *slope = 1.0 - t * t;
        }
    } else {
        for s in scores.iter_mut() {
            *s = math::exp(*s * scale - log);
        }
    }
}

/// `dp` becomes the scores' gradient: `p · (dp − along) · scale`, and times the slope where there is a cap.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn softmax_back(p: &[f32], dp: &mut [f32], along: f32, scale: f32, slopes: Option<&[f32]>) {
    for (dp, p) in dp.iter_mut().zip(p) {
        *dp = (p * (*dp - along)) * scale;
    }
    if let Some(slopes) = slopes {
        for (dp, slope) in dp.iter_mut().zip(slopes) {
            *dp *= slope;
        }
    }
}

/// The loss of a row of logits, `−ln softmax(logits)[label]`; they become its gradient, times `weight`.
///
/// Logits are scaled and capped first, and the gradient is one of the unscaled logits.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn cross_entropy(
    logits: &mut [f32],
    label: usize,
    scale: f32,
    cap: Option<f32>,
    weight: f32,
) -> f32 {
    if let Some(cap) = cap {
        for x in logits.iter_mut() {
            *x = cap * math::tanh(*x * scale / cap);
        }
    } else if scale != 1.0 {
        for x in logits.iter_mut() {
            *x *= scale;
        }
    }
    let most = math::max(logits);
    let (at_label, factor) = (logits[label], scale * weight);
    let sum = if let Some(cap) = cap {
        let slope = |x: f32| factor - (x / cap) * (x / cap) * factor;
        let sum = math::sum(logits, |x| math::exp(x - most));
        let log = most + math::ln(sum);
        for x in logits.iter_mut() {
            *x = math::exp(*x - log) * slope(*x);
        }
        logits[label] -= slope(at_label);
        sum
    } else {
        let sum = exponentials(logits, most);
        logits.iter_mut().for_each(|x| *x *= factor / sum);
        logits[label] -= factor;
        sum
    };
    most + math::ln(sum) - at_label
}

/// `to += x · factor`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn add_scaled(to: &mut [f32], x: &[f32], factor: f32) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += x * factor;
    }
}

/// `Σ a·b` of every `width` numbers.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn dots(a: &[f32], b: &[f32], width: usize, to: &mut [f32]) {
    let each = a.chunks_exact(width).zip(b.chunks_exact(width));
    for ((a, b), to) in each.zip(to) {
        *to = sum_of_products(a, b);
    }
}

/// `Σ a·b`.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    sum_of_products(a, b)
}

#[inline(always)]
fn sum_of_products(a: &[f32], b: &[f32]) -> f32 {
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for (a, b) in whole_a.iter().zip(whole_b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
        *lane += a * b;
    }
    math::fold(lanes)
}

/// `Σ (a·b)·c`.
#[inline(always)]
fn products(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let (whole_a, rest_a) = a.as_chunks::<LANES>();
    let (whole_b, rest_b) = b.as_chunks::<LANES>();
    let (whole_c, rest_c) = c.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for ((a, b), c) in whole_a.iter().zip(whole_b).zip(whole_c) {
        for (((lane, a), b), c) in lanes.iter_mut().zip(a).zip(b).zip(c) {
            *lane += (a * b) * c;
        }
    }
    for (((lane, a), b), c) in lanes.iter_mut().zip(rest_a).zip(rest_b).zip(rest_c) {
        *lane += (a * b) * c;
    }
    math::fold(lanes)
}

/// `x` become `exp(x − most)`; gives their sum.
#[inline(always)]
fn exponentials(x: &mut [f32], most: f32) -> f32 {
    let (whole, rest) = x.as_chunks_mut::<LANES>();
    let mut lanes = [0.0; LANES];
    for x in whole {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *x = math::exp(*x - most);
            *lane += *x;
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *x = math::exp(*x - most);
        *lane += *x;
    }
    math::fold(lanes)
}

/// One step of AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101).
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Learning rate of this step.
    pub rate: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of their squares.
    pub beta2: f32,
    /// Added to the root.
    pub eps: f32,
    /// Weight decay, apart from the gradient.
    pub decay: f32,
    /// `1 − beta1ᵗ` of step `t`, from 1.
    pub correction1: f32,
    /// `1 − beta2ᵗ`.
    pub correction2: f32,
    /// Factor on gradients: clipping and averaging.
    pub scale: f32,
}

/// Applies a step to weights, and to the means of their gradients.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
pub fn adamw(
    step: &AdamW,
    weights: &mut [f32],
    gradient: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
) {
    let (rate, root) = (
        step.rate / step.correction1,
        1.0 / math::sqrt(step.correction2),
    );
    let kept = 1.0 - step.rate * step.decay;
    for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(mean).zip(square) {
        let g = g * step.scale;
        *m = *m * step.beta1 + g * (1.0 - step.beta1);
        *v = *v * step.beta2 + (g * g) * (1.0 - step.beta2);
        *w = *w * kept - rate * *m / (v.sqrt() * root + step.eps);
    }
}
