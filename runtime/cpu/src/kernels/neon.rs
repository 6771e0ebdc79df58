//! Integer products with plain NEON: `smlal` of bytes into 16 bits, widened before they overflow.
//!
//! Activations of a quad are repeated for every row. A vector of four rows gives two sums for each row, which are added
//! when its group ends.
#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::arch::asm;

use inkstone_quant::PANEL;

use super::Job;
use super::arm::{self, BOTH, Dots, HIGH, LOW, Pair, Products, Unpack, VECTOR, VECTORS};
use crate::isa::Isa;

/// The instructions.
pub(super) struct Neon;

impl<C: Unpack> Products<C> for Neon {
    const ISA: Isa = Isa::Neon;

    #[target_feature(enable = "neon")]
    unsafe fn rows<const HALVES: bool>(
        job: &Job<'_>,
        panel: usize,
        first: usize,
        out: &mut [[f32; PANEL]],
    ) -> usize {
        match job.rows.count - first {
            // SAFETY: the caller's promise; two rows are left.
            2.. => unsafe { two::<C, HALVES>(job, panel, first, out) },
            // SAFETY: the caller's promise; a row is left.
            _ => unsafe { arm::tokens::<Neon, C, VECTORS, 1, HALVES>(job, panel, 0, first, out) },
        }
    }
}

/// Two rows of activations, in one pass where there are sums of 16 bits alone until a group ends.
///
/// # Safety
/// As [`Products::rows`], and there are two rows.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn two<C: Unpack, const HALVES: bool>(
    job: &Job<'_>,
    panel: usize,
    first: usize,
    out: &mut [[f32; PANEL]],
) -> usize {
    if const { span(C::LARGEST) > 2 } {
        // SAFETY: the caller's promise.
        unsafe { arm::tokens::<Neon, C, VECTORS, 2, HALVES>(job, panel, 0, first, out) }
    } else {
        // SAFETY: the caller's promise.
        unsafe { arm::half_panels::<Neon, C, 2, HALVES>(job, panel, first, out) }
    }
}

/// Products with activations whose sum 16 bits hold; one more power of two than a tile's quads lets neighbours be added
/// in 16 bits too.
const fn span(largest: i32) -> usize {
    let mut span = 16;
    while span as i32 * largest * 127 > i16::MAX as i32 {
        span /= 2;
    }
    span
}

/// Sums of rows 0 and 1, and of rows 2 and 3, two for each row: in 16 bits and in 32.
#[derive(Clone, Copy)]
struct Sums {
    narrow: [int16x8_t; 2],
    wide: [int32x4_t; 2],
}

impl Sums {
    #[inline]
    #[target_feature(enable = "neon")]
    fn add(&mut self, w: int8x16_t, a: int8x16_t) {
        let [low, high] = self.narrow;
        self.narrow = [
            vmlal_s8(low, vget_low_s8(w), vget_low_s8(a)),
            vmlal_high_s8(high, w, a),
        ]
        .map(|sum| as_written(sum));
    }

    #[inline]
    #[target_feature(enable = "neon")]
    fn widen(&mut self) {
        for (wide, narrow) in self.wide.iter_mut().zip(&mut self.narrow) {
            *wide = vpadalq_s16(*wide, *narrow);
            *narrow = vdupq_n_s16(0);
        }
    }
}

impl Dots for Neon {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sums<C: Unpack, const V: usize, const T: usize, const PART: usize>(
        start: [int32x4_t; T],
        tile: *const u8,
        codes: &[*const i8; T],
    ) -> [[int32x4_t; V]; T] {
        // SAFETY: the caller's promise.
        let a = codes.map(|codes| unsafe { arm::activations(codes) });
        let zero = Sums {
            narrow: [vdupq_n_s16(0); 2],
            wide: [vdupq_n_s32(0); 2],
        };
        let mut sums = [[zero; V]; T];
        // SAFETY: the caller's promise.
        unsafe { step::<C, V, T, PART, 0>(&mut sums, tile, &a) };
        // SAFETY: the caller's promise.
        unsafe { step::<C, V, T, PART, 1>(&mut sums, tile, &a) };
        // SAFETY: the caller's promise.
        unsafe { step::<C, V, T, PART, 2>(&mut sums, tile, &a) };
        // SAFETY: the caller's promise.
        unsafe { step::<C, V, T, PART, 3>(&mut sums, tile, &a) };
        let mut all = start.map(|start| [start; V]);
        for (all, sums) in all.as_flattened_mut().iter_mut().zip(sums.as_flattened()) {
            let [low, high] = sums.narrow;
            let sum = if const { span(C::LARGEST) == 16 } {
                vpaddlq_s16(vpaddq_s16(low, high))
            } else {
                let sum = vpaddq_s32(sums.wide[0], sums.wide[1]);
                vreinterpretq_s32_s16(as_written(vreinterpretq_s16_s32(sum)))
            };
            *all = vaddq_s32(*all, sum);
        }
        all
    }
}

/// A sum that the compiler now knows nothing of: else it adds up in an order that takes more instructions.
#[inline]
#[target_feature(enable = "neon")]
fn as_written(mut sum: int16x8_t) -> int16x8_t {
    // SAFETY: nothing is done.
    unsafe {
        asm!("/* {:v} */", inlateout(vreg) sum, options(pure, nomem, nostack, preserves_flags))
    };
    sum
}

/// Quads `J` and `J + 4`, as far as they are of `PART`, with every row.
///
/// # Safety
/// `tile` points to the vectors' bytes in the first quad of a whole tile.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn step<C: Unpack, const V: usize, const T: usize, const PART: usize, const J: usize>(
    sums: &mut [[Sums; V]; T],
    tile: *const u8,
    a: &[Pair; T],
) {
    let mut w = [[vdupq_n_s8(0); 2]; V];
    for (v, w) in w.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *w = unsafe { C::pair::<J>(tile.add(v * VECTOR)) };
    }
    for (sums, a) in sums.iter_mut().zip(a) {
        let [low, high] = a.map(|a| repeat::<J>(a));
        for (sums, w) in sums.iter_mut().zip(w) {
            if PART != HIGH {
                sums.add(w[0], low);
            }
            if PART != LOW {
                sums.add(w[1], high);
            }
            let products = if PART == BOTH { 2 * J + 2 } else { J + 1 };
            if const { span(C::LARGEST) < 16 } && products.is_multiple_of(span(C::LARGEST)) {
                sums.widen();
            }
        }
    }
}

/// Quad `J` of sixteen activations, four times.
#[inline]
#[target_feature(enable = "neon")]
fn repeat<const J: usize>(a: int8x16_t) -> int8x16_t {
    let a = vreinterpretq_s32_s8(a);
    let repeated = match J {
        0 => vdupq_laneq_s32::<0>(a),
        1 => vdupq_laneq_s32::<1>(a),
        2 => vdupq_laneq_s32::<2>(a),
        _ => vdupq_laneq_s32::<3>(a),
    };
    vreinterpretq_s8_s32(repeated)
}
