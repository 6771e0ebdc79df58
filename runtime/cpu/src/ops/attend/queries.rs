//! Queries as attention multiplies them with keys.
#![allow(unsafe_code)]

use inkstone_model::op::Attend;
use inkstone_model::{Cache, Kv};
use inkstone_quant::activation::quantize_group;
use inkstone_quant::{hadamard, math};

use super::{HEADS, TOKENS, Unit};
use crate::arena::{cut, quads_of};

/// A unit's queries, made ready.
pub(super) struct Asked<'a, 'b> {
    pub(super) unit: &'b Unit<'a>,
    /// Copies of one token's, where workers share its heads; else they stand where they stood.
    own: &'b [f32],
}

impl<'a, 'b> Asked<'a, 'b> {
    #[inline(always)]
    pub(super) fn new(unit: &'b Unit<'a>, own: &'b mut [f32]) -> Asked<'a, 'b> {
        let width = unit.op.cache.width;
        let (at, n) = (unit.heads.start * width, unit.heads.len() * width);
        if own.is_empty() {
            for token in unit.tokens.clone() {
                // SAFETY: a token's heads are given to one worker, which has no reference to them here.
                ready(unit.op, unsafe { unit.cx.write(unit.op.q, token, at, n) });
            }
        } else {
            // SAFETY: queries were written before the last barrier, and where workers share them none writes them.
            own[..n].copy_from_slice(unsafe { unit.cx.read(unit.op.q, unit.tokens.start, at, n) });
            ready(unit.op, &mut own[..n]);
        }
        Asked { unit, own }
    }

    /// Those of `n` heads of a token.
    #[inline(always)]
    pub(super) fn of(&self, token: usize, head: usize, n: usize) -> &[f32] {
        let width = self.unit.op.cache.width;
        if self.own.is_empty() {
            // SAFETY: a token's heads are given to one worker, and what it wrote of its queries it has written.
            unsafe {
                self.unit
                    .cx
                    .read(self.unit.op.q, token, head * width, n * width)
            }
        } else {
            &self.own[(head - self.unit.heads.start) * width..][..n * width]
        }
    }
}

/// Queries in the form that int8 keys are multiplied with; empty for other keys.
#[derive(Clone, Copy)]
pub(super) struct Rounded<'a> {
    /// Quads of a query.
    pub(super) quads: usize,
    pub(super) codes: &'a [[i8; 4]],
    pub(super) scales: &'a [f32],
}

impl<'a> Rounded<'a> {
    /// Those of a unit, token by token.
    #[inline(always)]
    pub(super) fn new(queries: &Asked<'_, '_>, mut scratch: &'a mut [f32]) -> Rounded<'a> {
        let unit = queries.unit;
        let quads = quads(&unit.op.cache);
        if !unit.op.cache.kv.codes() {
            return Rounded {
                quads,
                codes: &[],
                scales: &[],
            };
        }
        let n = unit.heads.len();
        let scales = cut(&mut scratch, TOKENS * HEADS);
        let codes = quads_of(cut(&mut scratch, TOKENS * HEADS * quads));
        let rows = scales.iter_mut().zip(codes.chunks_exact_mut(quads));
        for (i, (scale, codes)) in rows.enumerate().take(unit.tokens.len() * n) {
            let (token, head) = (unit.tokens.start + i / n, unit.heads.start + i % n);
            *scale = quantize_group(queries.of(token, head, 1), codes.as_flattened_mut());
        }
        Rounded {
            quads,
            codes,
            scales,
        }
    }

    /// Those from query `index` on.
    #[inline(always)]
    pub(super) fn of(&self, index: usize) -> Rounded<'a> {
        Rounded {
            quads: self.quads,
            codes: self.codes.get(index * self.quads..).unwrap_or_default(),
            scales: self.scales.get(index..).unwrap_or_default(),
        }
    }
}

/// Makes queries what is multiplied with keys, or is rounded for it: see [`Attend`].
#[inline(always)]
fn ready(op: &Attend, q: &mut [f32]) {
    let (kv, width) = (op.cache.kv, op.cache.width);
    match kv {
        Kv::F16 => q.iter_mut().for_each(|q| *q = math::short(*q)),
        Kv::Int4 => q.chunks_exact_mut(width).for_each(hadamard::rotate),
        Kv::F32 | Kv::Int8 => {}
    }
}

/// Quads of a rounded query: as many as keys have.
pub(super) fn quads(cache: &Cache) -> usize {
    cache
        .width
        .next_multiple_of(cache.kv.together())
        .div_ceil(4)
}
