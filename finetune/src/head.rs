//! The last norm, the output matrix and the loss, over the rows whose prediction counts and nothing else.

use inkstone_cpu::train::{Lines, View, rows};
use rayon::prelude::*;

use crate::compute::{add_product_in, product, stride};
use crate::layer::{Pass, norm_rows, norm_rows_back};
use crate::linear::Gradients;
use crate::weight::{Way, Weight};

/// Bytes of logits that are held at once.
pub const LOGITS: usize = 48 << 20;

/// The end of a model.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Gain of the last norm.
    pub norm: &'a Weight,
    /// `vocabulary × width`.
    pub matrix: &'a Weight,
    /// Factor on logits, before the cap.
    pub scale: f32,
    /// `cap · tanh(logit / cap)`.
    pub cap: Option<f32>,
}

/// What the loss was, and the gradient of its input.
#[derive(Debug)]
pub struct Loss {
    /// `−ln p(label)` of each row.
    pub losses: Vec<f32>,
    /// A row for each row; empty where no gradient was asked for.
    pub dx: Lines<f32>,
}

impl Head<'_> {
    /// The loss of the rows `x` against `labels`, and, with `weight`, gradients of its sum times `weight`. `logits` is
    /// memory for them.
    pub fn loss(
        &self,
        x: &[f32],
        labels: &[u32],
        pass: &Pass<'_>,
        weight: Option<f32>,
        gradients: &mut Gradients,
        logits: &mut Lines<f32>,
    ) -> Loss {
        let width = self.norm.inputs;
        let normed = norm_rows(x, self.norm, pass);
        let mut d_normed = Lines::zeros(weight.map_or(0, |_| normed.len()));
        let mut losses = vec![0.0; labels.len()];
        let chunk = (LOGITS / 4 / self.matrix.rows).clamp(16, 1024);
        for first in (0..labels.len()).step_by(chunk) {
            let end = (first + chunk).min(labels.len());
            let normed = &normed[first * width..end * width];
            self.logits(normed, pass, logits);
            let labels = &labels[first..end];
            logits
                .par_chunks_mut(stride(self.matrix.rows))
                .zip(labels)
                .zip(&mut losses[first..end])
                .for_each(|((logits, label), loss)| {
                    let label = *label as usize;
                    let weight = weight.unwrap_or(0.0);
                    let logits = &mut logits[..self.matrix.rows];
                    *loss = rows::cross_entropy(logits, label, self.scale, self.cap, weight);
                });
            if weight.is_some() {
                let d_normed = &mut d_normed[first * width..end * width];
                self.logits_back(logits, normed, pass, d_normed, gradients);
            }
        }
        let mut dx = Lines::zeros(d_normed.len());
        if weight.is_some() {
            norm_rows_back(x, self.norm, &d_normed, pass, &mut dx, gradients);
        }
        Loss { losses, dx }
    }

    /// Logits of normalised rows, neither scaled nor capped.
    fn logits(&self, normed: &[f32], pass: &Pass<'_>, logits: &mut Lines<f32>) {
        let width = self.matrix.inputs;
        let tokens = normed.len() / width;
        let left = View::new(normed, tokens, width);
        logits.resize(tokens * stride(self.matrix.rows));
        for strip in self.matrix.strips() {
            let factor = self.matrix.factor(pass.reader, &strip, Way::Forward);
            product(
                left,
                factor.right(),
                logits,
                stride(self.matrix.rows),
                strip.start,
                false,
            );
        }
    }

    fn logits_back(
        &self,
        d_logits: &[f32],
        normed: &[f32],
        pass: &Pass<'_>,
        d_normed: &mut [f32],
        gradients: &mut Gradients,
    ) {
        let (width, vocabulary) = (self.matrix.inputs, self.matrix.rows);
        let tokens = normed.len() / width;
        for strip in self.matrix.strips() {
            let left = View::strided(
                &d_logits[strip.start..],
                tokens,
                strip.len(),
                stride(self.matrix.rows),
            );
            let factor = self.matrix.factor(pass.reader, &strip, Way::Backward);
            product(left, factor.right(), d_normed, width, 0, true);
        }
        if let Some(index) = self.matrix.trained() {
            let left =
                View::strided(d_logits, tokens, vocabulary, stride(self.matrix.rows)).transposed();
            let right = View::new(normed, tokens, width);
            add_product_in(
                pass.reader.form.precision,
                left,
                right,
                &mut gradients[index],
            );
        }
    }
}
