//! What WebAssembly has where the build has it: a module is checked as a whole before it runs.

use super::Isa;

pub(super) fn has(isa: Isa) -> bool {
    matches!(isa, Isa::Portable | Isa::Simd128)
}
