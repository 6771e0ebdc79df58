//! Root-mean-square norms.
#![allow(unsafe_code)]

use inkstone_model::Matrix;
use inkstone_model::op::{Norm, Rows, Then};
use inkstone_model::weights::Bytes;
use inkstone_quant::{GROUP, math};

use super::Run;
use super::round::Codes;
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
        let place = cx.plan.slot(op.to);
        let to = if place.plain {
            // SAFETY: rows are shared out.
            unsafe { cx.write(op.to, row, 0, gain.len()) }
        } else {
            &mut []
        };
        // SAFETY: rows are shared out.
        let codes = unsafe { Codes::new(cx, op.to, row, 0, gain.len()) };
        let task = NormRow {
            from,
            gain,
            eps: op.eps,
            then: op.then,
            to,
            codes,
        };
        simd::run(cx.isa, task);
    }
}

/// The bytes of a vector of F32, four a number.
pub(super) fn vector<'a>(file: Bytes<'a>, m: &Matrix) -> &'a [[u8; 4]] {
    file.get(m.offset, m.inputs * 4).as_chunks().0
}

struct NormRow<'a> {
    from: &'a [f32],
    gain: &'a [[u8; 4]],
    eps: f32,
    then: Then,
    /// Empty where the slot keeps no numbers.
    to: &'a mut [f32],
    codes: Option<Codes<'a>>,
}

impl Task for NormRow<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let factor = factor(self.from, self.eps);
        let mut codes = self.codes;
        let (whole, rest) = self.from.as_chunks::<GROUP>();
        let (gains, rest_gain) = self.gain.as_chunks::<GROUP>();
        let (to, rest_to) = self.to.as_chunks_mut::<GROUP>();
        let mut to = to.iter_mut();
        for (index, (x, gain)) in whole.iter().zip(gains).enumerate() {
            let mut y = scaled(x, factor, gain);
            if let Some(to) = to.next() {
                put(&mut y, self.then, to);
            }
            if let Some(codes) = &mut codes {
                codes.group(simd, index, &y);
            }
        }
        if !rest.is_empty() {
            // What is missing is zero, and rounded as such.
            let n = rest.len();
            let (mut x, mut gain, mut there) = ([0.0; GROUP], [[0; 4]; GROUP], [0.0; GROUP]);
            x[..n].copy_from_slice(rest);
            gain[..n].copy_from_slice(rest_gain);
            there[..rest_to.len()].copy_from_slice(rest_to);
            let mut y = scaled(&x, factor, &gain);
            put(&mut y, self.then, &mut there);
            rest_to.copy_from_slice(&there[..rest_to.len()]);
            if let Some(codes) = &mut codes {
                codes.group(simd, whole.len(), &y);
            }
        }
    }
}

#[inline(always)]
fn scaled(x: &[f32; GROUP], factor: f32, gain: &[[u8; 4]; GROUP]) -> [f32; GROUP] {
    let mut y = [0.0; GROUP];
    for ((y, x), gain) in y.iter_mut().zip(x).zip(gain) {
        *y = x * factor * f32::from_le_bytes(*gain);
    }
    y
}

/// Stores or adds; `y` becomes what stands there then.
#[inline(always)]
fn put(y: &mut [f32; GROUP], then: Then, to: &mut [f32; GROUP]) {
    if then == Then::Add {
        for (y, to) in y.iter_mut().zip(&*to) {
            *y += to;
        }
    }
    *to = *y;
}

/// `1/√(mean(x²) + eps)`.
#[inline(always)]
pub(super) fn factor(x: &[f32], eps: f32) -> f32 {
    1.0 / math::sqrt(math::sum(x, |x| x * x) / x.len() as f32 + eps)
}
