//! Root-mean-square norms.
#![allow(unsafe_code)]

use inkstone_model::Matrix;
use inkstone_model::op::{Norm, Rows, Then};
use inkstone_quant::math;

use super::{Run, round};
use crate::arena::share;
use crate::simd::{self, Simd, Task};
use crate::team::Worker;

pub(super) fn run(cx: &Run<'_>, op: &Norm, worker: &Worker<'_>) {
    let gain = vector(cx.file, &op.gain);
    for row in share(cx.rows(op.rows), worker.index, worker.count) {
        let source = if op.rows == Rows::Wanted {
            cx.batch.wanted_token(row)
        } else {
            row
        };
        // SAFETY: `from` was written before the last barrier, and this operation does not write it.
        let from = unsafe { cx.read(op.from, source, 0, gain.len()) };
        // SAFETY: rows are shared out.
        let to = unsafe { cx.write(op.to, row, 0, gain.len()) };
        simd::run(
            cx.isa,
            NormRow {
                from,
                gain,
                eps: op.eps,
                then: op.then,
                to,
            },
        );
        // SAFETY: rows are shared out.
        unsafe { round::row(cx, op.to, row, 0, to) };
    }
}

/// The bytes of a vector of F32, four a number.
pub(super) fn vector<'a>(file: &'a [u8], m: &Matrix) -> &'a [[u8; 4]] {
    file[m.offset..][..m.inputs * 4].as_chunks().0
}

struct NormRow<'a> {
    from: &'a [f32],
    gain: &'a [[u8; 4]],
    eps: f32,
    then: Then,
    to: &'a mut [f32],
}

impl Task for NormRow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let factor = factor(self.from, self.eps);
        let y = self
            .from
            .iter()
            .zip(self.gain)
            .map(|(x, gain)| x * factor * f32::from_le_bytes(*gain));
        match self.then {
            Then::Store => self.to.iter_mut().zip(y).for_each(|(to, y)| *to = y),
            Then::Add => self.to.iter_mut().zip(y).for_each(|(to, y)| *to += y),
        }
    }
}

/// `1/√(mean(x²) + eps)`.
#[inline(always)]
pub(super) fn factor(x: &[f32], eps: f32) -> f32 {
    1.0 / math::sqrt(math::sum(x, |x| x * x) / x.len() as f32 + eps)
}
