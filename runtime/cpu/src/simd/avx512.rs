//! One register of 512 bits.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use inkstone_quant::GROUP;

use super::{LANES, Simd};

/// Proof that the processor has the instructions.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub(super) fn new() -> Avx512 {
        Avx512(())
    }
}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;
    const ACCUMULATORS: usize = 12;
    const ASKS: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        unsafe { _mm512_loadu_ps(x.as_ptr()) }
    }

    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let half = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_cvtph_ps(half) }
    }

    #[inline(always)]
    fn load_f16_bytes(self, x: &[[u8; 2]; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let half = unsafe { _mm256_loadu_si256(x.as_ptr().cast()) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_cvtph_ps(half) }
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let bytes = unsafe { _mm_loadu_si128(x.as_ptr().cast()) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let words = unsafe { _mm512_cvtepi8_epi32(bytes) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_cvtepi32_ps(words) }
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are written.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), x) }
    }

    #[inline(always)]
    fn store_f16(self, x: Self::F, to: &mut [u16; LANES]) {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let low = unsafe { _mm512_set1_ps(-65504.0) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let high = unsafe { _mm512_set1_ps(65504.0) };
        // Of two operands one of which is NaN, min and max give the second.
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let x = unsafe { _mm512_min_ps(high, _mm512_max_ps(low, x)) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let half =
            unsafe { _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x) };
        // SAFETY: the instructions are there, and the reference is to as many bytes as are written.
        unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), half) }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_add_ps(a, b) }
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn add_exact(self, sum: Self::F, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    fn zero(self) -> Self::I {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn dot(self, sum: Self::I, k: &[[i8; 4]; LANES], q: [i8; 4]) -> Self::I {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let k = unsafe { _mm512_loadu_si512(k.as_ptr().cast()) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let q = unsafe { _mm512_set1_epi32(i32::from_ne_bytes(q.map(|q| q as u8))) };
        // The first factor is unsigned: signs of `k` move to `q`.
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let negative = unsafe { _mm512_movepi8_mask(k) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let q = unsafe { _mm512_mask_sub_epi8(q, negative, _mm512_setzero_si512(), q) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_dpbusd_epi32(sum, _mm512_abs_epi8(k), q) }
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_cvtepi32_ps(x) }
    }

    #[inline(always)]
    fn round(self, x: &[f32; GROUP], codes: &mut [i8; GROUP]) -> (f32, [i32; 2]) {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { round(x, codes) }
    }
}

/// See [`Simd::round`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn round(x: &[f32; GROUP], codes: &mut [i8; GROUP]) -> (f32, [i32; 2]) {
    // SAFETY: sixteen numbers are read.
    let low = unsafe { _mm512_loadu_ps(x[..16].as_ptr()) };
    // SAFETY: sixteen numbers are read.
    let high = unsafe { _mm512_loadu_ps(x[16..].as_ptr()) };
    let magnitudes = [low, high].map(|x| _mm512_castps_si512(_mm512_abs_ps(x)));
    let largest = _mm512_max_epu32(magnitudes[0], magnitudes[1]);
    let amax = f32::from_bits(_mm512_reduce_max_epu32(largest));
    let inverse = 127.0 / amax;
    let usable = amax.is_finite() && inverse.is_finite();
    let lanes = if usable { !0 } else { 0 };
    // To nearest even, and never beyond ±127: a magnitude times 127 / amax is less than 127.5.
    let factor = _mm512_set1_ps(inverse);
    let [low, high] = [low, high].map(|x| {
        let levels = _mm512_maskz_cvtps_epi32(lanes, _mm512_mul_ps(x, factor));
        _mm512_cvtepi32_epi8(levels)
    });
    let bytes = _mm256_set_m128i(high, low);
    // SAFETY: 32 codes are written.
    unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), bytes) };
    (amax / 127.0, super::avx2::sums(bytes))
}
