//! Every kernel: portable, simd128.

use super::simd128::kernel;
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
    kernel::<eight::simd128::Bytes>(32),
    kernel::<four::simd128::Signed>(32),
    kernel::<four::simd128::Unsigned>(32),
    kernel::<four::simd128::Table>(32),
    kernel::<five::simd128::Signed>(32),
    kernel::<five::simd128::Unsigned>(32),
    kernel::<six::simd128::Signed>(16),
];
