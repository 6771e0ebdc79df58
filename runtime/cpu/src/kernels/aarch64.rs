//! Every kernel: portable, NEON, dot products, matrix products.

use super::arm::kernel;
use super::dotprod::Dotprod;
use super::i8mm::{Lanes, Squares};
use super::neon::Neon;
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
    kernel::<Neon, eight::neon::Signed>(32),
    kernel::<Neon, four::neon::Signed>(32),
    kernel::<Neon, four::neon::Unsigned>(32),
    kernel::<Neon, four::neon::Table>(32),
    kernel::<Neon, five::neon::Signed>(32),
    kernel::<Neon, five::neon::Unsigned>(32),
    kernel::<Neon, six::neon::Signed>(16),
    kernel::<Dotprod, eight::neon::Signed>(32),
    kernel::<Dotprod, four::neon::Signed>(32),
    kernel::<Dotprod, four::neon::Unsigned>(32),
    kernel::<Dotprod, four::neon::Table>(32),
    kernel::<Dotprod, five::neon::Signed>(32),
    kernel::<Dotprod, five::neon::Unsigned>(32),
    kernel::<Dotprod, six::neon::Signed>(16),
    kernel::<Lanes, eight::neon::Unsigned>(32),
    kernel::<Squares, four::neon::Signed>(32),
    kernel::<Squares, four::neon::Unsigned>(32),
    kernel::<Squares, four::neon::Table>(32),
    kernel::<Lanes, five::neon::Signed>(32),
    kernel::<Lanes, five::neon::Unsigned>(32),
    kernel::<Lanes, six::neon::Signed>(16),
];
