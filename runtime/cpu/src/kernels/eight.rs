//! Codes of eight bits.

use inkstone_quant::codes;

pub(super) mod portable {
    //! Plain Rust.

    use inkstone_quant::Codes;

    use super::codes;
    use crate::kernels::Kernel;
    use crate::kernels::portable::{Levels, Unpack, kernel};

    pub(in crate::kernels) const I8: Kernel = kernel::<Bytes>(32);

    pub(in crate::kernels) struct Bytes;

    impl Unpack for Bytes {
        const CODES: &'static Codes = &codes::I8;

        fn unpack(tile: &[u8], to: &mut Levels) {
            for (to, &code) in to.as_flattened_mut().iter_mut().zip(tile) {
                *to = i16::from(code) - 128;
            }
        }
    }
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
pub(super) mod avx2 {
    //! AVX2.
    #![allow(unsafe_code)]

    use core::arch::x86_64::*;

    use inkstone_quant::Codes;

    use super::codes;
    use crate::kernels::Kernel;
    use crate::kernels::avx2::{Quad, Unpack, kernel, load};

    pub(in crate::kernels) const I8: Kernel = kernel::<Bytes>(32);

    pub(in crate::kernels) struct Bytes;

    impl Unpack for Bytes {
        const CODES: &'static Codes = &codes::I8;
        const SPAN: usize = 0;

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> Quad {
            // SAFETY: the caller's promise.
            let [low, high] = unsafe { load(tile.add(64 * Q)) };
            // 128 less, as a signed byte.
            let sign = _mm256_set1_epi8(-128);
            [_mm256_xor_si256(low, sign), _mm256_xor_si256(high, sign)]
        }
    }
}

#[cfg(all(target_arch = "x86_64", feature = "std"))]
pub(super) mod avx512 {
    //! AVX-512 VNNI.
    #![allow(unsafe_code)]

    use core::arch::x86_64::*;

    use inkstone_quant::Codes;

    use super::codes;
    use crate::kernels::Kernel;
    use crate::kernels::avx512::{Unpack, kernel, load};

    pub(in crate::kernels) const I8: Kernel = kernel::<Bytes>(32);

    pub(in crate::kernels) struct Bytes;

    impl Unpack for Bytes {
        const CODES: &'static Codes = &codes::I8;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe { load(tile.add(64 * Q)) }
        }
    }
}
