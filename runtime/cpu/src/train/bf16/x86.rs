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

/// Pairs of neighbours, if the processor can: numbers under 2⁻¹²⁶ become zero.
pub(super) fn round_row(x: &[f32], to: &mut [u32]) -> bool {
    let can = available();
    if can {
        // SAFETY: the processor has the instructions.
        unsafe { neighbours(x, to) };
    }
    can
}

/// Pairs of what stands in both rows, if the processor can: numbers under 2⁻¹²⁶ become zero.
pub(super) fn round_across(low: &[f32], high: &[f32], to: &mut [Line]) -> bool {
    let can = available();
    if can {
        // SAFETY: the processor has the instructions.
        unsafe { across(low, high, to) };
    }
    can
}

/// As many lanes of a register.
fn lanes(count: usize) -> __mmask16 {
    (1_u32 << count.min(LANES)).wrapping_sub(1) as __mmask16
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn neighbours(x: &[f32], to: &mut [u32]) {
    for (x, to) in x.chunks(2 * LANES).zip(to.chunks_mut(LANES)) {
        let (low, high) = x.split_at(x.len().min(LANES));
        // SAFETY: only elements of the masks are read, as many as the slices have.
        let (low, high) = unsafe {
            (
                _mm512_maskz_loadu_ps(lanes(low.len()), low.as_ptr()),
                _mm512_maskz_loadu_ps(lanes(high.len()), high.as_ptr()),
            )
        };
        // SAFETY: both types are 64 bytes without invalid values.
        let pairs = unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) };
        // SAFETY: only elements of the mask are written, as many as the slice has.
        unsafe { _mm512_mask_storeu_epi32(to.as_mut_ptr().cast(), lanes(to.len()), pairs) };
    }
}

/// At most sixteen numbers, each in the low half of a word.
#[target_feature(enable = "avx512f,avx512bf16")]
fn word(x: &[f32]) -> __m512i {
    // SAFETY: only elements of the mask are read, as many as the slice has.
    let x = unsafe { _mm512_maskz_loadu_ps(lanes(x.len()), x.as_ptr()) };
    // SAFETY: both types are 32 bytes without invalid values.
    _mm512_cvtepu16_epi32(unsafe { transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x)) })
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn across(low: &[f32], high: &[f32], to: &mut [Line]) {
    for ((low, high), to) in low.chunks(LANES).zip(high.chunks(LANES)).zip(to) {
        let (low, high) = (word(low), word(high));
        let pairs = _mm512_or_si512(low, _mm512_slli_epi32::<16>(high));
        // SAFETY: the reference is to 64 aligned bytes.
        unsafe { _mm512_store_si512(to.0.as_mut_ptr().cast(), pairs) };
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
        let mask = lanes(to.len());
        // SAFETY: the instructions are there, and only elements of the mask are read, as many as the slice has.
        let held = unsafe { _mm512_maskz_loadu_ps(mask, to.as_ptr()) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let added = unsafe { _mm512_add_ps(held, sums) };
        let sums = if add { added } else { sums };
        // SAFETY: the instructions are there, and only elements of the mask are written, as many as the slice has.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask, sums) }
    }
}
