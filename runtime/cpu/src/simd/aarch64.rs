//! From an instruction set that was found to functions that have it enabled.
#![allow(unsafe_code)]

use super::{Neon, Portable, Task};
use crate::isa::{Isa, Ready};

/// Runs a task with the instructions of `isa`.
pub(crate) fn run<T: Task>(isa: Ready, task: T) -> T::Out {
    match isa.isa() {
        // SAFETY: a `Ready` is made only where the processor has been found to have it.
        Isa::Neon => unsafe { neon(task) },
        // SAFETY: a `Ready` is made only where the processor has been found to have it.
        Isa::Dotprod | Isa::I8mm => unsafe { dotprod(task) },
        _ => task.run(Portable),
    }
}

#[target_feature(enable = "neon")]
fn neon<T: Task>(task: T) -> T::Out {
    task.run(Neon::new())
}

#[target_feature(enable = "neon,dotprod")]
fn dotprod<T: Task>(task: T) -> T::Out {
    task.run(Neon::with_dot())
}
