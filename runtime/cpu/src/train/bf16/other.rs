//! No such instruction on this processor.

use super::portable::Portable;
use super::{Line, Work};

/// Whether this processor has the instruction.
pub(in super::super) fn available() -> bool {
    false
}

pub(super) fn run(work: Work<'_>) {
    work.run(Portable);
}

pub(super) fn round_row(_: &[f32], _: &mut [u32]) -> bool {
    false
}

pub(super) fn round_across(_: &[f32], _: &[f32], _: &mut [Line]) -> bool {
    false
}
