//! Where there is nothing to ask, or nothing is written for the answer.

use super::Isa;

pub(super) fn has(isa: Isa) -> bool {
    isa == Isa::Portable
}
