//! From an instruction set that was found to functions that have it enabled.
#![allow(unsafe_code)]

use super::{Avx2, Avx512, Portable, Task};
use crate::isa::{Isa, Ready};

/// Runs a task with the instructions of `isa`.
pub(crate) fn run<T: Task>(isa: Ready, task: T) -> T::Out {
    match isa.isa() {
        // SAFETY: a `Ready` is made only where the processor has been found to have it.
        Isa::Avx2 => unsafe { avx2(task) },
        // SAFETY: a `Ready` is made only where the processor has been found to have it.
        Isa::Avx512 | Isa::Amx => unsafe { avx512(task) },
        _ => task.run(Portable),
    }
}

#[target_feature(enable = "avx2,f16c,fma")]
fn avx2<T: Task>(task: T) -> T::Out {
    task.run(Avx2::new())
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn avx512<T: Task>(task: T) -> T::Out {
    task.run(Avx512::new())
}
