//! No such instruction on this processor.

use super::Work;
use super::portable::Portable;

/// Whether this processor has the instruction.
pub(in super::super) fn available() -> bool {
    false
}

pub(super) fn run(work: Work<'_>) {
    work.run(Portable);
}
