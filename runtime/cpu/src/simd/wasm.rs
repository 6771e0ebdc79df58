//! From an instruction set to its form: both are compiled for what the module needs.

use super::{Portable, Simd128, Task};
use crate::isa::{Isa, Ready};

/// Runs a task with the instructions of `isa`.
pub(crate) fn run<T: Task>(isa: Ready, task: T) -> T::Out {
    match isa.isa() {
        Isa::Simd128 => task.run(Simd128),
        _ => task.run(Portable),
    }
}
