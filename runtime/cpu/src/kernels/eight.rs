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

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub(super) mod neon {
    //! 64-bit Arm.
    #![allow(unsafe_code)]

    use core::arch::aarch64::*;

    use inkstone_quant::Codes;

    use super::codes;
    use crate::kernels::arm::{Pair, QUAD, Unpack, load};

    /// Codes less 128, as they are where bytes are signed.
    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I8;
        const BIAS: i32 = 0;
        const LARGEST: i32 = 128;

        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            let pair = unsafe { Unsigned::pair::<J>(tile) };
            pair.map(|w| veorq_s8(w, vdupq_n_s8(-128)))
        }
    }

    /// Codes as they are.
    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::I8;
        const BIAS: i32 = codes::I8.bias();
        const LARGEST: i32 = 255;

        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            [J, J + 4].map(|q| vreinterpretq_s8_u8(unsafe { load(tile.add(q * QUAD)) }))
        }
    }
}

#[cfg(all(
    target_arch = "wasm32",
    target_feature = "simd128",
    not(feature = "small")
))]
pub(super) mod simd128 {
    //! WebAssembly.
    #![allow(unsafe_code)]

    use inkstone_quant::Codes;

    use super::codes;
    use crate::kernels::simd128::{Pair, QUAD, Unpack, load};

    pub(in crate::kernels) struct Bytes;

    impl Unpack for Bytes {
        const CODES: &'static Codes = &codes::I8;

        #[inline(always)]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            [J, J + 4].map(|q| unsafe { load(tile.add(q * QUAD)) })
        }
    }
}
