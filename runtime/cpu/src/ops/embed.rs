//! Tokens to rows.
#![allow(unsafe_code)]

use inkstone_model::op::Embed;

use super::{Run, round};
use crate::arena::share;
use crate::team::Worker;

pub(super) fn run(cx: &Run<'_>, op: &Embed, worker: &Worker<'_>) {
    for row in share(cx.batch.tokens.len(), worker.index, worker.count) {
        // SAFETY: rows are shared out.
        let to = unsafe { cx.write(op.to, row, 0, op.table.inputs) };
        op.table.row(cx.file, cx.batch.tokens[row] as usize, to);
        to.iter_mut().for_each(|x| *x *= op.scale);
        // SAFETY: rows are shared out.
        unsafe { round::row(cx, op.to, row, 0, to) };
    }
}
