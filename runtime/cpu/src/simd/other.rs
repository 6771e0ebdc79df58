//! Where only the portable form exists.

use super::{Portable, Task};
use crate::isa::Ready;

/// Runs a task with the instructions of `isa`.
pub(crate) fn run<T: Task>(_: Ready, task: T) -> T::Out {
    task.run(Portable)
}
