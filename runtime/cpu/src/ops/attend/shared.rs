//! One token that sees many tiles: workers share them out, keep what each gives apart, then join it in their order.
#![allow(unsafe_code)]

use core::ops::Range;

use inkstone_model::Slot;
use inkstone_model::op::Attend;
use inkstone_quant::{GROUP, hadamard};

use super::softmax::{Sum, join};
use super::{Attention, Kv, Run, TOGETHER, Unit, round};
use crate::arena::share;
use crate::simd::{self, Simd, Task};
use crate::team::Worker;

/// Tiles from which on it is worth another barrier.
const LEAST: usize = 5;

/// Tiles that a worker takes at once.
const PIECE: usize = 4;

/// Whether this batch is such a token.
pub(super) fn worth(cx: &Run<'_>, op: &Attend, worker: &Worker<'_>) -> bool {
    !cfg!(feature = "small")
        && worker.count > 1
        && cx.batch.tokens.len() == 1
        && heads(cx, op, 0..op.heads).tiles().len() >= LEAST
}

/// The only token's query heads, over the first one's key head.
fn heads<'a>(cx: &'a Run<'a>, op: &'a Attend, heads: Range<usize>) -> Unit<'a> {
    Unit {
        cx,
        op,
        tokens: 0..1,
        place: cx.batch.place(0),
        kv_head: heads.start / (op.heads / op.cache.heads),
        heads,
    }
}

pub(super) fn run(cx: &Run<'_>, op: &Attend, worker: &Worker<'_>, scratch: &mut [f32]) {
    let group = op.heads / op.cache.heads;
    let (runs, tiles) = (group.div_ceil(TOGETHER), heads(cx, op, 0..op.heads).tiles());
    let pieces = tiles.len().div_ceil(PIECE);
    while let Some(index) = worker.take(op.cache.heads * runs * pieces) {
        let (kv_head, run) = (index / pieces / runs, index / pieces % runs);
        let first = run * TOGETHER;
        let unit = heads(
            cx,
            op,
            kv_head * group + first..kv_head * group + group.min(first + TOGETHER),
        );
        let start = tiles.start + index % pieces * PIECE;
        let task = Attention {
            unit: &unit,
            part: Some(start..tiles.end.min(start + PIECE)),
            scratch: &mut *scratch,
        };
        simd::run(cx.isa, task);
    }
    worker.meet();
    let width = op.cache.width;
    for head in share(op.heads, worker.index, worker.count) {
        let unit = heads(cx, op, head..head + 1);
        simd::run(cx.isa, Join { unit: &unit });
        if width.is_multiple_of(GROUP) {
            // SAFETY: heads are shared out.
            let x = unsafe { cx.read(op.to, 0, head * width, width) };
            // SAFETY: a head is whole groups, and heads are shared out.
            unsafe { round::row(cx, op.to, 0, head * width, x) };
        }
    }
}

/// The row of a tile's part.
#[inline(always)]
pub(super) fn row(unit: &Unit<'_>, tile: usize) -> usize {
    tile - unit.tiles().start
}

/// Keeps the sums of a tile's part.
#[inline(always)]
pub(super) fn keep(unit: &Unit<'_>, tile: usize, given: &[Sum]) {
    let (row, at) = (row(unit, tile), 2 * unit.heads.start);
    // SAFETY: a tile's part of some heads is given to one worker.
    let to = unsafe { unit.cx.write(Slot::PartSums, row, at, 2 * given.len()) };
    to.copy_from_slice(given.as_flattened());
}

/// Joins the parts of a head.
struct Join<'a, 'b> {
    unit: &'b Unit<'a>,
}

impl Task for Join<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let unit = self.unit;
        let (cx, op, width, head) = (unit.cx, unit.op, unit.op.cache.width, unit.heads.start);
        // SAFETY: heads are shared out.
        let to = unsafe { cx.write(op.to, 0, head * width, width) };
        let mut sums = [[0.0; 2]];
        for row in 0..unit.tiles().len() {
            // SAFETY: parts were written before the barrier.
            let given = unsafe { cx.read(Slot::PartSums, row, 2 * head, 2) };
            // SAFETY: as above.
            let part = unsafe { cx.read(Slot::Parts, row, head * width, width) };
            let given = [[given[0], given[1]]];
            if row == 0 {
                sums = given;
                to.copy_from_slice(part);
                continue;
            }
            let mut factors = [[0.0; 2]];
            join(&mut sums, &given, &mut factors);
            let [[a, b]] = factors;
            for (to, part) in to.iter_mut().zip(part) {
                *to = *to * a + *part * b;
            }
        }
        for to in &mut *to {
            *to /= sums[0][1];
        }
        if op.cache.kv == Kv::Int4 {
            hadamard::rotate(to);
        }
    }
}
