//! Integer products with FEAT_DotProd: `sdot` of a quad of four rows with a quad of activations.
//!
//! Where bytes are unsigned it is `usdot`, of FEAT_I8MM.
#![allow(unsafe_code)]

use core::arch::aarch64::*;
use core::arch::asm;

use inkstone_quant::PANEL;

use super::Job;
use super::arm::{self, Dots, HIGH, LOW, Pair, Products, Unpack, VECTOR, VECTORS};
use crate::isa::Isa;

/// The instructions.
pub(super) struct Dotprod;

impl<C: Unpack> Products<C> for Dotprod {
    const ISA: Isa = Isa::Dotprod;

    #[target_feature(enable = "neon")]
    unsafe fn rows<const HALVES: bool>(
        job: &Job<'_>,
        panel: usize,
        first: usize,
        out: &mut [[f32; PANEL]],
    ) -> usize {
        match job.rows.count - first {
            // Four activations share what is unpacked; unsigned bytes are taken as they are.
            // SAFETY: the caller's promise; four rows are left.
            4.. if const { C::LARGEST <= 128 } => unsafe {
                arm::half_panels::<Dotprod, C, 4, HALVES>(job, panel, first, out)
            },
            // SAFETY: the caller's promise; two rows are left.
            2.. => unsafe {
                arm::tokens::<Dotprod, C, VECTORS, 2, HALVES>(job, panel, 0, first, out)
            },
            // SAFETY: the caller's promise; a row is left.
            _ => unsafe {
                arm::tokens::<Dotprod, C, VECTORS, 1, HALVES>(job, panel, 0, first, out)
            },
        }
    }
}

impl Dots for Dotprod {
    #[inline]
    #[target_feature(enable = "neon")]
    unsafe fn sums<C: Unpack, const V: usize, const T: usize, const PART: usize>(
        start: [int32x4_t; T],
        tile: *const u8,
        codes: &[*const i8; T],
    ) -> [[int32x4_t; V]; T] {
        // SAFETY: the caller's promise.
        let a = codes.map(|codes| unsafe { arm::activations(codes) });
        let mut sums = start.map(|start| [start; V]);
        // SAFETY: the caller's promise.
        unsafe { step::<C, V, T, PART, 0>(&mut sums, tile, &a) };
        // SAFETY: the caller's promise.
        unsafe { step::<C, V, T, PART, 1>(&mut sums, tile, &a) };
        // SAFETY: the caller's promise.
        unsafe { step::<C, V, T, PART, 2>(&mut sums, tile, &a) };
        // SAFETY: the caller's promise.
        unsafe { step::<C, V, T, PART, 3>(&mut sums, tile, &a) };
        sums
    }
}

/// Quads `J` and `J + 4`, as far as they are of `PART`, with every row.
///
/// # Safety
/// The processor has `sdot`, or `usdot` where bytes are unsigned, and `tile` points to the vectors' bytes in the first quad of a whole tile.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn step<C: Unpack, const V: usize, const T: usize, const PART: usize, const J: usize>(
    sums: &mut [[int32x4_t; V]; T],
    tile: *const u8,
    a: &[Pair; T],
) {
    let mut w = [[vdupq_n_s8(0); 2]; V];
    for (v, w) in w.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *w = unsafe { C::pair::<J>(tile.add(v * VECTOR)) };
    }
    for half in [LOW, HIGH] {
        if PART == HIGH - half {
            continue;
        }
        for v in 0..V {
            for t in 0..T {
                // SAFETY: the caller's promise.
                sums[t][v] = unsafe { dot::<C, J>(sums[t][v], w[v][half], a[t][half]) };
            }
        }
    }
}

/// Adds to each lane the products of its four bytes of `w` with quad `J` of `a`.
///
/// # Safety
/// The processor has `sdot`, or `usdot` where bytes are unsigned.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn dot<C: Unpack, const J: usize>(
    mut sum: int32x4_t,
    w: int8x16_t,
    a: int8x16_t,
) -> int32x4_t {
    if C::LARGEST <= 128 {
        // SAFETY: the caller's promise.
        unsafe {
            asm!(
                ".arch_extension dotprod",
                "sdot {sum:v}.4s, {w:v}.16b, {a:v}.4b[{lane}]",
                sum = inlateout(vreg) sum,
                w = in(vreg) w,
                a = in(vreg) a,
                lane = const J,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    } else {
        // SAFETY: the caller's promise.
        unsafe {
            asm!(
                ".arch_extension i8mm",
                "usdot {sum:v}.4s, {w:v}.16b, {a:v}.4b[{lane}]",
                sum = inlateout(vreg) sum,
                w = in(vreg) w,
                a = in(vreg) a,
                lane = const J,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
    }
    sum
}
