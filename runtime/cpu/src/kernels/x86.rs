//! Every kernel: portable, AVX2, AVX-512, AMX.

use super::{Kernel, amx, eight, five, four, six};

/// Every kernel.
pub static KERNELS: &[Kernel] = &[
    eight::portable::I8,
    four::portable::I4,
    four::portable::U4,
    four::portable::NL4,
    five::portable::I5,
    five::portable::U5,
    six::portable::I6,
    eight::avx2::I8,
    four::avx2::I4,
    four::avx2::U4,
    four::avx2::NL4,
    five::avx2::I5,
    five::avx2::U5,
    six::avx2::I6,
    eight::avx512::I8,
    four::avx512::I4,
    four::avx512::U4,
    four::avx512::NL4,
    five::avx512::I5,
    five::avx512::U5,
    six::avx512::I6,
    amx::kernel::<eight::avx512::Bytes>(32),
    amx::kernel::<four::avx512::Signed>(32),
    amx::kernel::<four::avx512::Unsigned>(32),
    amx::kernel::<four::avx512::Table>(32),
    amx::kernel::<five::avx512::Signed>(32),
    amx::kernel::<five::avx512::Unsigned>(32),
    amx::kernel::<six::avx512::Signed>(16),
];
