//! AVX512-BF16: `vdpbf16ps`.

#[path = "amx.rs"]
mod amx;

use core::arch::x86_64::*;
use core::mem::transmute;

use super::portable::Portable;
use super::{LANES, Line, Pairs, Work};

/// Whether this processor has the instruction.
pub(in super::super) fn available() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
        && std::arch::is_x86_feature_detected!("avx512f")
}

pub(super) fn run(work: Work<'_>) {
    if amx::available() {
        amx::run(work);
    } else if available() {
        // SAFETY: the processor has the instructions.
        unsafe { avx512(work) }
    } else {
        avx2(work);
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn avx512(work: Work<'_>) {
    work.run(Avx512(()));
}

#[multiversion::multiversion(targets("x86_64+avx2"))]
fn avx2(work: Work<'_>) {
    work.run(Portable);
}

/// Proof that the processor has the instructions.
#[derive(Clone, Copy)]
struct Avx512(());

impl Pairs for Avx512 {
    type Sums = __m512;
    type Factors = __m512i;

    #[inline(always)]
    fn zero(self) -> Self::Sums {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn load(self, line: &Line) -> Self::Factors {
        // SAFETY: the instructions are there, and the reference is to 64 aligned bytes.
        unsafe { _mm512_load_si512(line.0.as_ptr().cast()) }
    }

    #[inline(always)]
    fn splat(self, pair: u32) -> Self::Factors {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_set1_epi32(pair as i32) }
    }

    #[inline(always)]
    fn add(self, sums: Self::Sums, x: Self::Factors, w: Self::Factors) -> Self::Sums {
        // SAFETY: both types are 64 bytes without invalid values.
        let (x, w) = unsafe {
            (
                transmute::<__m512i, __m512bh>(x),
                transmute::<__m512i, __m512bh>(w),
            )
        };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        unsafe { _mm512_dpbf16_ps(sums, x, w) }
    }

    #[inline(always)]
    fn store(self, sums: Self::Sums, to: &mut [f32], add: bool) {
        let mask = (1_u32 << to.len().min(LANES)).wrapping_sub(1) as __mmask16;
        // SAFETY: the instructions are there, and only elements of the mask are read, as many as the slice has.
        let held = unsafe { _mm512_maskz_loadu_ps(mask, to.as_ptr()) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let added = unsafe { _mm512_add_ps(held, sums) };
        let sums = if add { added } else { sums };
        // SAFETY: the instructions are there, and only elements of the mask are written, as many as the slice has.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, sums) }
    }
}
