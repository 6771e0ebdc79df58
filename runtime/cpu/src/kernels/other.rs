//! Every kernel: the portable ones.

use super::{Kernel, eight, five, four, six};

/// Every kernel.
pub static KERNELS: &[Kernel] = &[
    eight::portable::I8,
    four::portable::I4,
    four::portable::U4,
    four::portable::NL4,
    five::portable::I5,
    five::portable::U5,
    six::portable::I6,
];
