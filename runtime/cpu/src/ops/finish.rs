//! What becomes of a block's products: bias, gate, residual, and the rounded form for the matrix that comes next.
#![allow(unsafe_code)]

use inkstone_model::Activation;
use inkstone_model::op::{Epilogue, Part};
use inkstone_quant::math;

use super::linear::ROWS;
use super::round::Codes;
use super::{Run, norm};
use crate::simd::{Simd, Task};

/// Products of rows `start` on of activations with output rows `first` on.
pub(super) struct Finish<'a> {
    pub(super) cx: &'a Run<'a>,
    pub(super) part: &'a Part,
    pub(super) epilogue: Epilogue,
    pub(super) first: usize,
    pub(super) start: usize,
    pub(super) y: &'a [[f32; ROWS]],
    /// Products of the second part of a gate.
    pub(super) up: Option<&'a [[f32; ROWS]]>,
    /// The second part.
    pub(super) up_part: Option<&'a Part>,
}

impl Task for Finish<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        use Activation::{GeluTanh, Silu};
        use Epilogue::{Add, Gate, Logits, Store};
        // Compiled for each epilogue, which is then known within; once where flash is dearer than time.
        match self.epilogue {
            epilogue if cfg!(feature = "small") => self.all(epilogue),
            Gate(Silu) => self.all(Gate(Silu)),
            Gate(GeluTanh) => self.all(Gate(GeluTanh)),
            Add => self.all(Add),
            Logits { scale, cap: None } => self.all(Logits { scale, cap: None }),
            Logits {
                scale,
                cap: Some(cap),
            } => self.all(Logits {
                scale,
                cap: Some(cap),
            }),
            Store => self.all(Store),
        }
    }
}

/// A closure of these would not be compiled for the instruction set that calls it.
#[inline(always)]
fn add(y: &mut [f32; ROWS], x: &[f32; ROWS]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += x;
    }
}

/// Zeros beyond what there is.
#[inline(always)]
fn load(from: &[f32]) -> [f32; ROWS] {
    if let Some(whole) = from.first_chunk() {
        return *whole;
    }
    let mut y = [0.0; ROWS];
    y[..from.len()].copy_from_slice(from);
    y
}

/// As much as there is room for.
#[inline(always)]
fn store(y: &[f32; ROWS], to: &mut [f32]) {
    if let Some(whole) = to.first_chunk_mut() {
        *whole = *y;
    } else {
        to.copy_from_slice(&y[..to.len()]);
    }
}

impl Finish<'_> {
    /// Stores what an epilogue makes of each row of products and of what stands there.
    #[inline(always)]
    fn all(&self, epilogue: Epilogue) {
        let n = (self.part.weight.rows - self.first).min(ROWS);
        let bias = self
            .part
            .bias
            .map(|bias| self.bias(norm::vector(self.cx.file, &bias)));
        for (t, y) in self.y.iter().enumerate() {
            let (mut y, row) = (*y, self.start + t);
            if let Some(bias) = &bias {
                add(&mut y, bias);
            }
            if self.part.plus.is_some() {
                self.beside(self.part, false, row, &mut y);
            }
            let mut to = &mut [][..];
            if self.cx.plan.slot(self.part.to).plain {
                // SAFETY: blocks of output rows are shared out.
                to = unsafe { self.cx.write(self.part.to, row, self.first, n) };
            }
            self.apply(epilogue, t, &mut y, to);
            store(&y, to);
            // What is beyond the last row is rounded as zeros.
            y[n..].fill(0.0);
            // SAFETY: blocks of output rows are shared out, each of them one group of codes.
            if let Some(codes) = unsafe { Codes::new(self.cx, self.part.to, row, self.first, ROWS) }
            {
                codes.group(0, &y);
            }
        }
    }

    /// What an epilogue makes of a row of products and of what stands there.
    #[inline(always)]
    fn apply(&self, epilogue: Epilogue, t: usize, y: &mut [f32; ROWS], there: &[f32]) {
        match epilogue {
            Epilogue::Store => (),
            Epilogue::Add => add(y, &load(there)),
            Epilogue::Gate(activation) => {
                let Some(up) = self.up else { return };
                let up = self.up(t, &up[t]);
                for (y, up) in y.iter_mut().zip(up) {
                    *y = up
                        * match activation {
                            Activation::Silu => math::silu(*y),
                            Activation::GeluTanh => math::gelu_tanh(*y),
                        };
                }
            }
            Epilogue::Logits { scale, cap } => {
                for y in y {
                    *y *= scale;
                    if let Some(cap) = cap {
                        *y = cap * math::tanh(*y / cap);
                    }
                }
            }
        }
    }

    /// A row of the second part of a gate.
    #[inline(always)]
    fn up(&self, t: usize, y: &[f32; ROWS]) -> [f32; ROWS] {
        let mut y = *y;
        if let Some(part) = self
            .up_part
            .filter(|part| part.bias.is_some() || part.plus.is_some())
        {
            self.beside(part, true, self.start + t, &mut y);
        }
        y
    }

    /// Adds what stands beside a part's matrix to this block's outputs of a row: perhaps its bias, and what an adapter
    /// makes. Apart from the rest, which is compiled for each epilogue.
    #[inline(never)]
    fn beside(&self, part: &Part, biased: bool, row: usize, y: &mut [f32; ROWS]) {
        if let Some(bias) = part.bias.filter(|_| biased) {
            let bias = self.bias(norm::vector(self.cx.file, &bias));
            add(y, &bias);
        }
        if let Some(plus) = part.plus {
            let n = (part.weight.rows - self.first).min(ROWS);
            // SAFETY: the slot was written before the last barrier, and this operation does not write it.
            let plus = unsafe { self.cx.read(plus, row, self.first, n) };
            y.iter_mut().zip(plus).for_each(|(y, plus)| *y += plus);
        }
    }

    /// The block's biases, zeros beyond the last row.
    #[inline(always)]
    fn bias(&self, bias: &[[u8; 4]]) -> [f32; ROWS] {
        let mut to = [0.0; ROWS];
        for (to, bias) in to.iter_mut().zip(&bias[self.first..]) {
            *to = f32::from_le_bytes(*bias);
        }
        to
    }
}
