//! Two registers of 256 bits.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use super::{LANES, Simd};

/// Proof that the processor has the instructions.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    #[target_feature(enable = "avx2,f16c,fma")]
    pub(super) fn new() -> Avx2 {
        Avx2(())
    }
}

impl Simd for Avx2 {
    type F = [__m256; 2];
    type I = [__m256i; 2];
    const ACCUMULATORS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        [unsafe { _mm256_set1_ps(x) }; 2]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let low = unsafe { _mm256_loadu_ps(x[0..].as_ptr()) };
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let high = unsafe { _mm256_loadu_ps(x[8..].as_ptr()) };
        [low, high]
    }

    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let low = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(x[0..].as_ptr().cast())) };
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let high = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(x[8..].as_ptr().cast())) };
        [low, high]
    }

    #[inline(always)]
    fn load_f16_bytes(self, x: &[[u8; 2]; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let low = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(x[0..].as_ptr().cast())) };
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let high = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(x[8..].as_ptr().cast())) };
        [low, high]
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let low = unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(x.as_ptr().cast())) };
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let high = unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(x[8..].as_ptr().cast())) };
        self.to_f32([low, high])
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are written.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), x[0]) };
        // SAFETY: the instructions are there, and the reference is to as many bytes as are written.
        unsafe { _mm256_storeu_ps(to[8..].as_mut_ptr(), x[1]) };
    }

    #[inline(always)]
    fn store_f16(self, x: Self::F, to: &mut [u16; LANES]) {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let low = unsafe { _mm256_set1_ps(-65504.0) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let high = unsafe { _mm256_set1_ps(65504.0) };
        for (x, to) in x.into_iter().zip(to.chunks_exact_mut(8)) {
            // Of two operands one of which is NaN, min and max give the second.
            // SAFETY: a value of this type exists only where the processor has the instructions.
            let x = unsafe { _mm256_min_ps(high, _mm256_max_ps(low, x)) };
            // SAFETY: a value of this type exists only where the processor has the instructions.
            let half = unsafe { _mm256_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(x) };
            // SAFETY: the instructions are there, and the reference is to as many bytes as are written.
            unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), half) };
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let low = unsafe { _mm256_add_ps(a[0], b[0]) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let high = unsafe { _mm256_add_ps(a[1], b[1]) };
        [low, high]
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let low = unsafe { _mm256_mul_ps(a[0], b[0]) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let high = unsafe { _mm256_mul_ps(a[1], b[1]) };
        [low, high]
    }

    #[inline(always)]
    fn add_exact(self, sum: Self::F, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let low = unsafe { _mm256_fmadd_ps(a[0], b[0], sum[0]) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let high = unsafe { _mm256_fmadd_ps(a[1], b[1], sum[1]) };
        [low, high]
    }

    #[inline(always)]
    fn zero(self) -> Self::I {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        [unsafe { _mm256_setzero_si256() }; 2]
    }

    #[inline(always)]
    fn dot(self, sum: Self::I, k: &[[i8; 4]; LANES], q: [i8; 4]) -> Self::I {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let q = unsafe { _mm256_set1_epi32(i32::from_ne_bytes(q.map(|q| q as u8))) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let ones = unsafe { _mm256_set1_epi16(1) };
        let mut sum = sum;
        for (sum, k) in sum.iter_mut().zip(k.chunks_exact(8)) {
            // SAFETY: the instructions are there, and half of `k` is 32 bytes.
            let k = unsafe { _mm256_loadu_si256(k.as_ptr().cast()) };
            // The first factor is unsigned: signs of `k` move to `q`. Two products stay below 2¹⁵.
            // SAFETY: a value of this type exists only where the processor has the instructions.
            let pairs = unsafe { _mm256_maddubs_epi16(_mm256_abs_epi8(k), _mm256_sign_epi8(q, k)) };
            // SAFETY: a value of this type exists only where the processor has the instructions.
            *sum = unsafe { _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones)) };
        }
        sum
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let low = unsafe { _mm256_cvtepi32_ps(x[0]) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let high = unsafe { _mm256_cvtepi32_ps(x[1]) };
        [low, high]
    }
}
