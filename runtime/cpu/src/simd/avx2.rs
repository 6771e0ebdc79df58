//! Two registers of 256 bits.
#![allow(unsafe_code)]

use core::arch::x86_64::*;

use inkstone_quant::GROUP;

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
    const ASKS: bool = true;

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

    #[inline(always)]
    fn round(self, x: &[f32; GROUP], codes: &mut [i8; GROUP]) -> (f32, [i32; 2]) {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { round(x, codes) }
    }
}

/// See [`Simd::round`].
#[inline]
#[target_feature(enable = "avx2")]
fn round(x: &[f32; GROUP], codes: &mut [i8; GROUP]) -> (f32, [i32; 2]) {
    let sign = _mm256_set1_epi32(i32::MIN);
    let (from, _) = x.as_chunks::<8>();
    let mut x = [_mm256_setzero_ps(); GROUP / 8];
    let mut largest = _mm256_setzero_si256();
    for (x, from) in x.iter_mut().zip(from) {
        // SAFETY: eight numbers are read.
        *x = unsafe { _mm256_loadu_ps(from.as_ptr()) };
        let magnitude = _mm256_andnot_si256(sign, _mm256_castps_si256(*x));
        largest = _mm256_max_epu32(largest, magnitude);
    }
    let four = _mm_max_epu32(
        _mm256_castsi256_si128(largest),
        _mm256_extracti128_si256::<1>(largest),
    );
    let two = _mm_max_epu32(four, _mm_shuffle_epi32::<0b01_00_11_10>(four));
    let one = _mm_max_epu32(two, _mm_shuffle_epi32::<0b10_11_00_01>(two));
    let amax = f32::from_bits(_mm_cvtsi128_si32(one) as u32);
    let inverse = 127.0 / amax;
    if !(amax.is_finite() && inverse.is_finite()) {
        codes.fill(0);
        return (amax / 127.0, [0; 2]);
    }
    // To nearest even, and never beyond ±127: a magnitude times 127 / amax is less than 127.5.
    let factor = _mm256_set1_ps(inverse);
    let level = |x: __m256| _mm256_cvtps_epi32(_mm256_mul_ps(x, factor));
    let words = [
        _mm256_packs_epi32(level(x[0]), level(x[1])),
        _mm256_packs_epi32(level(x[2]), level(x[3])),
    ];
    // Packs keep halves of registers apart.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words[0], words[1]), order);
    // SAFETY: 32 codes are written.
    unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), bytes) };
    (amax / 127.0, sums(bytes))
}

/// The sums of the signed bytes of both halves.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sums(bytes: __m256i) -> [i32; 2] {
    const BIAS: i32 = 128 * GROUP as i32 / 2;
    let unsigned = _mm256_xor_si256(bytes, _mm256_set1_epi8(i8::MIN));
    let eights = _mm256_sad_epu8(unsigned, _mm256_setzero_si256());
    let halves = _mm256_add_epi64(eights, _mm256_shuffle_epi32::<0b01_00_11_10>(eights));
    [
        _mm256_extract_epi32::<0>(halves) - BIAS,
        _mm256_extract_epi32::<4>(halves) - BIAS,
    ]
}
