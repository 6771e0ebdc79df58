//! Four registers of 128 bits.
#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::arch::asm;
use core::array::from_fn;

use super::{LANES, Simd};

/// Proof that the processor has NEON, and `sdot` where `DOT`.
#[derive(Clone, Copy)]
pub(crate) struct Neon<const DOT: bool>(());

impl Neon<false> {
    #[target_feature(enable = "neon")]
    pub(super) fn new() -> Self {
        Neon(())
    }
}

impl Neon<true> {
    #[target_feature(enable = "neon,dotprod")]
    pub(super) fn with_dot() -> Self {
        Neon(())
    }
}

impl<const DOT: bool> Simd for Neon<DOT> {
    type F = [float32x4_t; 4];
    type I = [int32x4_t; 4];
    const ACCUMULATORS: usize = 6;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        [unsafe { vdupq_n_f32(x) }; 4]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        from_fn(|i| unsafe { vld1q_f32(x[4 * i..].as_ptr()) })
    }

    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let low = unsafe { vld1q_u16(x[0..].as_ptr()) };
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let high = unsafe { vld1q_u16(x[8..].as_ptr()) };
        widen([low, high])
    }

    #[inline(always)]
    fn load_f16_bytes(self, x: &[[u8; 2]; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let low = unsafe { vreinterpretq_u16_u8(vld1q_u8(x[0..].as_ptr().cast())) };
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let high = unsafe { vreinterpretq_u16_u8(vld1q_u8(x[8..].as_ptr().cast())) };
        widen([low, high])
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Self::F {
        // SAFETY: the instructions are there, and the reference is to as many bytes as are read.
        let bytes = unsafe { vld1q_s8(x.as_ptr()) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let low = unsafe { vmovl_s8(vget_low_s8(bytes)) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let high = unsafe { vmovl_high_s8(bytes) };
        let words = [low, high].map(|half| {
            // SAFETY: a value of this type exists only where the processor has the instructions.
            let low = unsafe { vmovl_s16(vget_low_s16(half)) };
            // SAFETY: a value of this type exists only where the processor has the instructions.
            [low, unsafe { vmovl_high_s16(half) }]
        });
        self.to_f32(from_fn(|i| words[i / 2][i % 2]))
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        for (x, to) in x.into_iter().zip(to.as_chunks_mut::<4>().0) {
            // SAFETY: the instructions are there, and the reference is to as many bytes as are written.
            unsafe { vst1q_f32(to.as_mut_ptr(), x) };
        }
    }

    #[inline(always)]
    fn store_f16(self, x: Self::F, to: &mut [u16; LANES]) {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let low = unsafe { vdupq_n_f32(-65504.0) };
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let high = unsafe { vdupq_n_f32(65504.0) };
        for (x, to) in x.into_iter().zip(to.as_chunks_mut::<4>().0) {
            // NaN stays NaN.
            // SAFETY: a value of this type exists only where the processor has the instructions.
            let x = unsafe { vminq_f32(vmaxq_f32(x, low), high) };
            // SAFETY: the instructions are there, and the reference is to as many bytes as are written.
            unsafe { vst1_u16(to.as_mut_ptr(), narrow(x)) };
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        from_fn(|i| unsafe { vaddq_f32(a[i], b[i]) })
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        from_fn(|i| unsafe { vmulq_f32(a[i], b[i]) })
    }

    #[inline(always)]
    fn add_exact(self, sum: Self::F, a: Self::F, b: Self::F) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        from_fn(|i| unsafe { vfmaq_f32(sum[i], a[i], b[i]) })
    }

    #[inline(always)]
    fn zero(self) -> Self::I {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        [unsafe { vdupq_n_s32(0) }; 4]
    }

    #[inline(always)]
    fn dot(self, sum: Self::I, k: &[[i8; 4]; LANES], q: [i8; 4]) -> Self::I {
        let q = i32::from_ne_bytes(q.map(|q| q as u8));
        // SAFETY: a value of this type exists only where the processor has the instructions.
        let q = unsafe { vreinterpretq_s8_s32(vdupq_n_s32(q)) };
        from_fn(|i| {
            // SAFETY: the instructions are there, and four lanes of `k` are 16 bytes.
            let k = unsafe { vld1q_s8(k[4 * i..].as_ptr().cast()) };
            if DOT {
                // SAFETY: a value of this type exists only where the processor has the instruction.
                unsafe { sdot(sum[i], k, q) }
            } else {
                // SAFETY: a value of this type exists only where the processor has the instructions.
                unsafe { vaddq_s32(sum[i], products(k, q)) }
            }
        })
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I) -> Self::F {
        // SAFETY: a value of this type exists only where the processor has the instructions.
        from_fn(|i| unsafe { vcvtq_f32_s32(x[i]) })
    }
}

/// Sums of the products of four neighbours.
#[inline]
#[target_feature(enable = "neon")]
fn products(k: int8x16_t, q: int8x16_t) -> int32x4_t {
    let low = vpaddlq_s16(vmull_s8(vget_low_s8(k), vget_low_s8(q)));
    let high = vpaddlq_s16(vmull_high_s8(k, q));
    vpaddq_s32(low, high)
}

/// Adds the products of four neighbours to each lane.
///
/// # Safety
/// The processor has `sdot`.
#[inline(always)]
unsafe fn sdot(mut sum: int32x4_t, k: int8x16_t, q: int8x16_t) -> int32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sum:v}.4s, {k:v}.16b, {q:v}.16b",
            sum = inlateout(vreg) sum,
            k = in(vreg) k,
            q = in(vreg) q,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// f16 to f32, exact.
#[inline(always)]
fn widen(half: [uint16x8_t; 2]) -> [float32x4_t; 4] {
    let wide = half.map(|half| {
        let (low, high): (float32x4_t, float32x4_t);
        // SAFETY: every 64-bit Arm processor has the instructions, which touch registers alone.
        unsafe {
            asm!(
                "fcvtl {low:v}.4s, {half:v}.4h",
                "fcvtl2 {high:v}.4s, {half:v}.8h",
                low = out(vreg) low,
                high = lateout(vreg) high,
                half = in(vreg) half,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        [low, high]
    });
    from_fn(|i| wide[i / 2][i % 2])
}

/// f32 to f16, to nearest, ties to even.
#[inline(always)]
fn narrow(x: float32x4_t) -> uint16x4_t {
    let half;
    // SAFETY: every 64-bit Arm processor has the instruction, which touches registers alone.
    unsafe {
        asm!(
            "fcvtn {half:v}.4h, {x:v}.4s",
            half = lateout(vreg) half,
            x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    half
}
