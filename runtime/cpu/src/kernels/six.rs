//! Codes of six bits: a plane of four and a plane of two.

use inkstone_quant::codes;

pub(super) mod portable {
    //! Plain Rust.

    use inkstone_quant::Codes;

    use super::codes;
    use crate::kernels::Kernel;
    use crate::kernels::four::portable::nibbles;
    use crate::kernels::portable::{Levels, Unpack, kernel};

    pub(in crate::kernels) const I6: Kernel = kernel::<Signed>(16);

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I6;

        fn unpack(tile: &[u8], to: &mut Levels) {
            let (low, high) = tile.split_at(256);
            nibbles(low, to, i16::from);
            for (q, to) in to.iter_mut().enumerate() {
                let (high, shift) = (&high[64 * (q / 4)..][..64], 2 * (q % 4));
                for (to, &byte) in to.iter_mut().zip(high) {
                    *to += i16::from((byte >> shift & 3) << 4) - 32;
                }
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
    use crate::kernels::four::avx2::nibbles;

    pub(in crate::kernels) const I6: Kernel = kernel::<Signed>(16);

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I6;
        const SPAN: usize = 2;

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> Quad {
            // SAFETY: the caller's promise.
            let mut quad = unsafe { nibbles::<Q>(tile) };
            // SAFETY: the caller's promise.
            let high = unsafe { load(tile.add(256 + 64 * (Q / 4))) };
            // Bits `2 (Q % 4)` and the next become bits 4 and 5; what crosses into the next byte is masked off.
            let shift = 2 * (Q % 4);
            let (left, right) = (
                4_usize.saturating_sub(shift) as i32,
                shift.saturating_sub(4) as i32,
            );
            for (quad, high) in quad.iter_mut().zip(high) {
                let shifted = _mm256_sll_epi16(high, _mm_cvtsi32_si128(left));
                let shifted = _mm256_srl_epi16(shifted, _mm_cvtsi32_si128(right));
                *quad = _mm256_or_si256(*quad, _mm256_and_si256(shifted, _mm256_set1_epi8(48)));
            }
            quad
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
    use crate::kernels::four::avx512::nibbles;

    pub(in crate::kernels) const I6: Kernel = kernel::<Signed>(16);

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I6;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> __m512i {
            // SAFETY: the caller's promise.
            let quad = unsafe { nibbles::<Q>(tile) };
            // SAFETY: the caller's promise.
            let high = unsafe { load(tile.add(256 + 64 * (Q / 4))) };
            // Bits `2 (Q % 4)` and the next become bits 4 and 5; what crosses into the next byte is masked off.
            let shift = 2 * (Q % 4);
            let (left, right) = (
                4_usize.saturating_sub(shift) as i32,
                shift.saturating_sub(4) as i32,
            );
            let shifted = _mm512_sll_epi16(high, _mm_cvtsi32_si128(left));
            let shifted = _mm512_srl_epi16(shifted, _mm_cvtsi32_si128(right));
            _mm512_or_si512(quad, _mm512_and_si512(shifted, _mm512_set1_epi8(48)))
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
    use crate::kernels::four::neon::plane;

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I6;
        const BIAS: i32 = codes::I6.bias();
        const LARGEST: i32 = 63;

        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            let nibbles = unsafe { plane::<J>(tile) };
            // SAFETY: the caller's promise.
            let [low, high] = [0, QUAD].map(|skip| unsafe { load(tile.add(256 + skip)) });
            // Bits `2·J` and the next become bits 0 and 1, and bits 4 and 5.
            let low = vshlq_u8(low, vdupq_n_s8(-(2 * J as i8)));
            let high = vshlq_u8(high, vdupq_n_s8(4 - 2 * J as i8));
            let low = vsliq_n_u8::<4>(nibbles, vandq_u8(low, vdupq_n_u8(3)));
            let high = vsriq_n_u8::<4>(vandq_u8(high, vdupq_n_u8(48)), nibbles);
            [low, high].map(|w| vreinterpretq_s8_u8(w))
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

    use core::arch::wasm32::*;

    use inkstone_quant::Codes;

    use super::codes;
    use crate::kernels::four::simd128::nibbles;
    use crate::kernels::simd128::{Pair, QUAD, Unpack, load};

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I6;

        #[inline(always)]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            let mut pair = unsafe { nibbles::<J>(tile) };
            for (half, pair) in pair.iter_mut().enumerate() {
                // SAFETY: the caller's promise.
                let high = unsafe { load(tile.add(256 + half * QUAD)) };
                // Bits `2·J` and the next become bits 4 and 5; what crosses into the next byte is masked off.
                let shifted = match J {
                    0 | 1 => u16x8_shl(high, 4 - 2 * J as u32),
                    _ => u16x8_shr(high, 2 * J as u32 - 4),
                };
                *pair = v128_or(*pair, v128_and(shifted, u8x16_splat(48)));
            }
            pair
        }
    }
}
