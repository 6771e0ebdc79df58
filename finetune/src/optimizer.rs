//! AdamW (Loshchilov and Hutter 2017, arXiv:1711.05101), clipping, and how the learning rate moves.

use inkstone_cpu::train::rows::{self, AdamW};
use rayon::prelude::*;

use crate::weight::Tensor;

/// Numbers that a thread takes at once.
const CHUNK: usize = 1 << 14;

/// What moves weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Highest learning rate.
    pub rate: f32,
    /// Decays of the mean of gradients and of the mean of their squares.
    pub betas: [f32; 2],
    /// Added to the root.
    pub eps: f32,
    /// Weight decay, of matrices alone.
    pub decay: f32,
    /// Largest norm of all gradients together.
    pub clip: f32,
    /// Steps in which the rate rises from zero.
    pub warmup: usize,
    /// Steps of the whole run: the rate falls along half a cosine to `least` of its highest.
    pub steps: usize,
    /// Share of the highest rate that is left at the end.
    pub least: f32,
}

/// The means of gradients and of their squares, and how many steps were made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Steps made.
    pub steps: usize,
    /// Means of gradients, by tensor.
    pub mean: Vec<Vec<f32>>,
    /// Means of squares.
    pub square: Vec<Vec<f32>>,
}

impl Settings {
    /// The learning rate of step `step`, from 0.
    #[must_use]
    pub fn rate(&self, step: usize) -> f32 {
        if step < self.warmup {
            return self.rate * (step + 1) as f32 / self.warmup as f32;
        }
        let left = self.steps.saturating_sub(self.warmup).max(1);
        let done = ((step - self.warmup) as f64 / left as f64).min(1.0);
        let wave = 0.5 * (1.0 + (core::f64::consts::PI * done).cos());
        self.rate * (self.least + (1.0 - self.least) * wave as f32)
    }
}

impl State {
    /// Zeros for `tensors`.
    #[must_use]
    pub fn new(tensors: &[Tensor]) -> State {
        let zeros = || tensors.iter().map(|t| vec![0.0; t.values.len()]).collect();
        State {
            steps: 0,
            mean: zeros(),
            square: zeros(),
        }
    }

    /// Moves `tensors` along `gradients`; gives the norm of all gradients before clipping.
    pub fn step(
        &mut self,
        settings: &Settings,
        tensors: &mut [Tensor],
        gradients: &[Vec<f32>],
    ) -> f32 {
        let norm = norm(gradients);
        let scale = if norm > settings.clip {
            settings.clip / norm
        } else {
            1.0
        };
        let rate = settings.rate(self.steps);
        self.steps += 1;
        let correction = |beta: f32| 1.0 - f64::from(beta).powi(self.steps as i32) as f32;
        let [beta1, beta2] = settings.betas;
        let moments = self.mean.par_iter_mut().zip(&mut self.square);
        let each = tensors.par_iter_mut().zip(gradients).zip(moments);
        each.for_each(|((tensor, gradient), (mean, square))| {
            let step = AdamW {
                rate,
                beta1,
                beta2,
                eps: settings.eps,
                decay: if tensor.is_matrix() {
                    settings.decay
                } else {
                    0.0
                },
                correction1: correction(beta1),
                correction2: correction(beta2),
                scale,
            };
            tensor
                .values
                .par_chunks_mut(CHUNK)
                .zip(gradient.par_chunks(CHUNK))
                .zip(mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK)))
                .for_each(|((w, g), (m, v))| rows::adamw(&step, w, g, m, v));
        });
        norm
    }
}

/// The root of the sum of all squares, chunk by chunk in order.
#[must_use]
pub fn norm(gradients: &[Vec<f32>]) -> f32 {
    let squares = gradients.par_iter().map(|gradient| {
        let parts = gradient.par_chunks(CHUNK).map(|g| rows::dot(g, g));
        let parts: Vec<f32> = parts.collect();
        parts.iter().map(|part| f64::from(*part)).sum()
    });
    let squares: Vec<f64> = squares.collect();
    squares.iter().sum::<f64>().sqrt() as f32
}
