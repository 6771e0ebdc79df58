//! What becomes of a block's products: bias, gate, residual, and the rounded form for the matrix that comes next.
//!
//! Pass after pass over all rows of activations, so that what one row waits for does not hold the others up. Closures
//! would not be compiled for the instruction set that calls them.
#![allow(unsafe_code)]

use inkstone_model::op::{Epilogue, Part};
use inkstone_model::{Activation, Slot};
use inkstone_quant::math;

use super::linear::ROWS;
use super::round::Codes;
use super::{Run, norm};
use crate::simd::{Simd, Task};

/// Products of some rows of activations with one block of outputs.
type Products = [[f32; ROWS]];

/// A block's products and where they belong.
pub(super) struct Finish<'a> {
    pub(super) block: Block<'a>,
    pub(super) epilogue: Epilogue,
    pub(super) part: &'a Part,
    pub(super) y: &'a mut Products,
    /// The second part of a gate, and its products.
    pub(super) up: Option<(&'a Part, &'a mut Products)>,
}

/// Rows `start` on of activations, output rows `first` on.
#[derive(Clone, Copy)]
pub(super) struct Block<'a> {
    pub(super) cx: &'a Run<'a>,
    pub(super) first: usize,
    pub(super) start: usize,
}

impl Task for Finish<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Finish { block, part, y, .. } = self;
        let n = (part.weight.rows - block.first).min(ROWS);
        block.beside(part, n, y);
        match self.epilogue {
            Epilogue::Store => (),
            Epilogue::Add => block.add(part.to, n, y),
            Epilogue::Gate(activation) => {
                let Some((part, up)) = self.up else { return };
                block.beside(part, n, up);
                gate(activation, y.as_flattened_mut(), up.as_flattened());
            }
            Epilogue::Logits { scale, cap } => logits(scale, cap, y.as_flattened_mut()),
        }
        block.store(part.to, n, y);
        if n < ROWS {
            // What is beyond the last row is rounded as zeros.
            y.iter_mut().for_each(|y| y[n..].fill(0.0));
        }
        block.round(simd, part.to, y);
    }
}

impl Block<'_> {
    /// Adds what stands beside a part's matrix: perhaps a bias, and what an adapter makes.
    #[inline(always)]
    fn beside(self, part: &Part, n: usize, y: &mut Products) {
        if let Some(bias) = part.bias {
            let bias = &norm::vector(self.cx.file, &bias)[self.first..][..n];
            for y in &mut *y {
                for (y, bias) in y.iter_mut().zip(bias) {
                    *y += f32::from_le_bytes(*bias);
                }
            }
        }
        if let Some(plus) = part.plus {
            self.add(plus, n, y);
        }
    }

    /// Adds the numbers of a slot.
    #[inline(always)]
    fn add(self, slot: Slot, n: usize, y: &mut Products) {
        for (t, y) in y.iter_mut().enumerate() {
            // SAFETY: the slot was written before the last barrier, or by this worker, whose block it is.
            let there = unsafe { self.cx.read(slot, self.start + t, self.first, n) };
            if let Some(there) = there.first_chunk::<ROWS>() {
                let mut sum = *y;
                for (sum, there) in sum.iter_mut().zip(there) {
                    *sum += there;
                }
                *y = sum;
            } else {
                add_part(y, there);
            }
        }
    }

    /// Stores the numbers if the slot keeps them.
    #[inline(always)]
    fn store(self, slot: Slot, n: usize, y: &Products) {
        if !self.cx.plan.slot(slot).plain {
            return;
        }
        for (t, y) in y.iter().enumerate() {
            // SAFETY: blocks of output rows are shared out.
            let to = unsafe { self.cx.write(slot, self.start + t, self.first, n) };
            match to.first_chunk_mut::<ROWS>() {
                Some(to) => *to = *y,
                None => to.copy_from_slice(&y[..n]),
            }
        }
    }

    /// Stores the rounded form if the slot keeps it.
    #[inline(always)]
    fn round<S: Simd>(self, simd: S, slot: Slot, y: &Products) {
        for (t, y) in y.iter().enumerate() {
            // SAFETY: blocks of output rows are shared out, each of them one group of codes.
            let codes = unsafe { Codes::new(self.cx, slot, self.start + t, self.first, ROWS) };
            let Some(mut codes) = codes else { return };
            codes.group(simd, 0, y);
        }
    }
}

/// Apart from where all rows are there: compilers would make one loop of both.
#[inline(never)]
fn add_part(y: &mut [f32; ROWS], there: &[f32]) {
    for (y, there) in y.iter_mut().zip(there) {
        *y += there;
    }
}

#[inline(always)]
fn gate(activation: Activation, y: &mut [f32], up: &[f32]) {
    match activation {
        Activation::Silu => {
            for (y, up) in y.iter_mut().zip(up) {
                *y = up * math::silu(*y);
            }
        }
        Activation::GeluTanh => {
            for (y, up) in y.iter_mut().zip(up) {
                *y = up * math::gelu_tanh(*y);
            }
        }
    }
}

#[inline(always)]
fn logits(scale: f32, cap: Option<f32>, y: &mut [f32]) {
    for y in &mut *y {
        *y *= scale;
    }
    let Some(cap) = cap else { return };
    for y in y {
        *y = cap * math::tanh(*y / cap);
    }
}
