//! The operations of a plan, each by all workers together.
#![allow(unsafe_code)]

mod attend;
mod embed;
mod finish;
mod float;
mod linear;
mod norm;
mod rope;
pub(crate) mod round;

use core::sync::atomic::AtomicBool;

use inkstone_model::op::Rows;
use inkstone_model::weights::Bytes;
use inkstone_model::{Batch, Matrix, Op, Plan, Slot};

use crate::arena::Arena;
use crate::isa::Ready;
use crate::team::Worker;

/// Bytes of scratch that an operation needs, at least.
pub(crate) fn scratch(op: &Op, streamed: bool) -> usize {
    let numbers = match op {
        Op::Embed(op) => room(&op.table, streamed),
        Op::Norm(_) => 0,
        Op::Linear(op) => linear::scratch(op, streamed),
        Op::Rope(op) => op.cache.width,
        Op::Attend(op) => attend::scratch(op),
    };
    numbers * size_of::<f32>()
}

/// Numbers of scratch that a panel takes where it is not in memory.
fn room(matrix: &Matrix, streamed: bool) -> usize {
    let numbers = matrix.panel_bytes.next_multiple_of(64) / size_of::<f32>();
    if streamed { numbers } else { 0 }
}

/// What every operation of a run works on.
pub(crate) struct Run<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) isa: Ready,
    pub(crate) file: Bytes<'a>,
    pub(crate) arena: Arena<'a>,
    pub(crate) batch: &'a Batch<'a>,
    /// Set where weights could not be read.
    pub(crate) unread: &'a AtomicBool,
}

impl Run<'_> {
    /// This worker's part of an operation.
    pub(crate) fn step(&self, op: &Op, worker: &Worker<'_>) {
        match op {
            Op::Embed(op) => embed::run(self, op, worker),
            Op::Norm(op) => norm::run(self, op, worker),
            Op::Linear(op) => linear::run(self, op, worker),
            Op::Rope(op) => rope::run(self, op, worker),
            Op::Attend(op) => attend::run(self, op, worker),
        }
    }

    /// How many rows an operation works on.
    fn rows(&self, rows: Rows) -> usize {
        match rows {
            Rows::All => self.batch.tokens.len(),
            Rows::Wanted | Rows::Packed => self.batch.wanted_rows(),
        }
    }

    /// Byte of element `first` of a slot's row.
    fn at(&self, slot: Slot, row: usize, first: usize) -> usize {
        let place = self.plan.slot(slot);
        place.values + (row * place.width + first) * size_of::<f32>()
    }

    /// `count` elements of a slot's row from `first` on.
    ///
    /// # Safety
    /// Until the next barrier no worker writes them.
    unsafe fn read(&self, slot: Slot, row: usize, first: usize, count: usize) -> &[f32] {
        // SAFETY: the caller's promise.
        unsafe { self.arena.read(self.at(slot, row, first), count) }
    }

    /// `count` elements of a slot's row from `first` on, to be written.
    ///
    /// # Safety
    /// Until the next barrier no other worker reads or writes them.
    #[allow(clippy::mut_from_ref)]
    unsafe fn write(&self, slot: Slot, row: usize, first: usize, count: usize) -> &mut [f32] {
        // SAFETY: the caller's promise.
        unsafe { self.arena.write(self.at(slot, row, first), count) }
    }

    /// The worker's own memory.
    ///
    /// # Safety
    /// Called once in an operation, with the worker's own index.
    #[allow(clippy::mut_from_ref)]
    unsafe fn scratch(&self, index: usize) -> &mut [f32] {
        let start = self.plan.scratch + index * self.plan.scratch_each;
        // SAFETY: these bytes belong to this worker, and the caller takes them once.
        unsafe {
            self.arena
                .write(start, self.plan.scratch_each / size_of::<f32>())
        }
    }
}
