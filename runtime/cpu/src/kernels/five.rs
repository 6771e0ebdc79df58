//! Codes of five bits: a plane of four and a plane of one.

use inkstone_quant::codes;

pub(super) mod portable {
    //! Plain Rust.

    use inkstone_quant::Codes;

    use super::codes;
    use crate::kernels::Kernel;
    use crate::kernels::four::portable::nibbles;
    use crate::kernels::portable::{Levels, Unpack, kernel};

    pub(in crate::kernels) const I5: Kernel = kernel::<Signed>(32);
    pub(in crate::kernels) const U5: Kernel = kernel::<Unsigned>(32);

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I5;

        fn unpack(tile: &[u8], to: &mut Levels) {
            five(tile, to, 16);
        }
    }

    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::U5;

        fn unpack(tile: &[u8], to: &mut Levels) {
            five(tile, to, 0);
        }
    }

    /// A plane of four bits, then one of one bit.
    fn five(tile: &[u8], to: &mut Levels, offset: i16) {
        let (low, high) = tile.split_at(256);
        nibbles(low, to, i16::from);
        for (q, to) in to.iter_mut().enumerate() {
            for (to, &byte) in to.iter_mut().zip(high) {
                *to += i16::from((byte >> q & 1) << 4) - offset;
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

    pub(in crate::kernels) const I5: Kernel = kernel::<Signed>(32);
    pub(in crate::kernels) const U5: Kernel = kernel::<Unsigned>(32);

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I5;
        const SPAN: usize = 4;

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> Quad {
            // SAFETY: the caller's promise.
            unsafe { five::<Q>(tile) }
        }
    }

    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::U5;
        const SPAN: usize = 4;

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> Quad {
            // SAFETY: the caller's promise.
            unsafe { five::<Q>(tile) }
        }
    }

    /// Quad `Q` of a plane of four bits and one of one bit.
    ///
    /// # Safety
    /// `tile` points to 320 bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn five<const Q: usize>(tile: *const u8) -> Quad {
        // SAFETY: the caller's promise.
        let mut quad = unsafe { nibbles::<Q>(tile) };
        // SAFETY: the caller's promise.
        let high = unsafe { load(tile.add(256)) };
        // Bit `Q` of each byte becomes bit 4; what crosses into the next byte is masked off.
        let (left, right) = (4_usize.saturating_sub(Q) as i32, Q.saturating_sub(4) as i32);
        for (quad, high) in quad.iter_mut().zip(high) {
            let shifted = _mm256_sll_epi16(high, _mm_cvtsi32_si128(left));
            let shifted = _mm256_srl_epi16(shifted, _mm_cvtsi32_si128(right));
            *quad = _mm256_or_si256(*quad, _mm256_and_si256(shifted, _mm256_set1_epi8(16)));
        }
        quad
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

    pub(in crate::kernels) const I5: Kernel = kernel::<Signed>(32);
    pub(in crate::kernels) const U5: Kernel = kernel::<Unsigned>(32);

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I5;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe { five::<Q>(tile) }
        }
    }

    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::U5;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe { five::<Q>(tile) }
        }
    }

    /// Quad `Q` of a plane of four bits and one of one bit.
    ///
    /// # Safety
    /// `tile` points to 320 bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn five<const Q: usize>(tile: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        let quad = unsafe { nibbles::<Q>(tile) };
        // SAFETY: the caller's promise.
        let high = unsafe { load(tile.add(256)) };
        // Bit `Q` of each byte becomes bit 4; what crosses into the next byte is masked off.
        let (left, right) = (4_usize.saturating_sub(Q) as i32, Q.saturating_sub(4) as i32);
        let shifted = _mm512_sll_epi16(high, _mm_cvtsi32_si128(left));
        let shifted = _mm512_srl_epi16(shifted, _mm_cvtsi32_si128(right));
        _mm512_or_si512(quad, _mm512_and_si512(shifted, _mm512_set1_epi8(16)))
    }
}

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
pub(super) mod neon {
    //! 64-bit Arm.
    #![allow(unsafe_code)]

    use core::arch::aarch64::*;

    use inkstone_quant::Codes;

    use super::codes;
    use crate::kernels::arm::{Pair, Unpack, load};
    use crate::kernels::four::neon::plane;

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I5;
        const BIAS: i32 = codes::I5.bias();
        const LARGEST: i32 = 31;

        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            unsafe { Unsigned::pair::<J>(tile) }
        }
    }

    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::U5;
        const BIAS: i32 = codes::U5.bias();
        const LARGEST: i32 = 31;

        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            let nibbles = unsafe { plane::<J>(tile) };
            // SAFETY: the caller's promise.
            let bits = unsafe { load(tile.add(256)) };
            // Of each byte, bit `J` is now bit 0, and bit `J + 4` bit 4.
            let bits = vshlq_u8(bits, vdupq_n_s8(-(J as i8)));
            let low = vsliq_n_u8::<4>(nibbles, vandq_u8(bits, vdupq_n_u8(1)));
            let high = vsriq_n_u8::<4>(vandq_u8(bits, vdupq_n_u8(16)), nibbles);
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
    use crate::kernels::simd128::{Pair, Unpack, load};

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I5;

        #[inline(always)]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            unsafe { five::<J>(tile) }
        }
    }

    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::U5;

        #[inline(always)]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            unsafe { five::<J>(tile) }
        }
    }

    /// Quads `J` and `J + 4` of a plane of four bits and one of one bit.
    ///
    /// # Safety
    /// As [`Unpack::pair`].
    #[inline(always)]
    unsafe fn five<const J: usize>(tile: *const u8) -> Pair {
        // SAFETY: the caller's promise.
        let [low, high] = unsafe { nibbles::<J>(tile) };
        // SAFETY: the caller's promise.
        let bits = unsafe { load(tile.add(256)) };
        // Bits `J` and `J + 4` of each byte become bit 4; what crosses into the next byte is masked off.
        let bit = |shifted| v128_and(shifted, u8x16_splat(16));
        [
            v128_or(low, bit(u16x8_shl(bits, 4 - J as u32))),
            v128_or(high, bit(u16x8_shr(bits, J as u32))),
        ]
    }
}
