//! Tokens to rows.
#![allow(unsafe_code)]

use inkstone_model::op::Embed;

use super::{Run, round};
use crate::arena::{bytes_of, share};
use crate::team::Worker;

pub(super) fn run(cx: &Run<'_>, op: &Embed, worker: &Worker<'_>) {
    let table = &op.table;
    // SAFETY: once in this operation.
    let scratch = unsafe { cx.scratch(worker.index) };
    for row in share(cx.batch.tokens.len(), worker.index, worker.count) {
        // SAFETY: rows are shared out.
        let to = unsafe { cx.write(op.to, row, 0, op.table.inputs) };
        let (token, height) = (cx.batch.tokens[row] as usize, table.panel_rows);
        let panel = table.fetch(cx.file, token / height, bytes_of(&mut *scratch), cx.unread);
        table.format.row(panel, height, token % height, to);
        to.iter_mut().for_each(|x| *x *= op.scale);
        // SAFETY: rows are shared out.
        unsafe { round::row(cx, op.to, row, 0, to) };
    }
}
