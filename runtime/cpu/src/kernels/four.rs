//! Codes of four bits, linear or through a table.

use inkstone_quant::codes;

pub(super) mod portable {
    //! Plain Rust.

    use inkstone_quant::Codes;

    use super::codes;
    use crate::kernels::Kernel;
    use crate::kernels::portable::{Levels, Unpack, kernel};

    pub(in crate::kernels) const I4: Kernel = kernel::<Signed>(32);
    pub(in crate::kernels) const U4: Kernel = kernel::<Unsigned>(32);
    pub(in crate::kernels) const NL4: Kernel = kernel::<Table>(32);

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I4;

        fn unpack(tile: &[u8], to: &mut Levels) {
            nibbles(tile, to, |code| i16::from(code) - 8);
        }
    }

    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::U4;

        fn unpack(tile: &[u8], to: &mut Levels) {
            nibbles(tile, to, i16::from);
        }
    }

    pub(in crate::kernels) struct Table;

    impl Unpack for Table {
        const CODES: &'static Codes = &codes::NL4;

        fn unpack(tile: &[u8], to: &mut Levels) {
            nibbles(tile, to, |code| {
                i16::from(codes::NL4_LEVELS[usize::from(code)])
            });
        }
    }

    /// Codes of a plane of four bits through `level`.
    pub(in crate::kernels) fn nibbles(plane: &[u8], to: &mut Levels, level: impl Fn(u8) -> i16) {
        let (low, high) = to.split_at_mut(4);
        for ((low, high), &byte) in low
            .as_flattened_mut()
            .iter_mut()
            .zip(high.as_flattened_mut())
            .zip(plane)
        {
            *low = level(byte & 15);
            *high = level(byte >> 4);
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

    pub(in crate::kernels) const I4: Kernel = kernel::<Signed>(32);
    pub(in crate::kernels) const U4: Kernel = kernel::<Unsigned>(32);
    pub(in crate::kernels) const NL4: Kernel = kernel::<Table>(32);

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I4;
        const SPAN: usize = 8;

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> Quad {
            // SAFETY: the caller's promise.
            unsafe { nibbles::<Q>(tile) }
        }
    }

    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::U4;
        const SPAN: usize = 8;

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> Quad {
            // SAFETY: the caller's promise.
            unsafe { nibbles::<Q>(tile) }
        }
    }

    pub(in crate::kernels) struct Table;

    impl Unpack for Table {
        const CODES: &'static Codes = &codes::NL4;
        const SPAN: usize = 0;

        #[inline]
        #[target_feature(enable = "avx2")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> Quad {
            // SAFETY: the table is sixteen bytes.
            let table = unsafe { _mm_loadu_si128(codes::NL4_LEVELS.as_ptr().cast()) };
            let table = _mm256_broadcastsi128_si256(table);
            // SAFETY: the caller's promise.
            let [low, high] = unsafe { nibbles::<Q>(tile) };
            [
                _mm256_shuffle_epi8(table, low),
                _mm256_shuffle_epi8(table, high),
            ]
        }
    }

    /// Quad `Q` of a plane of four bits.
    ///
    /// # Safety
    /// `plane` points to 256 bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(in crate::kernels) unsafe fn nibbles<const Q: usize>(plane: *const u8) -> Quad {
        // SAFETY: the caller's promise.
        let mut quad = unsafe { load(plane.add(64 * (Q % 4))) };
        for half in &mut quad {
            if Q >= 4 {
                *half = _mm256_srli_epi16::<4>(*half);
            }
            *half = _mm256_and_si256(*half, _mm256_set1_epi8(15));
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

    pub(in crate::kernels) const I4: Kernel = kernel::<Signed>(32);
    pub(in crate::kernels) const U4: Kernel = kernel::<Unsigned>(32);
    pub(in crate::kernels) const NL4: Kernel = kernel::<Table>(32);

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I4;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe { nibbles::<Q>(tile) }
        }
    }

    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::U4;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe { nibbles::<Q>(tile) }
        }
    }

    pub(in crate::kernels) struct Table;

    impl Unpack for Table {
        const CODES: &'static Codes = &codes::NL4;

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw")]
        unsafe fn quad<const Q: usize>(tile: *const u8) -> __m512i {
            // SAFETY: the table is sixteen bytes.
            let table = unsafe { _mm_loadu_si128(codes::NL4_LEVELS.as_ptr().cast()) };
            // 128 more, as an unsigned byte.
            let table = _mm512_broadcast_i32x4(_mm_xor_si128(table, _mm_set1_epi8(-128)));
            // SAFETY: the caller's promise.
            _mm512_shuffle_epi8(table, unsafe { nibbles::<Q>(tile) })
        }
    }

    /// Quad `Q` of a plane of four bits.
    ///
    /// # Safety
    /// `plane` points to 256 bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(in crate::kernels) unsafe fn nibbles<const Q: usize>(plane: *const u8) -> __m512i {
        // SAFETY: the caller's promise.
        let bytes = unsafe { load(plane.add(64 * (Q % 4))) };
        let low = if Q < 4 {
            bytes
        } else {
            _mm512_srli_epi16::<4>(bytes)
        };
        _mm512_and_si512(low, _mm512_set1_epi8(15))
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
    use crate::kernels::i8mm::{Octet, Octets};

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I4;
        const BIAS: i32 = codes::I4.bias();
        const LARGEST: i32 = 15;

        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            unsafe { Unsigned::pair::<J>(tile) }
        }
    }

    impl Octets for Signed {
        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn octets<const O: usize>(tile: *const u8) -> [Octet; 2] {
            // SAFETY: the caller's promise.
            unsafe { Unsigned::octets::<O>(tile) }
        }
    }

    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::U4;
        const BIAS: i32 = codes::U4.bias();
        const LARGEST: i32 = 15;

        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            nibbles(unsafe { plane::<J>(tile) })
        }
    }

    impl Octets for Unsigned {
        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn octets<const O: usize>(tile: *const u8) -> [Octet; 2] {
            // SAFETY: the caller's promise.
            let [first, second] = unsafe { planes::<O>(tile) }.map(|bytes| nibbles(bytes));
            [[first[0], second[0]], [first[1], second[1]]]
        }
    }

    /// Levels themselves.
    pub(in crate::kernels) struct Table;

    impl Unpack for Table {
        const CODES: &'static Codes = &codes::NL4;
        const BIAS: i32 = 0;
        const LARGEST: i32 = 127;

        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            unsafe { Unsigned::pair::<J>(tile) }.map(|w| level(w))
        }
    }

    impl Octets for Table {
        #[inline]
        #[target_feature(enable = "neon")]
        unsafe fn octets<const O: usize>(tile: *const u8) -> [Octet; 2] {
            // SAFETY: the caller's promise.
            unsafe { Unsigned::octets::<O>(tile) }.map(|octet| octet.map(|w| level(w)))
        }
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn level(codes: int8x16_t) -> int8x16_t {
        // SAFETY: the table is sixteen bytes.
        let table = unsafe { vld1q_s8(codes::NL4_LEVELS.as_ptr()) };
        vqtbl1q_s8(table, vreinterpretq_u8_s8(codes))
    }

    /// Four rows of vector `J` of a plane of four bits: quads `J` and `J + 4`.
    ///
    /// # Safety
    /// As [`Unpack::pair`].
    #[inline]
    #[target_feature(enable = "neon")]
    pub(in crate::kernels) unsafe fn plane<const J: usize>(tile: *const u8) -> uint8x16_t {
        // SAFETY: the caller's promise.
        unsafe { load(tile.add(J * QUAD)) }
    }

    /// Vectors `2·O` and the next zipped while they are packed, which are half as many.
    ///
    /// # Safety
    /// As [`Octets::octets`].
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn planes<const O: usize>(tile: *const u8) -> [uint8x16_t; 2] {
        let [first, second] = [2 * O, 2 * O + 1].map(|vector| {
            // SAFETY: the caller's promise.
            vreinterpretq_u32_u8(unsafe { load(tile.add(vector * QUAD)) })
        });
        let zipped = [vzip1q_u32(first, second), vzip2q_u32(first, second)];
        zipped.map(|z| vreinterpretq_u8_u32(z))
    }

    /// The low and the high nibble of each byte.
    #[inline]
    #[target_feature(enable = "neon")]
    fn nibbles(bytes: uint8x16_t) -> Pair {
        let nibbles = [vandq_u8(bytes, vdupq_n_u8(15)), vshrq_n_u8::<4>(bytes)];
        nibbles.map(|n| vreinterpretq_s8_u8(n))
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
    use crate::kernels::simd128::{Pair, QUAD, Unpack, load};

    pub(in crate::kernels) struct Signed;

    impl Unpack for Signed {
        const CODES: &'static Codes = &codes::I4;

        #[inline(always)]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            unsafe { nibbles::<J>(tile) }
        }
    }

    pub(in crate::kernels) struct Unsigned;

    impl Unpack for Unsigned {
        const CODES: &'static Codes = &codes::U4;

        #[inline(always)]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the caller's promise.
            unsafe { nibbles::<J>(tile) }
        }
    }

    pub(in crate::kernels) struct Table;

    impl Unpack for Table {
        const CODES: &'static Codes = &codes::NL4;

        #[inline(always)]
        unsafe fn pair<const J: usize>(tile: *const u8) -> Pair {
            // SAFETY: the table is sixteen bytes.
            let table = unsafe { load(codes::NL4_LEVELS.as_ptr().cast()) };
            // 128 more, as an unsigned byte.
            let table = v128_xor(table, i8x16_splat(-128));
            // SAFETY: the caller's promise.
            unsafe { nibbles::<J>(tile) }.map(|codes| u8x16_swizzle(table, codes))
        }
    }

    /// The low and the high nibble of each byte of four rows: quads `J` and `J + 4`.
    ///
    /// # Safety
    /// As [`Unpack::pair`].
    #[inline(always)]
    pub(in crate::kernels) unsafe fn nibbles<const J: usize>(tile: *const u8) -> Pair {
        // SAFETY: the caller's promise.
        let bytes = unsafe { load(tile.add(J * QUAD)) };
        // Shifts are of 16 bits: those of bytes take more instructions.
        [bytes, u16x8_shr(bytes, 4)].map(|nibbles| v128_and(nibbles, u8x16_splat(15)))
    }
}
